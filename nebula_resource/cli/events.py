"""EventReader: the events of a service as they happen, across lost connections."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx

from nebula_resource.cli.client import AdminClient
from nebula_resource.cli.failure import ExitCode, Failure

__all__ = ["follow"]

RETRY = 3.0
"""Seconds until it connects again, unless the service says another number."""
SILENT = frozenset({"hello", "snapshot", "pool.stats", "bye"})
"""What a stream tells of itself, and the numbers of every second."""


def follow(
    client: AdminClient, say: Callable[[str], None], *, last_id: str | None = None, **query: Any
) -> Iterator[dict[str, Any]]:
    """Yield events as they come, for ever; after ``last_id`` none is missed.

    A lost connection is told with ``say`` and made again from where it broke; what was lost meanwhile comes as an
    event of type ``gap``. Raises `Failure` where the first connection fails or the service refuses.
    """
    retry = RETRY
    connected = False
    while True:
        try:
            with client.stream("events", last_id=last_id, **query) as lines:
                connected = True
                for name, number, text, wanted in _frames(lines):
                    retry = wanted or retry
                    last_id = number or last_id
                    if not name or name in SILENT:
                        continue
                    data = _object(text)
                    if data is None:
                        say(f"left out: an event {number or ''} that cannot be read")
                    elif name == "gap":
                        yield {"type": "gap", "severity": "warning", "data": data}
                    else:
                        yield data
            why = "the service ended the stream"
        except httpx.RequestError as error:
            if not connected:
                raise Failure(
                    ExitCode.UNREACHABLE, f"the service cannot be reached: {type(error).__name__}"
                ) from None
            why = f"the stream is cut: {type(error).__name__}"
        except Failure as failure:
            if not connected or failure.code is ExitCode.USAGE or failure.message.startswith(("401", "403")):
                raise
            why = failure.message
        say(f"{why}; connecting again in {retry:.0f} s")
        time.sleep(retry)


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _frames(lines: Iterable[str]) -> Iterator[tuple[str, str | None, str, float | None]]:
    """(event, id, data, retry in seconds) of each frame of a stream."""
    name, number, retry = "", None, None
    data: list[str] = []
    for line in lines:
        if not line:
            if data or retry is not None:
                yield name, number, "\n".join(data), retry
            name, number, retry, data = "", None, None, []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "id":
            number = value
        elif field == "data":
            data.append(value)
        elif field == "retry" and value.isdecimal():
            retry = int(value) / 1000
