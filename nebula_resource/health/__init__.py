"""Health: what is checked, what is known, and what follows for those who depend on it."""
