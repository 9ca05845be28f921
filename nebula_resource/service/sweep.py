"""Sweep: ends connections that say nothing to the end: half a request's head, a body nobody reads, an answer not taken.

uvicorn gives a client that has been answered a time to ask again, and none to ask at all: whoever sends a byte of
headers now and then keeps a connection, and its descriptor, for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol, cast

__all__ = ["CROWD", "HURRIED", "PATIENCE", "Connection", "Sweep"]

PATIENCE = 100
"""Sweeps that a connection may stand still. One comes every tenth of a second, and never before the loop has read what
has arrived: counted like this, a busy machine is no client's fault."""
HURRIED = 10
"""The same, while there are more than `CROWD` of them."""
CROWD = 256

Stage = object
"""What a connection stands still at; another one is progress."""


class Connection(Protocol):
    """What is asked of uvicorn's connections; those that speak HTTP have ``cycle`` and ``timeout_keep_alive_task`` too."""

    @property
    def transport(self) -> asyncio.Transport:
        """Its socket."""
        ...


class Sweep:
    """Looks at all connections again and again, and ends those that stand still.

    It knows nothing of the requests that an application is answering: how long those may take is its own affair.
    """

    def __init__(self) -> None:
        self._still: dict[Connection, tuple[Stage, int]] = {}

    def __repr__(self) -> str:
        return f"<Sweep {len(self)} standing still>"

    def __len__(self) -> int:
        return len(self._still)

    def look(self, connections: Iterable[Connection]) -> None:
        """One sweep."""
        still: dict[Connection, tuple[Stage, int]] = {}
        for each in connections:
            stage = _stage_of(each)
            if stage is not None:
                before, sweeps = self._still.get(each, (None, 0))
                still[each] = (stage, sweeps + 1 if stage == before else 0)
        self._still = still
        patience = HURRIED if len(still) > CROWD else PATIENCE
        for each, (_, sweeps) in still.items():
            if sweeps >= patience:
                each.transport.abort()


def _stage_of(connection: Connection) -> Stage | None:
    """Where it stands still; None: a request is being answered, or it rests between two, on uvicorn's own clock."""
    if connection.transport.is_closing():
        return ("closing", connection.transport.get_write_buffer_size())
    if not hasattr(connection, "timeout_keep_alive_task"):
        return None  # a websocket
    http = cast("Any", connection)
    if http.timeout_keep_alive_task is not None or (
        http.cycle is not None and not http.cycle.response_complete
    ):
        return None
    return ("asking", http.cycle)  # the last one that was answered: another one is progress
