"""Needs: a route's declared role, as the dependency that enforces it and that tests walk."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from nebula_resource.admin.auth.authority import Authority
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.auth.role import Role
from nebula_resource.admin.problems import AdminProblem

__all__ = ["Admin", "Anybody", "KeyHolder", "Metrics", "Needs", "Operator", "Viewer", "needs_of"]


class Needs:
    """Who may call a route: ``role`` and those above it; None: anybody, known or not.

    ``unbound`` keeps keys of a tenant out of what tells of all tenants.
    """

    __slots__ = ("role", "unbound")

    def __init__(self, role: Role | None, *, unbound: bool = False) -> None:
        self.role = role
        self.unbound = unbound

    async def __call__(self, request: Request) -> Principal | None:
        authority = cast("Authority", request.app.state.admin.authority)
        if self.role is None:
            return authority.identify(request)
        principal = authority.admit(request)
        if principal is None:
            raise AdminProblem(
                401,
                "unauthenticated",
                "a key is needed: Authorization: Bearer, or a session",
                headers={"WWW-Authenticate": 'Bearer realm="nebula"'},
            )
        if principal.role < self.role:
            raise AdminProblem(403, "forbidden", f"this needs the role {self.role.label}")
        if self.unbound and principal.tenant is not None:
            raise AdminProblem(403, "forbidden", "this needs a key that is not bound to a tenant")
        return principal


Anybody = Annotated[Principal | None, Depends(Needs(None))]
KeyHolder = Annotated[Principal, Depends(Needs(Role.METRICS))]
Metrics = Annotated[Principal, Depends(Needs(Role.METRICS, unbound=True))]
Viewer = Annotated[Principal, Depends(Needs(Role.VIEWER))]
Operator = Annotated[Principal, Depends(Needs(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(Needs(Role.ADMIN, unbound=True))]


def needs_of(route: APIRoute) -> list[Needs]:
    """What a route declares."""
    found: list[Any] = [each.call for each in route.dependant.dependencies]
    return [each for each in found if isinstance(each, Needs)]
