"""Drivers: ready-made resources, one subpackage and one extra each, blind to each other; the core imports none."""
