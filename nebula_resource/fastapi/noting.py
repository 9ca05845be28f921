"""Noting: error handlers that tell the request's open scope of the error which they turn into an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial, wraps
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Any, Final

from fastapi import routing
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Router

from nebula_resource.fastapi.record import note_outcome

__all__ = ["BUILT_IN", "NotingHandlers", "note_in_mounted"]


class NotingHandlers(dict[Any, Any]):
    """The application's error handlers, those added later too: each notes the error on the request's open scope.

    A handler turns an error into a response, so that nobody further out sees it; what is leased in the request's
    scope must end with it all the same.
    """

    def __setitem__(self, kind: Any, handler: Any) -> None:
        super().__setitem__(kind, _noting(handler))


def _noting(handler: Any) -> Any:
    if _is_async(handler):

        @wraps(handler)
        async def noting(conn: HTTPConnection, error: Exception) -> Any:
            note_outcome(conn.scope, error)
            return await handler(conn, error)

        return noting

    @wraps(handler)
    def noting_in_thread(conn: HTTPConnection, error: Exception) -> Any:
        note_outcome(conn.scope, error)
        return handler(conn, error)

    return noting_in_thread


def _is_async(handler: Any) -> bool:
    """Whether Starlette awaits it; what it does not, it runs in a thread."""
    while isinstance(handler, partial):
        handler = handler.func
    return iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004  # not whether, but what


_starlette = ExceptionMiddleware(None)  # type: ignore[arg-type]  # for its two handlers; it serves nothing
BUILT_IN: Final[Mapping[Any, Any]] = MappingProxyType(
    {HTTPException: _starlette.http_exception, WebSocketException: _starlette.websocket_exception}
)
"""What Starlette handles where nobody could note it; given as handlers, they do the same and are told of."""


def note_in_mounted(app: Starlette) -> None:
    """Make the handlers of the applications mounted in this one, at any depth, note errors as its own do.

    They keep the handlers that they have: what they answer does not change. One that has served already has read its
    handlers, and one that is mounted later is not seen.
    """
    seen: set[Any] = {app}
    waiting = [app]
    while waiting:
        for mounted in _mounted_in(waiting.pop().routes):
            if mounted not in seen:
                seen.add(mounted)
                waiting.append(mounted)
                _note_in(mounted)


def _note_in(app: Starlette) -> None:
    if not isinstance(app.exception_handlers, NotingHandlers):
        own, app.exception_handlers = app.exception_handlers, NotingHandlers()
        for kind, handler in {**BUILT_IN, **own}.items():
            app.exception_handlers[kind] = handler


def _mounted_in(routes: Iterable[Any]) -> Iterator[Starlette]:
    # Included routers are not in the list of routes; newer versions tell what they make of theirs.
    contexts = getattr(routing, "iter_route_contexts", None)
    for route in routes if contexts is None else contexts(routes):
        app = getattr(getattr(route, "original_route", route), "app", None)
        while app is not None and not isinstance(app, Starlette | Router):
            app = getattr(app, "app", None)  # a middleware of the mount's own
        if isinstance(app, Starlette):
            yield app
        elif app is not None:
            yield from _mounted_in(app.routes)
