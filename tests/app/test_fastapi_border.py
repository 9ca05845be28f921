"""The border: who is let in as whom, by token, header, path or authenticating middleware; and who is not."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from nebula_resource import ConfigurationError, Manager, PoolExhausted, ScopeLevel, current_scope
from nebula_resource.fastapi import (
    BearerResolver,
    ClaimResolver,
    Claims,
    HeaderResolver,
    NebulaMiddleware,
    PathResolver,
    Refused,
    Resolver,
    install,
    resource,
)
from tests.app.fastapi_world import (
    DB,
    Connection,
    Database,
    bearer,
    by_token,
    call,
    managed,
    tokens,
)

CANARY = "hunter2-do-not-repeat-me"


@pytest.fixture
async def manager() -> AsyncGenerator[Manager]:
    """A manager with a database."""
    async with managed(Database()) as manager:
        yield manager


def who_am_i(app: FastAPI) -> FastAPI:
    """Every path answers with the scope it is served in, and the tenant its lease has."""

    @app.get("/{path:path}")
    async def answer(path: str, db: Connection = Depends(resource(DB))) -> dict[str, Any]:
        scope = current_scope()
        assert scope is not None
        assert scope.level is ScopeLevel.EXECUTION
        value = scope.scope
        return {
            "tenant": value.tenant_id,
            "user": value.user_id,
            "workflow": value.workflow_id,
            "lease": db.tenant,
        }

    return app


@pytest.fixture
def app_with(manager: Manager) -> Callable[..., FastAPI]:
    """Make an application with a resolver."""

    def make(resolver: Resolver | None = None, *, require_tenant: bool = False) -> FastAPI:
        app = FastAPI()
        install(app, manager, resolver=resolver, require_tenant=require_tenant, shutdown=False)
        return who_am_i(app)

    return make


Make = Callable[..., FastAPI]


# ── tokens ──


async def test_a_token_makes_the_scope(app_with: Make) -> None:
    """The verified token's tenant is the request's, in the scope and in the lease."""
    answer = await call(app_with(tokens), headers=bearer("acme"))
    assert json.loads(answer.body) == {"tenant": "acme", "user": None, "workflow": None, "lease": "acme"}


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {CANARY}",
        "Bearer demo-umbrella",
        "Bearer ",
        "Bearer",
        "Basic demo-acme",
        "demo-acme",
        "Bearer demo-acme demo-globex",
        "Bearer demo-acme,demo-globex",
        "Bearer démo-acme",
        "Bearer " + "x" * 5000,
    ],
)
@pytest.mark.parametrize("require_tenant", [True, False])
async def test_an_odd_token_is_401_wherever_it_is_sent(
    app_with: Make, value: str, require_tenant: bool
) -> None:
    """Whoever shows a token shows a good one; nothing of it is repeated, and the header says what is expected."""
    answer = await call(
        app_with(tokens, require_tenant=require_tenant),
        headers={"authorization": value},
    )
    assert answer.status == 401
    assert answer.headers["content-type"] == "application/problem+json"
    reason = ' error="invalid_token"' if value in (f"Bearer {CANARY}", "Bearer demo-umbrella") else ""
    assert answer.headers["www-authenticate"] == f"Bearer{reason}"  # RFC 6750 §3: told of a token that is one
    assert json.loads(answer.body)["code"] == "unauthenticated"
    assert CANARY.encode() not in answer.body
    assert b"umbrella" not in answer.body


async def test_a_long_token_is_not_even_looked_at(app_with: Make) -> None:
    """5,000 characters do not reach the function that verifies; the longest that may, does."""
    asked: list[int] = []

    def verify(token: str) -> Claims | None:
        asked.append(len(token))
        return None

    app = app_with(BearerResolver(verify))
    for length in (5000, 1_000_000, 4096):
        assert (await call(app, headers={"authorization": "Bearer " + "x" * length})).status == 401
    assert asked == [4096]


async def test_two_tokens_are_none(app_with: Make) -> None:
    """A header sent twice is refused, whichever is the good one."""
    twice = [("authorization", "Bearer demo-acme"), ("authorization", "Bearer demo-globex")]
    assert (await call(app_with(tokens), headers=twice)).status == 401


async def test_nobody_is_a_tenantless_execution_unless_a_tenant_is_required(app_with: Make) -> None:
    """Without a claim a request is served, without a tenant; with ``require_tenant`` it is a 401."""
    assert json.loads((await call(app_with(tokens))).body)["tenant"] is None
    refused = await call(app_with(tokens, require_tenant=True))
    assert (refused.status, json.loads(refused.body)["code"]) == (401, "unauthenticated")
    assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_claim_without_a_tenant_is_not_enough_where_one_is_required(app_with: Make) -> None:
    """A user without a tenant is nobody there."""
    resolver = ClaimResolver(lambda conn: Claims(user="u1"))
    assert json.loads((await call(app_with(resolver))).body)["user"] == "u1"
    assert (await call(app_with(resolver, require_tenant=True))).status == 401


async def test_every_level_is_opened(app_with: Make, manager: Manager) -> None:
    """Tenant, user, workflow and execution are open while the request is served, and closed after it."""
    seen: list[list[str]] = []

    def resolver(conn: HTTPConnection) -> Claims:
        return Claims(tenant="acme", user="u1", workflow="w1", execution="e1")

    app = app_with(resolver)

    @app.middleware("http")
    async def untouched(request: Any, call_next: Any) -> Any:
        assert current_scope() is None, "scopes open inside of what else there is"
        return await call_next(request)

    async def look() -> None:
        scope = current_scope()
        assert scope is not None
        levels = []
        while scope is not None:
            levels.append(str(scope.scope))
            scope = scope.parent
        seen.append(levels)

    app.router.dependencies.append(Depends(look))
    app2 = FastAPI()
    install(app2, manager, resolver=resolver, shutdown=False)

    @app2.get("/")
    async def handler(_: None = Depends(look)) -> None: ...

    assert (await call(app2)).status == 200
    assert seen == [
        [
            "tenant:acme/user:u1/workflow:w1/execution:e1",
            "tenant:acme/user:u1/workflow:w1",
            "tenant:acme/user:u1",
            "tenant:acme",
        ]
    ]
    assert (await call(app)).status == 200
    assert not +manager.open_scopes


@pytest.mark.parametrize("value", ["", "a" * 129, "a\x00b", "a\nb", "e\u0301", 7, None.__class__])
@pytest.mark.parametrize("level", ["tenant", "user", "workflow", "execution"])
async def test_an_id_that_cannot_be_is_401(app_with: Make, level: str, value: Any) -> None:
    """Whatever a resolver returns is checked by the scope itself: look-alikes and control characters are refused."""
    answer = await call(app_with(lambda conn: Claims(**{level: value})))
    assert answer.status == 401
    assert json.loads(answer.body) == {
        "type": "urn:nebula:problem:unauthenticated",
        "title": "Unauthenticated",
        "status": 401,
        "code": "unauthenticated",
    }


async def test_executions_are_told_apart(manager: Manager) -> None:
    """Each request without an execution of its own gets one."""
    app = FastAPI()
    install(app, manager, shutdown=False)

    @app.get("/")
    async def handler() -> str | None:
        scope = current_scope()
        assert scope is not None
        return scope.scope.execution_id

    ids = {(await call(app)).body for _ in range(100)}
    assert len(ids) == 100


# ── headers ──


def test_a_header_is_trusted_in_so_many_words() -> None:
    """Neither, and both, are refused."""
    with pytest.raises(ConfigurationError, match="trusted=True"):
        HeaderResolver("x-tenant")
    with pytest.raises(ConfigurationError, match="trusted=True"):
        HeaderResolver("x-tenant", trusted=True, verify=lambda value, conn: True)


async def test_a_trusted_header_names_tenant_and_user(app_with: Make) -> None:
    """As a proxy sets them, in any case of letters."""
    app = app_with(HeaderResolver("X-Tenant", user="X-User", trusted=True))
    answer = json.loads((await call(app, headers={"x-tenant": "acme", "x-user": "u1"})).body)
    assert (answer["tenant"], answer["user"]) == ("acme", "u1")
    assert json.loads((await call(app)).body)["tenant"] is None


async def test_a_header_sent_twice_is_refused(app_with: Make) -> None:
    """A client that adds the header to the proxy's own is not believed, nor is the proxy."""
    app = app_with(HeaderResolver("x-tenant", trusted=True))
    assert (await call(app, headers=[("x-tenant", "acme"), ("x-tenant", "globex")])).status == 401
    assert (await call(app, headers=[("x-tenant", "acme"), ("X-Tenant", "globex")])).status == 401


async def test_a_header_that_spells_another_id_is_another_tenant(app_with: Make) -> None:
    """Look-alikes, other cases and blanks are not the tenant; bytes that are no text are nobody."""
    app = app_with(HeaderResolver("x-tenant", trusted=True))
    for value in ("Acme", "аcme", "acme ", "acme/execution:e", "tenant:acme", "%61cme"):
        answer = await call(app, headers={"x-tenant": value.encode().decode("latin-1")})
        assert json.loads(answer.body)["tenant"] == value
    assert (await call(app, headers={"x-tenant": "\xff\xfe"})).status == 401


async def test_a_header_may_be_verified(app_with: Make) -> None:
    """A function decides, at once or later; it may know better who it is."""

    async def verify(value: str, conn: HTTPConnection) -> bool | Claims:
        if value == "known":
            return Claims(tenant="acme", user="u9")
        return conn.headers.get("x-signature") == "good"

    app = app_with(HeaderResolver("x-tenant", verify=verify))
    good = await call(app, headers={"x-tenant": "globex", "x-signature": "good"})
    assert json.loads(good.body)["tenant"] == "globex"
    assert (await call(app, headers={"x-tenant": "globex"})).status == 401
    assert json.loads((await call(app, headers={"x-tenant": "known"})).body)["user"] == "u9"


# ── paths ──


async def test_the_path_names_the_tenant(app_with: Make) -> None:
    """One segment of it, exactly."""
    app = app_with(PathResolver("/t/{tenant}/orders"))
    for path, tenant in {
        "/t/acme/orders": "acme",
        "/t/acme/orders/7": "acme",
        "/t/acme/ordersx": None,
        "/t//orders": None,
        "/x/t/acme/orders": None,
        "/T/acme/orders": None,
        "/t/acme": None,
        "/t/../orders": "..",
    }.items():
        assert json.loads((await call(app, path)).body)["tenant"] == tenant, path


@pytest.mark.parametrize("path", ["/t/" + "a" * 129, "/t/a\x00b", "/t/e\u0301"])
async def test_a_tenant_that_cannot_be_is_a_404(app_with: Make, path: str) -> None:
    """As for a tenant that is not there."""
    answer = await call(app_with(PathResolver("/t/{tenant}")), path)
    assert answer.status == 404
    assert json.loads(answer.body)["code"] == "not_found"


async def test_a_path_may_be_verified(app_with: Make) -> None:
    """Refused looks like not there."""
    app = app_with(PathResolver("/t/{tenant}", verify=lambda tenant, conn: tenant == "acme"))
    assert json.loads((await call(app, "/t/acme")).body)["tenant"] == "acme"
    assert (await call(app, "/t/globex")).status == 404


async def test_a_path_below_a_mount_is_its_own(manager: Manager) -> None:
    """What stands before the application is not its path."""
    inner = who_am_i(FastAPI())
    outer = FastAPI()
    middleware = NebulaMiddleware(inner, manager=manager, resolver=PathResolver("/t/{tenant}"))
    outer.mount("/api", middleware)
    assert json.loads((await call(outer, "/api/t/acme")).body)["tenant"] == "acme"


@pytest.mark.parametrize("template", ["/t/", "t/{tenant}", "/t-{tenant}", "/{tenant}s", ""])
def test_a_template_holds_the_tenant_as_a_segment(template: str) -> None:
    """Anything else is refused where it is written."""
    with pytest.raises(ConfigurationError, match="segment"):
        PathResolver(template)


# ── what an authenticating middleware says ──


class Backend(AuthenticationBackend):
    """Starlette's way: authenticates by the same tokens."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        claims = by_token(conn.headers.get("authorization", "").removeprefix("Bearer "))
        if claims is None:
            return None
        user = Member("u1")
        user.tenant = claims.tenant
        return AuthCredentials(["authenticated"]), user


class Member(SimpleUser):
    """A user of a tenant."""

    tenant: str | None = None

    @property
    def identity(self) -> str:
        return self.username


@pytest.mark.parametrize("when", ["before", "after"])
async def test_starlette_s_user_is_who_asks(manager: Manager, when: str) -> None:
    """Added before install or after it, and outside of us: what authenticates has done so before scopes are opened."""
    app = FastAPI()
    if when == "before":
        app.add_middleware(AuthenticationMiddleware, backend=Backend())
    install(app, manager, shutdown=False)
    if when == "after":
        app.add_middleware(AuthenticationMiddleware, backend=Backend())
    who_am_i(app)
    answer = json.loads((await call(app, headers=bearer("acme"))).body)
    assert (answer["tenant"], answer["user"]) == ("acme", "u1")
    assert json.loads((await call(app)).body) == {
        "tenant": None,
        "user": None,
        "workflow": None,
        "lease": None,
    }


async def test_a_verifying_coroutine_is_waited_for(app_with: Make) -> None:
    """Looking a token up may take its time."""

    async def verify(token: str) -> Claims | None:
        return by_token(token)

    app = app_with(BearerResolver(verify))
    assert json.loads((await call(app, headers=bearer("acme"))).body)["tenant"] == "acme"
    assert (await call(app, headers={"authorization": "Bearer unknown"})).status == 401


class Bare(BaseUser):
    """A user with what Starlette asks for and no more: its identity is not implemented."""

    @property
    def is_authenticated(self) -> bool:
        return True


@pytest.mark.parametrize(("member", "name"), [(SimpleUser("someone"), "someone"), (Bare(), None)])
async def test_a_user_without_a_tenant_has_none(app_with: Make, member: BaseUser, name: str | None) -> None:
    """It is authenticated all the same, and nobody's tenant; some have no identity either."""

    class Simple(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
            return AuthCredentials(), member

    app = app_with()
    app.add_middleware(AuthenticationMiddleware, backend=Simple())
    answer = json.loads((await call(app)).body)
    assert (answer["tenant"], answer["user"]) == (None, name)


async def test_claims_in_the_state_are_who_asks(app_with: Make) -> None:
    """Your own middleware says so in ``request.state.nebula_claims``; anything but `Claims` there says nothing."""

    class Authenticates:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                path = scope["path"]
                scope["state"]["nebula_claims"] = (
                    Claims(tenant="acme") if path == "/ours" else {"tenant": "acme"}
                )
            await self.app(scope, receive, send)

    app = app_with()
    app.add_middleware(Authenticates)
    assert json.loads((await call(app, "/ours")).body)["tenant"] == "acme"
    assert json.loads((await call(app, "/theirs")).body)["tenant"] is None


async def test_headers_alone_are_no_evidence(app_with: Make) -> None:
    """Without a resolver for them, no header and no parameter makes a tenant."""
    spoofed = {
        "x-tenant-id": "acme",
        "x-tenant": "acme",
        "authorization": "Bearer demo-acme",
        "tenant": "acme",
    }
    answer = await call(app_with(), "/t/acme?tenant=acme", headers=spoofed)
    assert json.loads(answer.body)["tenant"] is None


# ── resolvers that go wrong ──


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_resolver_may_refuse(app_with: Make, status: int) -> None:
    """With the status it says."""

    async def resolver(conn: HTTPConnection) -> Claims | None:
        raise Refused(status)

    assert (await call(app_with(resolver))).status == status


async def test_a_resolver_without_its_own_resources_is_a_503(app_with: Make) -> None:
    """The place where tokens are looked up is away: come back later."""

    async def resolver(conn: HTTPConnection) -> Claims | None:
        raise PoolExhausted(1, 5, resource_id=CANARY)

    answer = await call(app_with(resolver))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert CANARY.encode() not in answer.body


async def test_a_resolver_that_breaks_lets_nobody_in(
    app_with: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Any other error is a 500 that tells nothing, and the server hears of it."""

    def resolver(conn: HTTPConnection) -> Claims | None:
        raise KeyError(CANARY)

    with caplog.at_level(logging.DEBUG):
        answer = await call(app_with(resolver))
    assert answer.status == 500
    assert isinstance(answer.error, KeyError)
    assert CANARY.encode() not in answer.body


# ── a border inside a border ──


async def test_the_same_tenant_passes_a_second_border(manager: Manager) -> None:
    """A mounted application with a border of its own and the same answer changes nothing."""
    outer, inner = FastAPI(), who_am_i(FastAPI())
    outer.mount("/in", NebulaMiddleware(inner, manager=manager, resolver=tokens, require_tenant=True))
    install(outer, manager, resolver=tokens, shutdown=False)
    assert json.loads((await call(outer, "/in/x", headers=bearer("acme"))).body)["lease"] == "acme"
    assert (await call(outer, "/in/x")).status == 401


async def test_another_tenant_does_not_pass_a_second_border(manager: Manager) -> None:
    """Two tenants for one request: refused, whoever is right."""
    outer, inner = FastAPI(), who_am_i(FastAPI())
    outer.mount("/in", NebulaMiddleware(inner, manager=manager, resolver=PathResolver("/t/{tenant}")))
    install(outer, manager, resolver=tokens, shutdown=False)
    assert (await call(outer, "/in/t/globex", headers=bearer("acme"))).status == 401
    assert json.loads((await call(outer, "/in/t/acme", headers=bearer("acme"))).body)["lease"] == "acme"
    assert json.loads((await call(outer, "/in/x", headers=bearer("acme"))).body)["lease"] == "acme"
    assert json.loads((await call(outer, "/in/t/globex")).body)["lease"] == "globex"


async def test_what_is_open_around_the_server_does_not_leak_in(manager: Manager, app_with: Make) -> None:
    """A request that another request makes in process is who it says it is, not who called it."""
    app = app_with(tokens)
    async with manager.scope(tenant="globex", execution="e1"):
        answer = json.loads((await call(app, headers=bearer("acme"))).body)
        assert (answer["tenant"], answer["lease"]) == ("acme", "acme")
        assert json.loads((await call(app)).body)["tenant"] is None
        scope = current_scope()
        assert scope is not None
        assert scope.scope.tenant_id == "globex"


async def test_the_memory_of_who_asked_is_bounded(manager: Manager) -> None:
    """Any number of tenants, and no more kept than a few thousand."""

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None: ...

    middleware = NebulaMiddleware(
        nothing, manager=manager, resolver=lambda conn: Claims(tenant=conn.scope["path"])
    )
    for number in range(5000):
        await middleware({"type": "http", "path": f"t{number}", "headers": []}, None, None)  # type: ignore[arg-type]  # nothing is received or sent
    assert len(middleware._outer) <= 4096
