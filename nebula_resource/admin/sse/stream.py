"""EventStream: one reader's response: hello, what it missed, and then what happens, until one of the two leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from nebula_resource._aio import within
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.guard import HEAD
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.sse.filters import EventFilter
from nebula_resource.admin.sse.frame import wire
from nebula_resource.admin.sse.hub import Hub
from nebula_resource.admin.sse.pulse import NAME as STATS
from nebula_resource.admin.sse.pulse import Beat
from nebula_resource.admin.times import now as moment

__all__ = ["EventStream"]

HEARTBEAT = 15.0
"""Seconds of silence after which a reader hears that we are there."""
WRITE_DEADLINE = 10.0
"""Seconds a write may take before its reader counts as frozen."""
GOODBYE_DEADLINE = 1.0
MAX_AGE = 1800.0
"""Seconds a stream lives, give or take a fifth; its reader comes back by itself."""
RECHECK = 30.0
"""Seconds after which a key that was revoked loses its stream."""
PIECE = 65536
"""Bytes that one deadline is for, so that a long text on a slow line is no frozen reader."""
CHUNK = 256
"""Events in one write, so that a long replay is many writes that each have their deadline."""


class EventStream(Response):
    """An SSE response that reads a ring by a cursor of its own: it holds no queue, so a slow one costs nothing.

    Args:
        hub: where the events are.
        who: who reads.
        wanted: which events.
        last_id: the id that the reader saw last.
        raw: single acquires and releases too.
        recheck: who the credential belongs to now; None ends the stream.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        hub: Hub,
        who: Principal,
        wanted: EventFilter,
        *,
        last_id: str | None,
        raw: bool,
        recheck: Callable[[], Principal | None],
    ) -> None:
        self.status_code = 200
        self.background: BackgroundTask | None = None
        self.body = b""
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub = hub
        self._ring = hub.ring(who.tenant)
        self._who = who
        self._wanted = wanted
        self._last_id = last_id
        self._raw = raw
        self._recheck = recheck
        self._gone = False
        self._rng = random.Random()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it to its end."""
        try:
            self._hub.enter(self._who)
        except AdminProblem as problem:
            await problem.response()(scope, receive, send)
            return
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope.get(HEAD):
                await send({"type": "http.response.body", "body": b""})
                return
            if self._raw:
                self._hub.raw.join()
            watcher = self._hub.tasks.spawn(self._watch(receive), name="reader", awaited=True)
            try:
                await self._tell(send)
            finally:
                watcher.cancel()
                if self._raw:
                    self._hub.raw.leave()
        finally:
            self._hub.leave(self._who)

    async def _watch(self, receive: Receive) -> None:
        """Learn that the reader has gone."""
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await receive()
        self._gone = True
        self._hub.wake()

    async def _tell(self, send: Send) -> None:
        try:
            await self._write(send, self._greeting() + await self._hub.snapshots.of(self._who))
            reason = await self._follow(send)
            if reason is not None:
                await self._write(send, wire("bye", {"reason": reason}), deadline=GOODBYE_DEADLINE)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, OSError):
            return  # frozen or gone: its place is free, and the server closes what is left of the connection

    def _greeting(self) -> bytes:
        """``retry``, ``hello``, and what is lost; sets the cursors."""
        ring, hub = self._ring, self._hub
        position = ring.position(self._last_id)
        self._cursor = position.seq
        self._beat = hub.pulse.number
        self._raw_cursor = hub.raw.ring.seq
        retry = f"retry: {self._rng.randint(2000, 5000)}\n\n".encode()
        hello = {
            "boot_id": ring.boot,
            "seq": ring.seq,
            "oldest_seq": ring.oldest,
            "server_time": moment(),
            "filters": self._wanted.view(),
        }
        id_ = ring.id_of(position.seq)
        if position.gap is None:
            # With an id, so that a reader that is cut off at once knows where it began.
            return retry + wire("hello", hello, id=id_)
        hub.gaps += 1
        # Without: a reader that is cut off before the gap would come back as if nothing were lost.
        return retry + wire("hello", hello) + wire("gap", position.gap, id=id_)

    async def _follow(self, send: Send) -> str | None:
        """Write what comes; return why we leave, or None when the reader left."""
        loop = asyncio.get_running_loop()
        started = checked = written = loop.time()
        ends = started + MAX_AGE * self._rng.uniform(0.8, 1.2)
        while not self._gone:
            now = loop.time()
            if now >= ends:
                return "age"
            if now - checked >= RECHECK:
                checked = now
                if self._recheck() != self._who:
                    return "credential"
            lost = self._lost()
            if lost:
                await self._write(send, lost + await self._hub.snapshots.of(self._who))
            body = self._take()
            if body:
                await self._write(send, body)
                written = loop.time()
                continue
            if self._hub.closed:
                return "shutdown"
            if now - written >= HEARTBEAT:
                # With the cursor in it: what a filter leaves out must not look like a loss later.
                await self._write(send, f": hb\nid: {self._ring.id_of(self._cursor)}\n\n".encode())
                written = now
            await self._hub.news(min(HEARTBEAT - (now - written), ends - now))
        return None

    def _lost(self) -> bytes:
        """The gap, where the ring has gone on without this reader; the cursor goes on behind it."""
        ring = self._ring
        if self._cursor + 1 >= ring.oldest:
            return b""
        self._hub.gaps += 1
        gap = {"reason": "overrun", "from": self._cursor + 1, "to": ring.oldest - 1}
        self._cursor = ring.oldest - 1
        return wire("gap", gap, id=ring.id_of(self._cursor))

    def _take(self) -> bytes:
        """The next bytes: events, then numbers, then single uses."""
        ring, wanted = self._ring, self._wanted
        events = b""
        while not events and self._cursor < ring.seq:
            after, self._cursor = self._cursor, min(ring.seq, self._cursor + CHUNK)
            if wanted.is_all:
                events = ring.joined(after, self._cursor)
            else:
                frames = ring.frames(after, self._cursor)
                events = b"".join(frame.wire(ring.boot) for frame in frames if wanted.wants(frame.event))
        return events + self._numbers() + self._uses()

    def _numbers(self) -> bytes:
        pulse = self._hub.pulse
        if self._beat == pulse.number or not self._wanted.wants_name(STATS):
            return b""
        since, self._beat = self._beat, pulse.number
        everything = self._wanted.is_all and self._who.tenant is None
        return pulse.since(since, None if everything else self._wants_beat)

    def _wants_beat(self, id: str, beat: Beat) -> bool:
        wanted = self._wanted
        return (
            self._who.sees(beat.scope)
            and wanted.pool in {None, id}
            and wanted.scope in {None, beat.scope_id}
            and wanted.min_severity.value == "info"
        )

    def _uses(self) -> bytes:
        if not self._raw:
            return b""
        ring = self._hub.raw.ring
        after, self._raw_cursor = self._raw_cursor, ring.seq
        return b"".join(
            wire(frame.event.name, frame.unnumbered())
            for frame in ring.frames(after, ring.seq)
            if self._who.sees(frame.event.scope) and self._wanted.wants(frame.event)
        )

    @staticmethod
    async def _write(send: Send, body: bytes, *, deadline: float | None = None) -> None:
        for start in range(0, len(body), PIECE):
            async with within(WRITE_DEADLINE if deadline is None else deadline):
                await send(
                    {"type": "http.response.body", "body": body[start : start + PIECE], "more_body": True}
                )
