"""Install: a FastAPI application gets a manager, in one line."""

from __future__ import annotations

from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any

from fastapi import FastAPI
from fastapi import exception_handlers as fastapi_handlers
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection

from nebula_resource.errors import ConfigurationError, ResourceError
from nebula_resource.fastapi import handlers
from nebula_resource.fastapi.leases import MANAGER
from nebula_resource.fastapi.lifespan import compose_lifespan
from nebula_resource.fastapi.middleware import NebulaMiddleware
from nebula_resource.fastapi.record import note_outcome
from nebula_resource.fastapi.resolvers import Resolver
from nebula_resource.manager import Manager

__all__ = ["install"]


def install(
    app: FastAPI,
    manager: Manager,
    *,
    resolver: Resolver | None = None,
    require_tenant: bool = False,
    shutdown: bool = True,
    problems: bool = True,
) -> None:
    """Give an application a manager: state, lifespan, middleware and error handlers.

    - ``app.state.nebula_manager`` is the manager.
    - The manager is shut down after the application's own lifespan has ended (``shutdown=False``: it is somebody
      else's).
    - `NebulaMiddleware` opens scopes around every request; it stands inside of every other middleware, added before
      or after, so that what authenticates has done so.
    - Errors become RFC 9457 problems that repeat nothing of what was sent (``problems=False``: only errors of ours
      do). A handler of the application's own is left in place.

    Raises `ConfigurationError` when the application has a manager already, or is running.
    """
    if getattr(app.state, MANAGER, None) is not None:
        raise ConfigurationError("this application has a manager already: call install(app, manager) once")
    if app.middleware_stack is not None:
        raise ConfigurationError("this application is running: call install(app, manager) before it starts")
    setattr(app.state, MANAGER, manager)
    if shutdown:
        compose_lifespan(app, manager)
    # The end of the list is the innermost; add_middleware puts later ones at its beginning.
    app.user_middleware.append(
        Middleware(NebulaMiddleware, manager=manager, resolver=resolver, require_tenant=require_tenant)
    )
    _add_handlers(app, problems=problems)


def _add_handlers(app: FastAPI, *, problems: bool) -> None:
    own = NotingHandlers()
    ours: list[tuple[Any, Any, Any]] = [(ResourceError, handlers.on_resource_error, None)]
    if problems:
        ours += [
            (HTTPException, handlers.on_http_exception, fastapi_handlers.http_exception_handler),
            (
                RequestValidationError,
                handlers.on_invalid_request,
                fastapi_handlers.request_validation_exception_handler,
            ),
            (
                WebSocketRequestValidationError,
                handlers.on_invalid_websocket,
                fastapi_handlers.websocket_request_validation_exception_handler,
            ),
        ]
        if 500 not in app.exception_handlers:
            ours.append((Exception, handlers.on_any_error, None))
    for kind, handler in app.exception_handlers.items():
        own[kind] = handler
    for kind, handler, default in ours:
        if app.exception_handlers.get(kind, default) is default:
            own[kind] = handler
    app.exception_handlers = own


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
