"""Snapshot: how things stand, as the event that a reader gets first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nebula_resource.admin.schemas.pools import PoolSummary, pool_summary
from nebula_resource.admin.schemas.quarantine import quarantine_view
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.sse.frame import wire
from nebula_resource.admin.times import now

if TYPE_CHECKING:
    from nebula_resource.admin.auth.principal import Principal
    from nebula_resource.admin.sse.hub import Hub

__all__ = ["Snapshots"]

BREATH = 50
"""Pools that are described in one go, before others get their turn of the loop."""
KEPT = 64


class Snapshots:
    """Describes every pool and every quarantine that a reader may see; readers of one moment share the bytes.

    It may be a little newer than the number in ``hello``, never older: what happened in between is told again.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._made: dict[str | None, tuple[tuple[int, int], bytes]] = {}

    async def of(self, who: Principal) -> bytes:
        """The event for this reader."""
        hub = self._hub
        moment = (hub.main.seq, hub.pulse.number)
        known = self._made.get(who.tenant)
        if known is not None and known[0] == moment:
            return known[1]
        pools: list[PoolSummary] = []
        sight = Sight(hub.manager, who)
        for place, registration in enumerate(each for each in hub.manager.pools() if who.sees(each.scope)):
            if place % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            pools.append(pool_summary(sight, registration))
        quarantine = [
            quarantine_view(sight, name, entry)
            for name, entry in hub.manager.watch.quarantine.entries().items()
            if who.sees(entry.scope)
        ]
        body = wire("snapshot", {"pools": pools, "quarantine": quarantine, "as_of": now()})
        if len(self._made) >= KEPT:
            self._made.clear()
        self._made[who.tenant] = (moment, body)
        return body
