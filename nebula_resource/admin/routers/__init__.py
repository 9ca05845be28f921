"""Routers: the paths, one noun a file."""
