"""Server: an application on uvicorn that ends without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import uvicorn

from nebula_resource.service.connection import HttpConnection
from nebula_resource.service.lifespan import AsgiApp, Lifespan
from nebula_resource.service.listener import Listener, claim
from nebula_resource.service.signals import stop_on_signal
from nebula_resource.service.sweep import Sweep

if TYPE_CHECKING:
    from nebula_resource.manager import Manager, ShutdownReport

__all__ = ["CLEANUP", "DRAIN", "Server", "ShutdownOverdue", "serve"]

DRAIN = 3.0
"""Seconds that requests and handles get to end (SPEC §24)."""
CLEANUP = 1.5
"""Seconds that cleaning up gets (SPEC §24)."""

LINGER = 0.25
"""Seconds between "not ready" and the end of listening: clients that keep connections leave them by themselves."""
GRACE = 0.5
"""Seconds that a connection accepted at the very end gets to send its request."""
TURNS = 10
"""Turns of the event loop that each of these two takes at least: where the machine is busy, seconds pass and nothing
gets done, and a request that has arrived is not read yet."""
LOOK_EVERY = 0.02
"""Seconds between two looks at whether the connections have ended."""
AT_LEAST = 0.25
"""Seconds that each step of the end gets, whatever those before it have used up."""
KEEP_ALIVE = 75.0
"""Seconds an idle connection is kept: longer than clients keep theirs, so that they and not we close it."""


class ShutdownOverdue(RuntimeError):
    """Resources were not cleaned up in time."""


_CLOSE = (b"connection", b"close")


async def serve(
    app: AsgiApp,
    *,
    manager: Manager,
    host: str = "127.0.0.1",
    port: int = 8000,
    listener: Listener | None = None,
    drain: float = DRAIN,
    cleanup: float = CLEANUP,
    on_started: Callable[[Server], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
) -> ShutdownReport:
    """Serve an application until SIGINT, SIGTERM or ``Server.stop``, then end in good order; returns the report.

    In this order: ``on_stopping`` (ready turns 503, streams say goodbye); what is asked meanwhile is still answered,
    with ``Connection: close``; the port is given up and who stood in line is taken in; requests end, for up to
    ``drain`` seconds from the signal on, then they are cancelled; the application's lifespan ends; the manager shuts
    down (unless the lifespan has done that) within what is left of ``drain`` and ``cleanup``. A signal during the start
    cancels that, and the rest follows. A second signal ends the process at once.

    Args:
        app: an ASGI application; its lifespan is run.
        manager: whose resources the application uses.
        host: the address to listen on.
        port: the port to listen on; 0: any free one.
        listener: a port claimed before (`claim`); then ``host`` and ``port`` are not looked at.
        drain: seconds.
        cleanup: seconds.
        on_started: called once requests are answered.
        on_stopping: called once, first of all, when the end begins.

    Raises:
        PortNotAvailable: the port cannot be had.
        ShutdownOverdue: cleaning up did not end in time; the process is best ended now.
        Exception: what the application's start or end raised; the manager is shut down all the same.
    """
    listening = claim(host, port) if listener is None else listener
    lifespan = Lifespan(app)
    server = Server(app, listening, drain=drain, on_stopping=on_stopping)

    def stop(received: signal.Signals) -> None:
        server.stop(received)
        lifespan.abandon()

    with contextlib.closing(listening), stop_on_signal(stop):
        try:
            if await lifespan.start():
                await server.run_until_stopped(lifespan.state, on_started)
        except BaseException:
            await _end(lifespan, manager, drain=0.0, cleanup=cleanup)
            raise
        return await _end(lifespan, manager, drain=server.left(), cleanup=cleanup)


async def _end(lifespan: Lifespan, manager: Manager, *, drain: float, cleanup: float) -> ShutdownReport:
    """End the application and its manager, each in its time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + drain
    async with contextlib.AsyncExitStack() as last:
        # It may be waiting for the manager, which has ended by then; or it never ends.
        last.push_async_callback(lifespan.stop_within, AT_LEAST, cancel=True)
        try:
            await lifespan.stop_within(max(drain, AT_LEAST))
        finally:
            try:
                async with asyncio.timeout(drain + cleanup + AT_LEAST):
                    # Two thirds to clean up in good order, one third for what must be cancelled.
                    report = await manager.shutdown(
                        drain=max(0.0, until - loop.time()), cleanup=cleanup * 2 / 3, terminate=cleanup / 3
                    )
            except TimeoutError:
                raise ShutdownOverdue("cleaning up did not end in time") from None
    return report


class Server(uvicorn.Server):
    """uvicorn, ended by us: its own way closes connections whose request is on its way, and raises the signal again.

    Args:
        app: the application.
        listener: the port.
        drain: seconds from `stop` on until requests that still run are cancelled.
        on_stopping: called once, first of all.
    """

    def __init__(
        self,
        app: AsgiApp,
        listener: Listener,
        *,
        drain: float = DRAIN,
        on_stopping: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpConnection,
                lifespan="off",  # ours, so that its errors arrive
                log_config=None,  # logs are the application's
                access_log=False,
                proxy_headers=False,  # who is a peer decides what he may: no header says otherwise
                server_header=False,
                timeout_keep_alive=int(KEEP_ALIVE),
            )
        )
        self.listener = listener
        self.cancelled = 0
        """Requests that had not ended in time."""
        self._on_stopping = on_stopping
        self._drain = drain
        self._deadline: float | None = None
        self._sweep = Sweep()

    # ── start ──

    async def run_until_stopped(
        self, state: dict[str, object], on_started: Callable[[Server], None] | None = None
    ) -> None:
        """Answer requests until `stop`, and until those under way have ended.

        uvicorn's own ``serve`` would take the signals, and raise them again after a good end.
        """
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        self.lifespan.state.update(state)
        await self.startup(sockets=[self.listener.socket])
        if on_started is not None and not self.should_exit:
            on_started(self)
        await self.main_loop()
        await self.shutdown()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: what uvicorn does then, and the sweep."""
        self._sweep.look(self.server_state.connections)
        return await super().on_tick(counter)

    # ── stop ──

    def stop(self, received: signal.Signals | None = None) -> None:
        """Begin the end; a second call does nothing."""
        if self._deadline is not None:
            return
        self._deadline = asyncio.get_running_loop().time() + self._drain
        if self._on_stopping is not None:
            self._on_stopping()
        # From now on every answer ends its connection, so that a client's next request goes elsewhere.
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in self.server_state.connections:
            if isinstance(connection, HttpConnection):
                connection.announce_end()
        self.should_exit = True

    def left(self) -> float:
        """Seconds that draining still has."""
        assert self._deadline is not None, "stop comes first"
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give up the port, let requests end, cancel those that do not in time."""
        await self._let_pass(LINGER)
        await self._close_port()
        await self._let_pass(GRACE)
        await self._let_end()
        late = list(self.server_state.tasks)
        self.cancelled = len(late)
        for task in late:
            task.cancel("the service ends")
        if late:
            await asyncio.wait(late, timeout=AT_LEAST)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def _let_pass(self, seconds: float) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(min(seconds / TURNS, self.left()))

    async def _let_end(self) -> None:
        """Close what is quiet; wait for what is being answered.

        An answer that had begun before the end could not say that it is the last: its client may be about to ask again,
        and gets as long as one that has just connected.
        """
        while self._is_busy() and self.left():  # uvicorn keeps sets, and tells nobody of their end
            for connection in list(self.server_state.connections):
                if not connection.transport.is_closing() and _is_quiet(connection):
                    connection.shutdown()
            await asyncio.sleep(LOOK_EVERY)

    async def _close_port(self) -> None:
        """Stop listening, without refusing those whom the kernel has already let in."""
        loop = asyncio.get_running_loop()
        waiting = self.listener.accept_all()
        for server in self.servers:
            server.close()
        self.listener.close()
        # ours from here on: a client that left meanwhile is no reason to forget the others
        for connection in waiting:
            try:
                await loop.connect_accepted_socket(self._protocol, connection)
            except OSError:
                connection.close()

    def _protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _is_busy(self) -> bool:
        return bool(self.server_state.connections or self.server_state.tasks)


def _is_quiet(connection: object) -> bool:
    """Nothing is under way; a websocket is told to end at once, and goes when its handler has."""
    return not isinstance(connection, HttpConnection) or connection.is_quiet(GRACE)
