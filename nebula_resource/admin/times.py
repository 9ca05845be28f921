"""Times: how moments stand in answers: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["now", "stamp", "stamp_or_none"]


def stamp(at: datetime) -> str:
    """``2026-01-01T10:00:00.120Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp_or_none(at: datetime | None) -> str | None:
    """The same, of a moment that may not be."""
    return None if at is None else stamp(at)


def now() -> str:
    """This moment."""
    return stamp(datetime.now(UTC))
