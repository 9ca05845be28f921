"""Entry: ``python -m app`` runs the service."""

from app.run import run

raise SystemExit(run())
