"""Dashboard: the page at ``/`` and its parts, as files that the admin application serves."""
