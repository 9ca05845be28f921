"""The fault proxy does what it says, seen from a raw socket."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.scenarios.proxy import FaultProxy

pytestmark = pytest.mark.alone


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """A proxy before a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as found:
        yield found


class Peer:
    """A raw connection to the proxy, without any transport between the test and the bytes."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._port = proxy.port

    async def __aenter__(self) -> "Peer":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def say(self, text: bytes) -> tuple[bytes, float]:
        """Send, and return the echo and how many seconds it took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.writer.write(text)
        return await asyncio.wait_for(self.reader.readexactly(len(text)), 5), loop.time() - started


async def test_it_passes_everything_on_when_nothing_is_wrong(proxy: FaultProxy) -> None:
    """What is said comes back, whatever its size."""
    async with Peer(proxy) as peer:
        text = bytes(range(256)) * 2000
        answer, _ = await peer.say(text)
        assert answer == text
        assert proxy.open == 1


async def test_latency_holds_each_piece_back(proxy: FaultProxy) -> None:
    """0.1 s each way."""
    async with Peer(proxy) as peer:
        proxy.latency = 0.1
        _, took = await peer.say(b"x")
        assert 0.2 <= took < 1
        await proxy.heal()
        _, took = await peer.say(b"x")
        assert took < 0.1


async def test_reset_is_a_reset_for_those_there_and_those_who_come(proxy: FaultProxy) -> None:
    """ECONNRESET, not a polite end; a healed proxy serves new connections."""
    async with Peer(proxy) as peer:
        await peer.say(b"x")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(peer.reader.read(1), 5)
    with pytest.raises(ConnectionError):  # noqa: PT012  # it may strike at either line
        async with Peer(proxy) as peer:
            await peer.say(b"x")
            raise AssertionError("nobody may answer")
    await proxy.heal()
    async with Peer(proxy) as peer:
        assert (await peer.say(b"x"))[0] == b"x"


async def test_refuse_closes_the_port(proxy: FaultProxy) -> None:
    """ECONNREFUSED; healed, the same port listens again."""
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        async with Peer(proxy):
            pass
    await proxy.heal()
    async with Peer(proxy) as peer:
        assert (await peer.say(b"x"))[0] == b"x"


async def test_a_black_hole_takes_everything_and_gives_nothing(proxy: FaultProxy) -> None:
    """Old and new connections stay open and hear nothing."""
    async with Peer(proxy) as old:
        await old.say(b"x")
        proxy.black_hole()
        async with Peer(proxy) as new:
            for peer in (old, new):
                peer.writer.write(b"x")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(peer.reader.read(1), 0.2)


async def test_half_close_ends_one_direction(proxy: FaultProxy) -> None:
    """The peer reads the end of the stream and may still write."""
    async with Peer(proxy) as peer:
        await peer.say(b"x")
        proxy.half_close()
        assert await asyncio.wait_for(peer.reader.read(1), 5) == b""
        peer.writer.write(b"x" * 100)
        await peer.writer.drain()
        assert not peer.writer.is_closing()


async def test_slow_bytes_come_one_by_one(proxy: FaultProxy) -> None:
    """Ten bytes with 20 ms between two of them take 0.18 s at least."""
    async with Peer(proxy) as peer:
        proxy.byte_pause = 0.02
        answer, took = await peer.say(b"0123456789")
        assert answer == b"0123456789"
        assert took >= 0.17
