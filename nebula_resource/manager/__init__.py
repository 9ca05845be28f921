"""Manager: the one floor where the concerns meet."""
