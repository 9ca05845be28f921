"""Session: signing in with a key, signing out, and who one is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from nebula_resource.admin.answers import State, answer, problems
from nebula_resource.admin.auth.authority import KeyAuthority, cookie_name
from nebula_resource.admin.auth.needs import Anybody, KeyHolder
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.schemas.common import NoQuery
from nebula_resource.admin.schemas.session import SignIn, WhoView
from nebula_resource.admin.state import AdminState

__all__ = ["router"]

router = APIRouter(tags=["session"])


@router.get("/whoami", response_model=WhoView, responses=problems())
async def whoami(request: Request, state: State, who: KeyHolder, _: Annotated[NoQuery, Query()]) -> Response:
    """Who is asking."""
    authority = state.authority
    session = authority.session_of(request, touch=False) if isinstance(authority, KeyAuthority) else None
    return answer(
        {
            "name": who.name,
            "role": who.role.label,
            "tenant": who.tenant,
            "local": who.is_local,
            "csrf": None if session is None else session.csrf,
            "process": state.process,
        }
    )


@router.post("/session", status_code=204, responses=problems(409, body=True))
async def sign_in(
    request: Request, state: State, who: Anybody, body: SignIn, _: Annotated[NoQuery, Query()]
) -> Response:
    """Show a key, get a cookie: HttpOnly, SameSite=Strict, new at every sign-in."""
    authority = _keys(state)
    key = authority.key_of(body.key)
    if key is None:
        authority.count_failure(request, body.key)
        raise AdminProblem(
            401,
            "unauthenticated",
            "this is no key of ours",
            headers={"WWW-Authenticate": 'Bearer realm="nebula"'},
        )
    token, _session = authority.sessions.begin(key.id)
    response = Response(status_code=204)
    response.set_cookie(
        cookie_name(request),
        token,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.delete("/session", status_code=204, responses=problems(408, 409, 413, 415))
async def sign_out(
    request: Request, state: State, who: KeyHolder, _: Annotated[NoQuery, Query()]
) -> Response:
    """The session is over, here and in the browser."""
    authority = _keys(state)
    name = cookie_name(request)
    authority.sessions.end(request.cookies.get(name, ""))
    response = Response(status_code=204)
    response.delete_cookie(
        name, path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return response


def _keys(state: AdminState) -> KeyAuthority:
    if not isinstance(state.authority, KeyAuthority):
        raise AdminProblem(409, "no_keys", "no credentials are configured: there is nothing to sign in to")
    return state.authority
