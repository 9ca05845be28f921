"""Options: what the commands have in common."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

__all__ = ["HERE", "AsJson", "DryRun", "Key", "PoolId", "Url", "Why", "dry", "part"]

HERE = "http://127.0.0.1:8000"
"""Where a service listens that was told nothing else."""

Url = Annotated[
    str, typer.Option("--url", envvar="NEBULA_URL", help="Where the admin API is.", show_default=True)
]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="NEBULA_KEY", show_envvar=True, help="An API key; best by the variable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
Why = Annotated[str, typer.Option("--reason", help="Why: it stands in the audit.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")]
PoolId = Annotated[str, typer.Argument(metavar="ID", help="The pool's public id.")]


def part(id: str) -> str:
    """An id as a part of a path."""
    return quote(id, safe="")


def dry(body: dict[str, Any]) -> str:
    """What is said of a change that was not made."""
    return " (dry run)" if body.get("dry_run") else ""
