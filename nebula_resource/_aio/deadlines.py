"""Deadlines: loop times (seconds) at which waiting ends; None is never."""

from __future__ import annotations

import asyncio

__all__ = ["earliest", "until", "within"]


def until(deadline: float | None) -> asyncio.Timeout:
    """Return ``async with until(deadline):``, a TimeoutError at that loop time (seconds); None: never."""
    return asyncio.timeout_at(deadline)


def within(seconds: float | None) -> asyncio.Timeout:
    """Return ``async with within(seconds):``, a TimeoutError that much later; None: never."""
    return asyncio.timeout(seconds)


def earliest(*deadlines: float | None) -> float | None:
    """Return the first of the deadlines (loop time, seconds); None when there is none."""
    given = [deadline for deadline in deadlines if deadline is not None]
    return min(given) if given else None
