"""The admin application: one FastAPI app over one manager, to be mounted or served by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from nebula_resource.admin.audit import Audit
from nebula_resource.admin.auth.authority import Authority, KeyAuthority, LocalAuthority
from nebula_resource.admin.auth.key_source import KeySource
from nebula_resource.admin.auth.needs import needs_of
from nebula_resource.admin.configuration import Configuration
from nebula_resource.admin.description import describe
from nebula_resource.admin.guard import Guard
from nebula_resource.admin.operations import Operations
from nebula_resource.admin.problems import install
from nebula_resource.admin.readings import ReadingsCollector
from nebula_resource.admin.routers import (
    audit,
    configuration,
    dependencies,
    events,
    health,
    metrics,
    openapi,
    operations,
    page,
    pools,
    quarantine,
    resources,
    scopes,
    session,
)
from nebula_resource.admin.settings import AdminSettings
from nebula_resource.admin.sse import Hub
from nebula_resource.admin.state import AdminState
from nebula_resource.errors import ConfigurationError
from nebula_resource.manager import Manager
from nebula_resource.metrics import TextRenderer

__all__ = ["create_admin"]

_ROUTERS = (
    health, pools, resources, scopes, dependencies, quarantine, events, metrics, operations, audit, configuration, session, openapi, page,
)  # fmt: skip  # one list of names


def create_admin(
    manager: Manager,
    auth: KeySource | None = None,
    settings: AdminSettings | Mapping[str, Any] | None = None,
    *,
    started: bool = True,
    declared: Configuration | None = None,
    more_metrics: Callable[[bool], bytes] | None = None,
) -> FastAPI:
    """Return the admin API of a manager, with the page at ``/``.

    ``app.mount("/", create_admin(manager))``, or serve it by itself. Its ``state`` offers ``admin`` (an `AdminState`:
    ``mark_started()``, ``mark_stopping()``), ``close_streams()``, and ``stop()``, to be called when the server is told
    to stop: ready turns 503, streams say ``bye`` and end within a second, so they hold no graceful shutdown up. The
    manager's own shutdown does both by itself.

    Args:
        manager: whose pools.
        auth: the keys, `KeyFile` or `KeyList`; None: only this machine is served, and everything is open to it.
        settings: what an operator decides; None: the defaults.
        started: False until `mark_started` is called: ready and startup answer 503 until then.
        declared: where the resources were declared, for ``/config`` and ``/config/reload``.
        more_metrics: others' numbers for ``/metrics``, as text; asked with whether it is to be OpenMetrics, then
            without the last line ``# EOF``.

    Raises:
        ValidationFailed: a setting breaks a rule.
        ConfigurationError: a route has no declared role (a bug of ours).
    """
    chosen = AdminSettings.of(settings)
    authority: Authority = LocalAuthority() if auth is None else KeyAuthority(auth)
    hub = Hub(manager, max_streams=chosen.max_streams)
    renderer = TextRenderer(tenants=chosen.tenant_metrics)
    state = AdminState(
        manager,
        authority,
        readings=ReadingsCollector(manager, renderer=renderer, more=more_metrics),
        hub=hub,
        operations=Operations(),
        audit=Audit(hub, chosen.audit_file),
        started=started,
        groups=chosen.groups,
        configuration=declared,
    )
    app = FastAPI(
        title="nebula-resource",
        summary="Pools, health, quarantine and events of one process.",
        version="1",
        openapi_url=None,  # a route of ours, with a role
        docs_url=None,
        redoc_url=None,
        # Slashes are not added: a redirect would repeat the request's path.
        redirect_slashes=False,
    )
    app.state.admin = state
    app.state.close_streams = hub.close
    app.state.stop = state.stop
    for each in _ROUTERS:
        if each is not page or chosen.page:
            # Not include_router: newer versions of FastAPI hide the routes behind it, and ours are looked at.
            app.router.routes.extend(each.router.routes)
    install(app)
    describe(app)
    app.add_middleware(Guard, hosts=chosen.hosts, loopback_only=auth is None, counts=state.counts)
    _check_roles(app)
    return app


def _check_roles(app: FastAPI) -> None:
    """Deny by default: a route that says not who may call it is no route."""
    for route in app.routes:
        if isinstance(route, APIRoute) and not needs_of(route):
            raise ConfigurationError(f"the route {route.path} declares no role")
