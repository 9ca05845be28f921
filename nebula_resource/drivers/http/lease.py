"""ClientLease: an httpx client of one's own over the connections that all share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType

import httpx

from nebula_resource.drivers.http.transport import HttpConnections
from nebula_resource.model.config import Secret

__all__ = ["ClientLease"]


class ClientLease:
    """Lends a client whose cookies, headers and hooks are the caller's alone; responses left open end with it."""

    __slots__ = ("_client", "_connections")

    _client: httpx.AsyncClient

    def __init__(self, connections: HttpConnections) -> None:
        self._connections = connections

    async def __aenter__(self) -> httpx.AsyncClient:
        config = self._connections.config
        self._client = httpx.AsyncClient(
            transport=_Borrowed(self._connections),
            base_url=config.base_url,
            headers={name: value for name, value in config.headers.items() if not isinstance(value, Secret)},
            timeout=httpx.Timeout(
                connect=config.connect_timeout,
                read=config.read_timeout,
                write=config.write_timeout,
                pool=config.pool_timeout,
            ),
            follow_redirects=config.follow_redirects,
            max_redirects=config.max_redirects,
            trust_env=False,  # a proxy of the environment would get round the guard, .netrc would send logins
        )
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()


class _Borrowed(httpx.AsyncBaseTransport):
    """The shared connections as one client sees them: closing it closes this client's responses, and no more."""

    def __init__(self, connections: HttpConnections) -> None:
        self._connections = connections
        self._open: set[_Noted] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._connections.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Noted(response.stream, self._open)
        return response

    async def aclose(self) -> None:
        while self._open:
            await self._open.pop().aclose()


class _Noted(httpx.AsyncByteStream):
    """A body that strikes itself off the list of open ones when it is closed."""

    def __init__(self, body: httpx.AsyncByteStream, noted: set[_Noted]) -> None:
        self._body = body
        self._noted = noted
        noted.add(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        self._noted.discard(self)
        await self._body.aclose()
