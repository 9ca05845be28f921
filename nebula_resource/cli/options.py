"""Options: what the commands have in common."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from nebula_resource.cli.failure import ExitCode, Failure

__all__ = ["HERE", "AsJson", "DryRun", "Key", "PoolId", "Url", "Why", "dry", "part"]

HERE = "http://127.0.0.1:8000"
"""Where a service listens that was told nothing else."""


def _said_before(context: typer.Context, option: typer.CallbackParam, value: Any) -> Any:
    """What was said before a command holds for it too: ``nebula pools --url X drain db`` asks X."""
    name = str(option.name)
    known = context.meta  # one for a command and all that it stands under
    source = context.get_parameter_source(name)
    if source is None or source.name != "COMMANDLINE":
        return known.get(name, value)
    if known.setdefault(name, value) != value:
        raise Failure(ExitCode.USAGE, f"{option.opts[0]} is given twice, and not the same")
    return value


Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="NEBULA_URL", help="Where the admin API is.", show_default=True, callback=_said_before
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="NEBULA_KEY",
        show_envvar=True,
        help="An API key; best by the variable.",
        callback=_said_before,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document instead of a table.", callback=_said_before)
]
Why = Annotated[str, typer.Option("--reason", help="Why: it stands in the audit.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")]
PoolId = Annotated[str, typer.Argument(metavar="ID", help="The pool's public id.")]


def part(id: str) -> str:
    """An id as a part of a path. Raises `Failure` for what would lead to another path, however it is written."""
    if id in {"", ".", ".."}:
        raise Failure(ExitCode.USAGE, f"{id!r} is no id")
    try:
        return quote(id, safe="")
    except UnicodeEncodeError:
        raise Failure(ExitCode.USAGE, "the id has characters that cannot be sent") from None


def dry(body: dict[str, Any]) -> str:
    """What is said of a change that was not made."""
    return " (dry run)" if body.get("dry_run") else ""
