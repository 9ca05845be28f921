"""Hub: where all streams of a process come together: the rings, the pulse, the places, the end."""

from __future__ import annotations

import asyncio
from collections import Counter

from nebula_resource._aio import OwnedTasks
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.auth.role import Role
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.sse.frame import Notice
from nebula_resource.admin.sse.pulse import Pulse
from nebula_resource.admin.sse.raw import RAW_TYPES, RawFeed, is_raw
from nebula_resource.admin.sse.ring import Ring
from nebula_resource.admin.sse.snapshot import Snapshots
from nebula_resource.events import EVENTS, Event, ShutdownStarted
from nebula_resource.manager import Manager

__all__ = ["MAX_STREAMS", "Hub"]

MAX_STREAMS = 64
"""Streams a process serves (SPEC §23)."""
MAX_PER_PRINCIPAL = 4
COALESCE = 0.02
"""Seconds that readers are let sleep on after an event, so that a burst is one write for each."""

_KEPT = tuple(event for event in EVENTS if event not in RAW_TYPES)


class Hub:
    """One listener on the bus for all streams.

    A key that is bound to a tenant reads a ring of its own: only that tenant's events, numbered by themselves, so
    that neither ids nor their gaps tell anything of others. Such a ring is made when it is first asked for, from what
    the main one still holds, and stays.

    Args:
        manager: whose events.
        max_streams: how many streams at once.
    """

    def __init__(self, manager: Manager, *, max_streams: int = MAX_STREAMS) -> None:
        self.manager = manager
        self.main = Ring()
        self.tasks = OwnedTasks("nebula admin streams")
        self.pulse = Pulse(manager, self._wake_soon)
        self.snapshots = Snapshots(self)
        self.raw = RawFeed(manager.events, self._wake_soon)
        self.closed = False
        self.gaps = 0
        """How often a reader had to be told that something is lost."""
        self._max_streams = max_streams
        self._bound: dict[str, Ring] = {}
        self._places: Counter[Principal] = Counter()
        self._sleepers: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None
        manager.events.add_listener(self._heard, types=_KEPT)

    def __repr__(self) -> str:
        return f"<Hub {len(self)} streams, {self.main.seq} events{' closed' if self.closed else ''}>"

    def __len__(self) -> int:
        return self._places.total()

    # ── events ────────────────────────────────────────────────────────────────────────────────────────────────────

    def ring(self, tenant: str | None) -> Ring:
        """The events of everything, or of one tenant."""
        if tenant is None:
            return self.main
        ring = self._bound.get(tenant)
        if ring is None:
            sight = Sight(self.manager, Principal("", Role.VIEWER, tenant))
            ring = self._bound[tenant] = Ring(
                keep=lambda event: event.scope.tenant_id == tenant, told=sight.event
            )
            for frame in self.main.frames(0, self.main.seq):
                ring.put(frame.event)
        return ring

    def tell(self, notice: Notice) -> None:
        """Tell something of the API's own."""
        self._put(notice)

    def _heard(self, event: Event) -> None:
        if is_raw(event):
            return
        self._put(event)
        if isinstance(event, ShutdownStarted):
            self.close()

    def _put(self, event: Event | Notice) -> None:
        self.main.put(event)
        for ring in self._bound.values():
            ring.put(event)
        self._wake_soon()

    # ── readers ───────────────────────────────────────────────────────────────────────────────────────────────────

    def enter(self, who: Principal) -> None:
        """Give a stream its place. Raises `AdminProblem`: 429 when all are taken, 503 after `close`."""
        if self.closed:
            raise AdminProblem(503, "shutting_down", "the service is going down", retry_after=5.0)
        if len(self) >= self._max_streams:
            raise AdminProblem(429, "too_many_streams", "all places for streams are taken", retry_after=5.0)
        # Whoever is not known by a key cannot be told apart from the next.
        if not who.is_local and self._places[who] >= MAX_PER_PRINCIPAL:
            raise AdminProblem(
                429, "too_many_streams", "this key has all the streams it may have", retry_after=5.0
            )
        self._places[who] += 1
        if self._beating is None:
            self._beating = self.tasks.spawn(self.pulse.run(), name="pulse")

    def leave(self, who: Principal) -> None:
        """Its place is free again."""
        self._places[who] -= 1
        if not self._places[who]:
            del self._places[who]
        if not self._places and self._beating is not None:
            self._beating.cancel()
            self._beating = None

    async def news(self, timeout: float) -> None:
        """Wait until there is something to read, or for ``timeout`` seconds."""
        if self.closed:
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.add(sleeper)
        try:
            await asyncio.wait((sleeper,), timeout=timeout)
        finally:
            self._sleepers.discard(sleeper)

    def wake(self) -> None:
        """Let every reader look now."""
        self._timer = None
        sleepers, self._sleepers = self._sleepers, set()
        for sleeper in sleepers:
            sleeper.set_result(None)

    def _wake_soon(self) -> None:
        if self._sleepers and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COALESCE, self.wake)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Tell every reader goodbye; they leave by themselves, within a second. Idempotent."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self.wake()
