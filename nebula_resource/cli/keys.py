"""Keys: ``nebula keys``: makes a key of the admin API, and what its file keeps of it. It asks no service."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nebula_resource.cli.failure import ExitCode, Failure
from nebula_resource.cli.options import AsJson
from nebula_resource.cli.show import document, line
from nebula_resource.errors import ConfigurationError

if TYPE_CHECKING:
    from nebula_resource.admin import Key

__all__ = ["keys"]

keys = typer.Typer(help="Keys of the admin API: make one.", no_args_is_help=True)


@keys.callback()
def _only_commands() -> None:
    """Keys of the admin API: make one."""


@keys.command("new")
def new_key(
    role: Annotated[str, typer.Option("--role", help="metrics, viewer, operator or admin.")],
    name: Annotated[str, typer.Option("--name", help="Who uses it: it stands in the audit.")] = "",
    tenant: Annotated[str | None, typer.Option("--tenant", help="The one tenant it sees.")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=36_500, help="Days until it ends.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="The key file it is added to.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key: its text, on a line of its own, is shown this once; a key file keeps its digest."""
    if not name.isprintable():
        raise Failure(ExitCode.USAGE, "--name must be text of one line")
    ends = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    text, key = _mint(role, name, tenant, ends)
    if file is not None:
        _add(file, key)
    if as_json:
        document({"key": text, "id": key.id, "entry": key.entry, "file": None if file is None else str(file)})
        return
    line(text)
    if file is None:
        line()
        line("It is shown this once. Into the key file goes:")
        line()
        for each in key.entry.splitlines():
            line(each)
    else:
        line(f"It is shown this once. {file} has its digest, as {key.id}.")


def _mint(role: str, name: str, tenant: str | None, ends: datetime | None) -> tuple[str, Key]:
    from nebula_resource.model.scope import Scope

    kind = _admin()[0]
    try:
        if tenant is not None:
            Scope.tenant(tenant)
        made: tuple[str, Key] = kind.mint(role, name=name, tenant=tenant, expires_at=ends)
    except ConfigurationError as error:
        raise Failure(ExitCode.USAGE, error.message) from None
    if made[1].role.label == "metrics" and tenant is not None:
        raise Failure(
            ExitCode.USAGE, "a key of the role metrics that is bound to a tenant would open nothing"
        )
    return made


def _add(file: Path, key: Key) -> None:
    """Put it at the end of a key file; what is none is left as it is."""
    try:
        has_keys = file.exists() and file.stat().st_size > 0
        if has_keys:
            _admin()[1](file)
        with open(file, "a", encoding="utf-8", opener=_for_us_alone) as kept:
            kept.write(("\n" if has_keys else "") + key.entry)
    except ConfigurationError as error:
        raise Failure(ExitCode.USAGE, f"{file} was not changed: {error.message}") from None
    except OSError as error:
        raise Failure(ExitCode.USAGE, f"cannot write {file}: {error.strerror}") from None


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _admin() -> tuple[Any, Any]:
    """`Key` and `KeyFile`, which need an extra of their own."""
    try:
        from nebula_resource.admin import Key, KeyFile
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("nebula_resource"):
            raise
        raise Failure(
            ExitCode.USAGE, f"making keys needs {error.name}: pip install 'nebula-resource[service,cli]'"
        ) from None
    return Key, KeyFile
