"""Listener: a port is claimed once, and those who stand in its line are taken in."""

import asyncio
import socket
from contextlib import closing

import pytest

from nebula_resource.service import PortNotAvailable, claim


def test_a_port_in_use_is_refused() -> None:
    """One port has one service, and the error says which port and why."""
    with closing(claim("127.0.0.1", 0)) as first:
        assert first.url == f"http://127.0.0.1:{first.port}"
        with pytest.raises(PortNotAvailable, match="it is in use") as caught:
            claim("127.0.0.1", first.port)
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", first.port)


def test_an_address_of_another_machine_is_refused() -> None:
    """An address this machine does not have: said in words."""
    with pytest.raises(PortNotAvailable, match="no such address"):
        claim("192.0.2.1", 0)


def test_only_those_in_line_are_accepted() -> None:
    """`accept_all` takes who stands in line and does not wait for more."""
    listener = claim("127.0.0.1", 0)
    waiting = [socket.create_connection((listener.host, listener.port)) for _ in range(3)]
    taken = listener.accept_all()
    assert len(taken) == 3
    assert listener.accept_all() == []
    for each in (*waiting, *taken):
        each.close()
    listener.close()
    assert listener.accept_all() == []


async def test_answers_are_not_held_back() -> None:
    """asyncio switches Nagle's delay off on what is accepted: with it, each answer on a kept connection takes 40 ms."""
    listener = claim("127.0.0.1", 0)
    delays: asyncio.Queue[int] = asyncio.Queue()

    def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = writer.get_extra_info("socket")
        delays.put_nowait(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(look, sock=listener.socket):
        _, writer = await asyncio.open_connection(listener.host, listener.port)
        assert await delays.get() == 1
        writer.close()
        await writer.wait_closed()
