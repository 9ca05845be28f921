"""NebulaMiddleware: the border: opens the tenant's, user's, workflow's and execution's scopes around a request."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from nebula_resource.errors import InvalidScope, ResourceError
from nebula_resource.fastapi.problems import problem_response
from nebula_resource.fastapi.record import RECORD, RequestRecord
from nebula_resource.fastapi.resolvers import ClaimResolver, Claims, Refused, Resolver
from nebula_resource.manager import ExecutionBlock, Manager, Within
from nebula_resource.model.problems import Problem, problem_of, problem_of_status
from nebula_resource.model.scope import Scope as ResourceScope

__all__ = ["NebulaMiddleware"]

Who = tuple[str | None, str | None, str | None]
"""Tenant, user, workflow."""

NOBODY: Final = Within(ResourceScope.GLOBAL)
"""What a request without claims is an execution in."""

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
        self._challenge: str | None = getattr(self._resolver, "challenge", None)
        self._require_tenant = require_tenant
        self._outer: dict[Who, Within] = {}

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
            block = self._admit(scope, claims)
        except Refused as refused:
            challenge = refused.challenge or self._challenge
            await _refuse(scope, receive, send, problem_of_status(refused.status), challenge)
            return
        except InvalidScope:
            await _refuse(scope, receive, send, problem_of_status(401), self._challenge)
            return
        except ResourceError as error:
            await _refuse(
                scope, receive, send, problem_of(error)
            )  # the resolver's own resources are not to be had
            return
        if block is None:
            await self.app(scope, receive, send)
            return
        record = scope[RECORD] = RequestRecord(self._manager, None, block)
        if kind == "http":
            record.is_whole = False
            send = _watch(send, record)
        block.enter_now()
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            await block.__aexit__(type(error), error, error.__traceback__)
            raise
        if not block.leave_now():
            await block.__aexit__(None, None, None)

    def _admit(self, scope: Scope, claims: Claims | None) -> ExecutionBlock | None:
        """The block to serve this connection in; None when a middleware outside of this one has opened it already.

        It begins from nothing, whatever is open around the server: only the claims count.

        Raises `Refused`, and `InvalidScope` for ids that cannot be.
        """
        tenant = None if claims is None else claims.tenant
        around: RequestRecord | None = scope.get(RECORD)
        if around is not None and around.manager is self._manager:
            if not self._goes_in(around.value.tenant_id, tenant):
                return None
        elif tenant is None and self._require_tenant:
            raise Refused
        if claims is None:
            return ExecutionBlock(self._manager, NOBODY)
        who = (tenant, claims.user, claims.workflow)
        return ExecutionBlock(self._manager, self._outer.get(who) or self._remember(who), claims.execution)

    def _goes_in(self, standing: str | None, tenant: str | None) -> bool:
        """Whether scopes are opened inside of another border's, which let the tenant ``standing`` in."""
        if tenant is not None and standing is None:
            return True
        if tenant is not None and tenant != standing:
            raise Refused  # two tenants claimed for one request
        if standing is None and self._require_tenant:
            raise Refused
        return False

    def _remember(self, who: Who) -> Within:
        """The scope around the execution: kept from request to request, once it proved valid."""
        tenant, user, workflow = who
        outer = Within(ResourceScope.of(tenant=tenant, user=user, workflow=workflow))
        if len(self._outer) >= REMEMBERED:
            self._outer.clear()
        self._outer[who] = outer
        return outer


def _watch(send: Send, record: RequestRecord) -> Send:
    """Note when the response has gone out whole."""

    async def last(message: Message) -> None:
        await send(message)
        record.is_whole = True

    def watched(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.body":
            return send(message) if message.get("more_body", False) else last(message)
        return last(message) if kind == "http.response.pathsend" else send(message)

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
