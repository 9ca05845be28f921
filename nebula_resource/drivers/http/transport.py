"""HttpConnections: the connections that all leases of one instance share, and what each request must pass."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpcore
import httpx

from nebula_resource.drivers.http.addresses import AddressPolicy
from nebula_resource.drivers.http.config import HttpConfig
from nebula_resource.drivers.http.errors import TargetRefused
from nebula_resource.drivers.http.guard import GuardedBackend, Resolver, resolve

__all__ = ["HttpConnections", "Origin", "origin_of"]

_HTTPCORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a login belongs to."""

    scheme: str
    host: str
    port: int


def origin_of(url: httpx.URL) -> Origin:
    """Return the origin of a URL; names are compared without case and final dot."""
    port = url.port or _DEFAULT_PORTS.get(url.scheme, 0)
    return Origin(url.scheme, url.raw_host.decode("ascii").lower().rstrip("."), port)


class HttpConnections(httpx.AsyncBaseTransport):
    """Sends requests over connections it keeps, to where they may go, with the login where it belongs."""

    def __init__(
        self,
        config: HttpConfig,
        secret_headers: Mapping[str, str],
        tls: ssl.SSLContext,
        *,
        resolver: Resolver = resolve,
        expires_at: datetime | None = None,
    ) -> None:
        self.config = config
        self.expires_at = expires_at
        self.origin = origin_of(httpx.URL(config.base_url))
        self.closed = False
        self._secret_headers = _Hidden(
            [(name.encode(), value.encode()) for name, value in secret_headers.items()]
        )
        options: dict[str, Any] = {
            "ssl_context": tls,
            "max_connections": config.max_connections,
            "max_keepalive_connections": config.max_keepalive_connections,
            "keepalive_expiry": config.keepalive_expiry,
            "retries": 0,
        }
        if config.proxy is None:
            policy = AddressPolicy(config.allow_private, config.allowed_networks)
            options["network_backend"] = GuardedBackend(policy, resolver)
        else:
            options["proxy"] = _proxy(config.proxy.get_secret_value())
        self._pool = httpcore.AsyncConnectionPool(**options)

    @property
    def connections(self) -> list[httpcore.AsyncConnectionInterface]:
        """The connections there are."""
        return self._pool.connections

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            TargetRefused: it may not go there; nothing was sent.
            httpx.UnsupportedProtocol: it is for neither http nor https.
            httpx.TransportError: it could not be sent or answered.
        """
        origin = origin_of(request.url)
        self._check(origin)
        headers = request.headers.raw
        if origin == self.origin:
            given = {name.lower() for name, _ in headers}
            headers = [
                *headers,
                *(pair for pair in self._secret_headers.pairs if pair[0].lower() not in given),
            ]
        assert isinstance(request.stream, httpx.AsyncByteStream)
        with _as_httpx(request):
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=headers,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response, request),
            extensions=response.extensions,
        )

    def _check(self, origin: Origin) -> None:
        """Refuse what can be seen without resolving; the guard judges the address when it connects."""
        if origin == self.origin:
            return
        if origin.scheme not in _DEFAULT_PORTS:
            raise httpx.UnsupportedProtocol("requests go to http and https alone")
        if origin.port not in (*self.config.allowed_ports, self.origin.port):
            raise TargetRefused("requests may not reach this port")
        names = self.config.allowed_hosts
        if names is not None and origin.host != self.origin.host and not _is_named(origin.host, names):
            raise TargetRefused("requests may not reach this host")

    async def aclose(self) -> None:
        """Close every connection."""
        self.closed = True
        await self._pool.aclose()


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Headers that no repr shows."""

    pairs: list[tuple[bytes, bytes]] = field(repr=False)


class _Body(httpx.AsyncByteStream):
    """The body of a response, whose errors are httpx's; closing it gives its connection back."""

    def __init__(self, response: httpcore.Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx(self._request):
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


@contextlib.contextmanager
def _as_httpx(request: httpx.Request) -> Generator[None]:
    """Translate httpcore's errors into httpx's, which have the same names."""
    try:
        yield
    except TargetRefused as refused:
        refused.request = request
        raise
    except _HTTPCORE_ERRORS as error:
        raise _translated(error)(str(error), request=request) from error


def _translated(error: Exception) -> type[httpx.TransportError]:
    for kind in type(error).__mro__:
        found = getattr(httpx, kind.__name__, None)
        if isinstance(found, type) and issubclass(found, httpx.TransportError):
            return found
    return httpx.TransportError


def _is_named(host: str, names: tuple[str, ...]) -> bool:
    return any(
        host.endswith(name.lower()) if name.startswith(".") else host == name.lower().rstrip(".")
        for name in names
    )


def _proxy(text: str) -> httpcore.Proxy:
    url = httpx.URL(text)
    bare = url.copy_with(username=None, password=None)
    auth = (url.username, url.password) if url.userinfo else None
    return httpcore.Proxy(str(bare), auth=auth)
