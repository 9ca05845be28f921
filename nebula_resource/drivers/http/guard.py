"""Guard: connects only to addresses it has checked itself, for httpcore."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import httpcore

from nebula_resource.drivers.http.addresses import AddressPolicy
from nebula_resource.drivers.http.errors import TargetRefused

__all__ = ["GuardedBackend", "Resolver", "resolve"]

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, as the system resolves it, in the order to try them. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a name once, checks every address, and connects to one that was checked, never to the name.

    What is judged is the address that is connected to, so it does not matter how a host was written (``127.1``,
    ``0x7f000001``, full-width digits) or what its name resolves to a moment later. TLS still verifies the name:
    httpcore hands it to ``start_tls`` apart from the address.
    """

    def __init__(self, policy: AddressPolicy, resolver: Resolver = resolve) -> None:
        self._policy = policy
        self._resolve = resolver
        self._network: Any = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers, all within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked(host, port)
                return await self._first(addresses, port, local_address, socket_options)
        except TimeoutError:
            pass
        raise httpcore.ConnectTimeout("no connection in time")

    async def _checked(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            addresses = None
        if addresses is None:
            raise httpcore.ConnectError("the name of the host could not be resolved")
        if not self._policy.allows_all(addresses):
            raise TargetRefused("the host has an address that requests may not reach")
        return addresses

    async def _first(
        self, addresses: list[str], port: int, local_address: str | None, socket_options: Iterable[Any] | None
    ) -> httpcore.AsyncNetworkStream:
        failure: httpcore.ConnectError | None = None
        for address in addresses:
            try:
                stream: httpcore.AsyncNetworkStream = await self._network.connect_tcp(
                    address, port, local_address=local_address, socket_options=socket_options
                )
            except httpcore.ConnectError as error:
                failure = error
            else:
                return stream
        assert failure is not None, "there is at least one address: the policy refuses none"
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: a path is no address that could be checked."""
        raise TargetRefused("requests may not reach unix sockets")

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's retries (there are none)."""
        await asyncio.sleep(seconds)
