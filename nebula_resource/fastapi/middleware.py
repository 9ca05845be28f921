"""NebulaMiddleware: the border: opens the tenant's, user's, workflow's and execution's scopes around a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from nebula_resource.errors import InvalidScope, ResourceError
from nebula_resource.fastapi.leases import new_execution_id
from nebula_resource.fastapi.problems import problem_response
from nebula_resource.fastapi.record import RECORD, RequestRecord, record_of
from nebula_resource.fastapi.resolvers import ClaimResolver, Claims, Refused, Resolver
from nebula_resource.manager import Manager, ScopeBlock
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.problems import Problem, problem_of, problem_of_status
from nebula_resource.model.scope import Scope as ResourceScope

__all__ = ["NebulaMiddleware"]

REMEMBERED: Final = 4096
"""Who is asking, as scopes, that is kept; when there are more, it begins anew."""


class NebulaMiddleware:
    """Pure ASGI: serves each request and websocket inside open scopes made of who is asking.

    Args:
        app: what comes next.
        manager: whose scopes are opened.
        resolver: says who is asking; by default `ClaimResolver`, which trusts what an authenticating middleware said.
        require_tenant: answer 401 when nobody says which tenant is asking; otherwise such a request is a tenantless
            EXECUTION.

    It stands inside of whatever authenticates: `install` sees to that.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        manager: Manager,
        resolver: Resolver | None = None,
        require_tenant: bool = False,
    ) -> None:
        self.app = app
        self._manager = manager
        self._resolver: Resolver = resolver if resolver is not None else ClaimResolver()
        self._require_tenant = require_tenant
        self._outer: dict[tuple[str | None, str | None, str | None], tuple[ResourceScope, ...]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            await self.app(scope, receive, send)
            return
        try:
            claims = self._resolver(HTTPConnection(scope))
            if claims is not None and not isinstance(claims, Claims):
                claims = await claims
            levels = self._admit(scope, claims)
        except Refused as refused:
            await _refuse(scope, receive, send, problem_of_status(refused.status), refused.challenge)
            return
        except InvalidScope:
            await _refuse(scope, receive, send, problem_of_status(401))
            return
        except ResourceError as error:
            await _refuse(
                scope, receive, send, problem_of(error)
            )  # the resolver's own resources are not to be had
            return
        if levels is None:
            await self.app(scope, receive, send)
            return
        # Begins from nothing, whatever is open around the server: only the claims count.
        context = ResourceContext(levels[-1])
        async with ScopeBlock(self._manager, context, parent=None, opener=None, levels=levels) as open_scope:
            if kind == "websocket":
                scope[RECORD] = RequestRecord(self._manager, context, open_scope)
                await self.app(scope, receive, send)
            else:
                record = scope[RECORD] = RequestRecord(self._manager, context, open_scope, is_watched=True)
                await self.app(scope, receive, _watch(send, record))

    def _admit(self, scope: Scope, claims: Claims | None) -> Sequence[ResourceScope] | None:
        """The scopes to open, outermost first; None when a middleware outside of this one opened them already.

        Raises `Refused`, and `InvalidScope` for ids that cannot be.
        """
        around = record_of(scope)
        if around is not None and around.manager is self._manager:
            if not self._goes_in(around.context.scope.tenant_id, claims):
                return None
        elif self._require_tenant and (claims is None or claims.tenant is None):
            raise Refused
        if claims is None:
            return (ResourceScope.execution(new_execution_id()),)
        return self._levels(claims)

    def _goes_in(self, standing: str | None, claims: Claims | None) -> bool:
        """Whether scopes are opened inside of another border's, which let ``standing`` in."""
        tenant = None if claims is None else claims.tenant
        if tenant is not None and standing is None:
            return True
        if tenant is not None and tenant != standing:
            raise Refused  # two tenants claimed for one request
        if self._require_tenant and standing is None:
            raise Refused
        return False

    def _levels(self, claims: Claims) -> tuple[ResourceScope, ...]:
        """The scopes of the claims, outermost first; those above the execution are kept from request to request."""
        tenant, user, workflow = claims.tenant, claims.user, claims.workflow
        outer = self._outer.get((tenant, user, workflow))
        if outer is None:
            # Only what is valid is kept: the constructors refuse the rest.
            outer = _outer_levels(tenant, user, workflow)
            if len(self._outer) >= REMEMBERED:
                self._outer.clear()
            self._outer[tenant, user, workflow] = outer
        execution = new_execution_id() if claims.execution is None else claims.execution
        return (*outer, ResourceScope.of(tenant=tenant, user=user, workflow=workflow, execution=execution))


def _outer_levels(tenant: str | None, user: str | None, workflow: str | None) -> tuple[ResourceScope, ...]:
    levels: list[ResourceScope] = []
    if tenant is not None:
        levels.append(ResourceScope.tenant(tenant))
    if user is not None:
        levels.append(ResourceScope.user(user, tenant=tenant))
    if workflow is not None:
        levels.append(ResourceScope.workflow(workflow, tenant=tenant, user=user))
    return tuple(levels)


def _watch(send: Send, record: RequestRecord) -> Send:
    """Note when the response has gone out whole."""

    async def watched(message: Message) -> None:
        await send(message)
        kind = message["type"]
        if kind == "http.response.pathsend" or (
            kind == "http.response.body" and not message.get("more_body", False)
        ):
            record.is_whole = True

    return watched


async def _refuse(
    scope: Scope, receive: Receive, send: Send, problem: Problem, challenge: str | None = None
) -> None:
    """Answer in place of the application; nothing that was sent is repeated."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await WebSocketClose(code=1008)(scope, receive, send)
        return
    headers = {"WWW-Authenticate": challenge} if challenge is not None and problem.status == 401 else None
    await problem_response(problem, headers=headers)(scope, receive, send)
