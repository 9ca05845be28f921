"""Containers: the composition root, where the parts of the application meet."""
