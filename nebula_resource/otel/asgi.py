"""TraceContext: the trace that a request came with, made the current one while it is served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import attach, detach
from opentelemetry.propagators.textmap import Getter

__all__ = ["TraceContext"]

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[Any]]
Carrier = list[tuple[bytes, bytes]]


class TraceContext:
    """Pure ASGI: spans written while a request is served belong to the trace in its ``traceparent`` header.

    It writes no span of its own. Not needed beside ``opentelemetry-instrumentation-fastapi`` or ``-asgi``, which do
    this and write a span for each request.

    Args:
        app: what comes next.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        token = attach(propagate.extract(scope["headers"], getter=_HEADERS))
        try:
            await self.app(scope, receive, send)
        finally:
            detach(token)


class _Headers(Getter[Carrier]):
    """Reads ASGI's headers: pairs of bytes, names in lower case."""

    def get(self, carrier: Carrier, key: str) -> list[str] | None:
        name = key.lower().encode("latin-1")
        return [value.decode("latin-1") for each, value in carrier if each == name] or None

    def keys(self, carrier: Carrier) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_HEADERS = _Headers()
