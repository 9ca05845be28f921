"""Install: a FastAPI application gets a manager, in one line."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi import exception_handlers as fastapi_handlers
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from nebula_resource.errors import ConfigurationError, ResourceError
from nebula_resource.fastapi import handlers
from nebula_resource.fastapi.leases import MANAGER
from nebula_resource.fastapi.lifespan import compose_lifespan
from nebula_resource.fastapi.middleware import NebulaMiddleware
from nebula_resource.fastapi.noting import BUILT_IN, NotingHandlers, note_in_mounted
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
    - An error that becomes an answer is the outcome of whatever the request's scope still holds, also where an
      application answers that was mounted in this one before it started.

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
        Middleware(_border, of=app, manager=manager, resolver=resolver, require_tenant=require_tenant)
    )
    _add_handlers(app, problems=problems)


def _border(
    app: ASGIApp, *, of: FastAPI, manager: Manager, resolver: Resolver | None, require_tenant: bool
) -> NebulaMiddleware:
    """Called when the application builds itself, before it serves: by then everything is mounted."""
    note_in_mounted(of)
    return NebulaMiddleware(app, manager=manager, resolver=resolver, require_tenant=require_tenant)


def _add_handlers(app: FastAPI, *, problems: bool) -> None:
    own = NotingHandlers()
    ours: list[tuple[Any, Any, Any]] = [
        (ResourceError, handlers.on_resource_error, None),
        (WebSocketException, BUILT_IN[WebSocketException], None),
    ]
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
