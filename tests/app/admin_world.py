"""AdminWorld: an admin application over real pools, and a client that holds every answer to what is declared."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from nebula_resource.admin import Key, KeyList, KeySource, create_admin
from nebula_resource.admin.guard import HEADERS
from nebula_resource.manager import Manager
from nebula_resource.model.config import ResourceConfig, Secret
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.resource import Resource
from nebula_resource.model.scope import Scope

CANARY = "c4nary-5ecret-value"
LOCAL = ("127.0.0.1", 40000)
QUIET = HealthPolicy(interval=3600.0, failure_threshold=1)
"""No check comes by itself while a test runs."""


class ThingConfig(ResourceConfig):
    """A configuration that holds a secret."""

    host: str = "db.internal"
    password: Secret = Secret(CANARY)


class Thing(Resource[ThingConfig, object]):
    """A resource whose instances work until `broken` is set."""

    def __init__(self, id: str = "db", dependencies: tuple[str, ...] = ()) -> None:
        self.id = id
        self.dependencies = dependencies
        self.broken = False
        self.created = 0

    async def create(self, config: ThingConfig, context: ResourceContext) -> object:
        if self.broken:
            raise ConnectionError(f"refused for {config.password.get_secret_value()}")
        self.created += 1
        return object()

    async def is_valid(self, instance: object) -> bool:
        return not self.broken


def declared(app: FastAPI, method: str, path: str) -> APIRoute | None:
    """The route that serves a path, if there is one."""
    for route in app.routes:
        if isinstance(route, APIRoute) and method in (route.methods or ()) and route.path_regex.match(path):
            return route
    return None


@dataclass
class World:
    """A manager, its admin application and things to break."""

    manager: Manager
    app: FastAPI
    http: httpx.AsyncClient
    things: dict[str, Thing] = field(default_factory=dict)
    seen: set[tuple[str, str, int]] = field(default_factory=set)
    """(method, path template, status) of every answer."""

    async def add(self, id: str, *needs: str, tenant: str | None = None, **options: Any) -> str:
        """Register a thing; returns its public id."""
        thing = self.things[id if tenant is None else f"{id}@{tenant}"] = Thing(id, needs)
        scope = Scope.GLOBAL if tenant is None else Scope.tenant(tenant)
        given: dict[str, Any] = {"pool": {"min_size": 0}, **options}
        registration = await self.manager.register(thing, ThingConfig(), scope=scope, health=QUIET, **given)
        return registration.public_id

    async def get(self, path: str, *, status: int = 200, **options: Any) -> Any:
        """GET, and the JSON of the answer."""
        return await self.ask("GET", path, status=status, **options)

    async def post(self, path: str, body: Any = None, *, status: int = 200, **options: Any) -> Any:
        """POST a JSON body, and the JSON of the answer."""
        return await self.ask("POST", path, status=status, json=body, **options)

    async def until(self, path: str, wanted: Callable[[Any], bool]) -> Any:
        """GET again and again until the answer is as wanted, for five seconds."""
        async with asyncio.timeout(5):
            while not wanted(body := await self.get(path)):  # noqa: ASYNC110  # the API is asked, as a client would
                await asyncio.sleep(0.005)
        return body

    async def ask(self, method: str, path: str, *, status: int, **options: Any) -> Any:
        """Send a request and hold the answer to the status that is expected, and to what is declared."""
        response = await self.send(method, path, **options)
        assert response.status_code == status, response.text
        kind = response.headers.get("content-type", "")
        return response.json() if "json" in kind else response.text

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; whatever comes back must be declared, fit its schema and hold no secret."""
        if options.get("json", 0) is None:
            del options["json"]
        response = await self.http.request(method, path, **options)
        self.check(method, response)
        return response

    def check(self, method: str, response: httpx.Response) -> None:
        """Hold one answer to everything that is true of all."""
        assert CANARY not in response.text
        assert CANARY not in str(response.headers)
        for name, value in HEADERS.items():
            assert response.headers[name] == value
        is_problem = response.status_code >= 400
        kind = response.headers.get("content-type", "").partition(";")[0]
        route = declared(self.app, method, response.request.url.path)
        if is_problem and kind == "application/problem+json":
            body = response.json()
            assert body["status"] == response.status_code
            assert body["type"] == f"urn:nebula:problem:{body['code'].replace('_', '-')}"
            assert re.fullmatch(r"urn:nebula:request:[0-9a-f]{16}", body["instance"])
        if route is None:
            assert response.status_code in {400, 403, 404, 405, 408, 413, 415}
            assert kind == "application/problem+json"
            return
        self.seen.add((method, route.path, response.status_code))
        if not route.include_in_schema:
            return
        code = response.status_code
        assert code == (route.status_code or 200) or code in route.responses, (
            f"{route.path} {code} undeclared"
        )
        model = route.responses.get(code, {}).get("model") or (route.response_model if code < 300 else None)
        if model is not None and "json" in kind:
            body = json.loads(response.text)
            TypeAdapter(model).validate_python(body, extra="forbid")


@asynccontextmanager
async def admin_world(
    *, auth: KeySource | None = None, started: bool = True, **settings: Any
) -> AsyncGenerator[World]:
    """A world without registrations."""
    async with Manager(health=QUIET) as manager:
        app = create_admin(manager, auth, settings, started=started)
        transport = httpx.ASGITransport(app, client=LOCAL)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield World(manager, app, http)


def keys_of(**roles: tuple[str, str | None]) -> tuple[KeyList, dict[str, dict[str, str]]]:
    """Keys by name, each (role, tenant), and the headers that show them."""
    minted = {name: Key.mint(role, name=name, tenant=tenant) for name, (role, tenant) in roles.items()}
    headers = {name: {"Authorization": f"Bearer {text}"} for name, (text, _) in minted.items()}
    return KeyList(key for _, key in minted.values()), headers
