"""FaultProxy: a TCP proxy that can be made slow, deaf, mute or rude while connections go through it."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType

__all__ = ["FaultProxy"]

CHUNK = 65536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close sends RST, not FIN


class FaultProxy:
    """``async with FaultProxy(host, port) as proxy``: listens on ``proxy.port`` of 127.0.0.1.

    Each fault strikes the connections that exist and, where that makes sense, the new ones, until `heal`. After it
    new connections are sound; those that were struck by `black_hole` or `half_close` are reset, as the first packet
    after a broken network is.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self.latency = 0.0
        """Seconds before each piece is passed on, in each direction."""
        self.byte_pause: float | None = None
        """Slow bytes: seconds between two single bytes."""
        self._swallows = False
        self._resets_new = False
        self._over = asyncio.Event()
        self.port = 0
        self.accepted = 0
        """Connections that came in."""

    async def __aenter__(self) -> FaultProxy:
        await self._listen()
        return self

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_listening()
        self._over.set()
        await asyncio.sleep(0.01)  # what was accepted a moment ago is on its way to its handler
        while self._handlers:
            self._cut()
            await asyncio.wait(self._handlers, timeout=0.05)

    # ── faults ──

    def reset(self) -> None:
        """RST to whoever is connected, and to every new connection."""
        self._resets_new = True
        self._cut()

    def refuse(self) -> None:
        """Nobody listens any more; those who are connected are reset."""
        self._stop_listening()
        self._cut()

    def black_hole(self) -> None:
        """Everything is accepted and swallowed; nothing comes back, and nobody is told."""
        self._swallows = True
        for client, server in self._pairs:
            self._deaf |= {client, server}

    def half_close(self) -> None:
        """The server's side says FIN to whoever is connected, and goes on reading; new ones go the same way."""
        self.black_hole()
        for client, _ in self._pairs:
            if client.can_write_eof() and not client.is_closing():
                client.write_eof()

    async def heal(self) -> None:
        """All is well again, for new connections."""
        for pair in self._pairs:
            if not self._deaf.isdisjoint(pair):
                for writer in pair:
                    _reset(writer)
        self.latency, self.byte_pause = 0.0, None
        self._swallows = self._resets_new = False
        if self._server is None:
            await self._listen()

    @property
    def open(self) -> int:
        """How many connections go through now."""
        return len(self._pairs)

    # ── how ──

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _cut(self) -> None:
        for pair in self._pairs:
            for writer in pair:
                _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "start_server calls this in a task"
        self._handlers.add(task)
        self.accepted += 1
        try:
            if self._resets_new or self._over.is_set():
                return  # and reset, below
            await self._connect(reader, client)
        finally:
            _reset(client)
            self._handlers.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answers, server = await asyncio.open_connection(*self._target)
        except OSError:
            return
        pair = (client, server)
        self._pairs.add(pair)
        if self._swallows:
            self._deaf |= set(pair)
        try:
            await asyncio.gather(self._pump(reader, server), self._pump(answers, client))
        finally:
            self._pairs.discard(pair)
            self._deaf -= set(pair)
            _reset(server)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, until one side has ended."""
        try:
            while data := await reader.read(CHUNK):
                if self.latency:
                    await self._pause(self.latency)
                if writer not in self._deaf:
                    await self._write(writer, data)
        except OSError:
            pass  # the other pump sees the same end
        finally:
            if writer not in self._deaf:
                writer.close()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self.byte_pause is None:
            writer.write(data)
            await writer.drain()
            return
        for byte in data:
            writer.write(bytes((byte,)))
            await writer.drain()
            await self._pause(self.byte_pause or 0.0)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than the proxy lives."""
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    if writer.is_closing():
        return
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
