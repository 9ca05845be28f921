"""Faults: which errors speak against the server, and how an error's text is freed of values."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from nebula_resource.drivers.sqlalchemy.errors import ConnectFailed, ConnectionLost

__all__ = ["is_fault", "scrub", "why_not_connected"]

_SERVER_STATES = ("08", "53", "58", "XX", "57P01", "57P02", "57P03", "57P05")
"""SQLSTATEs of a server in trouble (PostgreSQL, appendix A): connection, resources, system error, internal error,
shut down, crashed, starting, idle session ended."""
_SERVER_CODES = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""SQLite's primary result codes of a file in trouble; BUSY and LOCKED are the traffic's."""
_DRIVERS = ("asyncpg", "aiosqlite")
_QUOTED_BY_ASYNCPG = re.compile(r"(invalid input for query argument \$\d+[^:]*): .*", re.DOTALL)
"""It cuts a long value, so that looking for the value would not find it."""
_SHORTEST = 3  # characters: replacing shorter values would garble a text without hiding anything


def is_fault(error: BaseException) -> bool:
    """Say whether an error, one that it was raised from, or one of its group speaks against the server."""
    return any(map(_is_fault, _family(error)))


def _family(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _family(each)
        error = error.__cause__


def _is_fault(error: BaseException) -> bool:
    if isinstance(error, ConnectionLost | ConnectFailed):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated and isinstance(error, Exception)
    if isinstance(error, OSError):
        # A body has files and other connections too: it counts when it came out of the database's driver.
        return _raised_in(error.__traceback__, _DRIVERS)
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_SERVER_STATES)
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and isinstance(error, sqlite3.Error) and code & 0xFF in _SERVER_CODES


def _raised_in(trace: TracebackType | None, packages: tuple[str, ...]) -> bool:
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] in packages:
            return True
        trace = trace.tb_next
    return False


# ── connecting ────────────────────────────────────────────────────────────────────────────────────────────────────

_REASONS = {
    "28": "the server refused the user or the password",
    "3D": "there is no such database on the server",
    "53": "the server has no connection left",
    "57": "the server is starting or stopping",
}
"""SQLSTATE classes (PostgreSQL, appendix A)."""
_RETRYABLE_STATES = ("08", "53", "57P")


def why_not_connected(error: BaseException, resource_id: str | None) -> ConnectFailed:
    """Return an error of ours that says why there is no connection, without a name, an address or the driver's text."""
    for each in _family(error):
        state = getattr(each, "sqlstate", None)
        if isinstance(state, str):
            return ConnectFailed(
                type(each).__name__,
                reason=_REASONS.get(state[:2], "the server refused"),
                sqlstate=state,
                retryable=state.startswith(_RETRYABLE_STATES),
                resource_id=resource_id,
            )
    if isinstance(error, TimeoutError):
        reason = "no answer in time"
    elif isinstance(error, OSError):
        reason = "the server was not reached"
    elif isinstance(error, DBAPIError | sqlite3.Error):
        reason = "the database cannot be used"
    else:
        reason = "the driver failed"
    return ConnectFailed(
        type(error).__name__, reason=reason, retryable=isinstance(error, OSError), resource_id=resource_id
    )


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def scrub(context: ExceptionContext) -> None:
    """Take values out of the texts of an error on its way out.

    ``hide_parameters`` keeps SQLAlchemy from listing them; the drivers quote some themselves: in PostgreSQL's DETAIL
    (the row that broke a constraint), and where a value has the wrong type.
    """
    forms = sorted(_forms(context.parameters), key=len, reverse=True)
    original = context.original_exception
    for error in (context.sqlalchemy_exception, original, original.__cause__):
        if error is None:
            continue
        if getattr(error, "detail", None):
            error.detail = None  # type: ignore[attr-defined]  # asyncpg's own errors print it
        error.args = tuple(_without(each, forms) if isinstance(each, str) else each for each in error.args)


def _without(text: str, forms: Iterable[str]) -> str:
    text = _QUOTED_BY_ASYNCPG.sub(r"\1", text)
    for form in forms:
        text = text.replace(form, "***")
    return text


def _forms(parameters: Any) -> Iterator[str]:
    """Yield how each value may be written in a text."""
    if isinstance(parameters, Mapping):
        parameters = parameters.values()
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Iterable):
        for form in (str(parameters), repr(parameters)):
            if len(form) >= _SHORTEST and parameters is not None and not isinstance(parameters, bool):
                yield form
        return
    for each in parameters:
        yield from _forms(each)
