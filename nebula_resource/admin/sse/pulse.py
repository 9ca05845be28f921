"""Pulse: once a second, the numbers of the pools that changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from nebula_resource.admin.schemas.common import scope_id
from nebula_resource.admin.schemas.pools import stats_view
from nebula_resource.admin.sse.frame import VERSION, wire
from nebula_resource.admin.times import stamp
from nebula_resource.manager import Manager, Registration
from nebula_resource.model.scope import Scope

__all__ = ["NAME", "PERIOD", "Beat", "Pulse"]

NAME = "pool.stats"
PERIOD = 1.0
"""Seconds between two looks."""
BREATH = 50
"""Pools that are read in one go, before others get their turn of the loop."""

_Mark = tuple[object, ...]


class Beat:
    """The latest numbers of one pool, and with which beat they last changed."""

    __slots__ = ("body", "mark", "number", "scope", "scope_id")

    def __init__(self, number: int, mark: _Mark, scope: Scope, body: bytes) -> None:
        self.number = number
        self.mark = mark
        self.scope = scope
        self.scope_id = scope_id(scope)
        self.body = body


class Pulse:
    """Reads the pools while somebody listens. A reader that missed beats gets each pool's latest numbers once.

    These events carry no id and are not replayed: ``snapshot`` tells a new reader all of them.
    """

    def __init__(self, manager: Manager, told: Callable[[], None]) -> None:
        self._manager = manager
        self._told = told
        self.number = 0
        self._beats: dict[str, Beat] = {}
        self._joined: tuple[int, bytes] = (0, b"")

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            await self.beat()

    async def beat(self) -> None:
        """Look once."""
        number = self.number + 1
        changed = False
        registrations = self._manager.pools()
        for place, registration in enumerate(registrations):
            if place % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            mark = _mark(registration)
            known = self._beats.get(registration.public_id)
            if known is not None and known.mark == mark:
                continue
            changed = True
            stats = registration.pool.stats()
            data = {
                "v": VERSION,
                "ts": stamp(datetime.now(UTC)),
                "type": NAME,
                "severity": "info",
                "resource_id": registration.key,
                "pool": registration.public_id,
                "scope_id": scope_id(registration.scope),
                "data": stats_view(registration, stats),
            }
            self._beats[registration.public_id] = Beat(number, mark, registration.scope, wire(NAME, data))
        if len(self._beats) > len(registrations):
            there = {registration.public_id for registration in registrations}
            self._beats = {name: beat for name, beat in self._beats.items() if name in there}
        if changed:
            self.number = number
            self._told()

    def since(self, number: int, wanted: Callable[[str, Beat], bool] | None) -> bytes:
        """What changed after beat ``number``; ``wanted`` None: of all pools."""
        if wanted is None and number == self.number - 1:
            if self._joined[0] != self.number:
                body = b"".join(beat.body for beat in self._beats.values() if beat.number == self.number)
                self._joined = (self.number, body)
            return self._joined[1]
        return b"".join(
            beat.body
            for name, beat in self._beats.items()
            if beat.number > number and (wanted is None or wanted(name, beat))
        )


def _mark(registration: Registration) -> _Mark:
    """What must differ for a pool to count as changed: cheaper than its stats, of which most are the same as before.

    Ages grow by themselves and do not count.
    """
    pool = registration.pool
    ledger = pool.ledger
    return (
        registration.state,
        pool.state,
        ledger.acquisitions,
        ledger.in_use,
        ledger.size,
        ledger.created,
        ledger.creating,
        len(pool.line),
        ledger.min_size,
        ledger.max_size,
        ledger.timeouts,
        ledger.exhausted,
        ledger.create_failures,
        ledger.leaks,
    )
