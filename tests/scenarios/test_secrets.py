"""One random secret in every place that takes one, everything made to fail, and nothing that we say holds it."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from nebula_resource import Manager, ResourceContext, Scope
from nebula_resource.admin import create_admin
from nebula_resource.model.config import Secret
from nebula_resource.model.credentials import StaticCredentials
from nebula_resource.service.declaration import load
from nebula_resource.service.live_config import LiveConfig
from tests.app.admin_world import keys_of
from tests.app.served_admin import serving
from tests.scenarios.secret_drivers import Servers, database_modes, drivers_fail, servers, service_modes
from tests.scenarios.secret_own import (
    callers_fail,
    configurations_fail,
    file_fails,
    requests_fail,
    resources_quote,
)
from tests.scenarios.secret_world import CANARY, Said, listening, secret_manager
from tests.servers.postgres import PostgresServer

SINKS = {
    "log",
    "event",
    "error",
    "traceback",
    "repr",
    "HTTP",
    "SSE",
    "audit",
    "span",
    "warning",
    "answer",
    "hook",
}


@contextlib.asynccontextmanager
async def declared(manager: Manager, there: Servers, file: Path) -> AsyncGenerator[LiveConfig]:
    """A configuration file whose secrets come from the environment."""
    address = f"postgresql://{there.role}:{quote(CANARY, safe='')}@127.0.0.1"
    environment = {
        "DSN": f"{address}:{there.postgres.port}/{there.postgres.database}",
        "DEAD": f"{address}:{there.ports['nobody']}/{there.postgres.database}",
    }
    live = LiveConfig(manager, load(file, environment=environment), environment=environment)
    await live.start()
    try:
        yield live
    finally:
        await live.close()


async def follow(said: Said, client: httpx.AsyncClient, live: asyncio.Event) -> None:
    """Keep what a reader of the events is sent, raw ones too."""
    headers = {"Accept": "text/event-stream"}
    async with client.stream("GET", "/events?raw=true", headers=headers, timeout=None) as stream:
        async for line in stream.aiter_lines():
            said.add("SSE", line)
            live.set()


async def read_all(said: Said, manager: Manager, client: httpx.AsyncClient) -> None:
    """Every page that the description knows, for every pool there is, in each format."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    wanted = ["/openapi.json", "/"]
    for path, methods in paths.items():
        if "get" in methods and "{" not in path:
            wanted.append(path)
        elif "get" in methods and "{id}" in path:
            # The lists tell of all of them; by itself each of ours, and some of the drivers'.
            shown = [
                each for number, each in enumerate(manager.pools()) if "-" not in each.key or number % 8 == 0
            ]
            wanted += [path.replace("{id}", quote(each.public_id)) for each in shown]
    good = 0
    for path in wanted:
        answer = await client.get(path)
        good += answer.status_code == 200
        said.add(f"HTTP {path}", f"{answer.headers!r} {answer.text}")
    assert good > len(wanted) / 2, "they were really read"
    for kind in ("text/plain", "application/openmetrics-text"):
        answer = await client.get("/metrics", headers={"Accept": kind})
        said.add(f"HTTP /metrics as {kind}", answer.text)
    for path in (
        "/pools?limit=200",
        "/resources?limit=200",
        "/quarantine?limit=200",
        "/dependencies?format=dot",
        "/dependencies?format=mermaid",
        "/events?limit=500&raw=true",
    ):
        said.add(f"HTTP {path}", (await client.get(path)).text)


async def press_everything(said: Said, manager: Manager, client: httpx.AsyncClient) -> None:
    """What an operator does, to some of each kind: each is a deed in the audit."""
    for registration in manager.pools()[::20]:
        name = quote(registration.public_id)
        for path in (f"/resources/{name}/check", f"/quarantine/{name}/release", f"/pools/{name}/recycle"):
            answer = await client.post(path, json=None if "check" in path else {"reason": "a test"})
            said.add(f"HTTP POST {path}", answer.text)
    said.add("HTTP POST /config/reload", (await client.post("/config/reload", json={})).text)


async def test_no_failure_tells_a_secret(private_postgres_server: PostgresServer, tmp_path: Path) -> None:
    """Many more than 30 ways to fail; no log line, event, error, repr, HTTP body, metric or span holds the secret."""
    said, file, audit = Said(), tmp_path / "nebula.toml", tmp_path / "audit.jsonl"
    file.write_text(
        "[resources.declared]\ndriver = 'sqlalchemy'\n[resources.declared.config]\nurl = 'env:DSN'\n"
    )
    with listening(said):
        async with (
            asyncio.timeout(100),
            secret_manager(said) as manager,
            servers(private_postgres_server) as there,
        ):
            async with declared(manager, there, file) as live:
                await fail(said, manager, there, live, file, audit)
    for line in audit.read_text().splitlines():
        said.add("audit", line)
    context = ResourceContext(Scope.of(tenant="t"), credentials=StaticCredentials({"k": Secret(CANARY)}))
    for value in (context, manager, manager.stats(), manager.watch.board, manager.watch.quarantine):
        said.add("repr", repr(value))
    forced = {mode for mode in said.modes if not mode.startswith("release of")}
    assert set(database_modes()) | set(service_modes()) <= forced
    assert len(forced) >= 60, sorted(forced)
    assert said.places() >= SINKS
    assert said.hits(CANARY) == []


async def fail(
    said: Said, manager: Manager, there: Servers, live: LiveConfig, file: Path, audit: Path
) -> None:
    """Everything, while somebody follows the events; then everything is read."""
    keys, _ = keys_of(root=("admin", None))
    locked = create_admin(Manager(), keys)
    async with serving(create_admin(manager, None, {"audit_file": audit}, declared=live)) as port:
        base = f"http://127.0.0.1:{port}"
        async with (
            httpx.AsyncClient(base_url=base, timeout=20) as client,
            httpx.AsyncClient(transport=httpx.ASGITransport(locked), base_url=base) as stranger,
        ):
            is_live = asyncio.Event()
            following = asyncio.create_task(follow(said, client, is_live))
            await is_live.wait()
            await asyncio.gather(
                drivers_fail(said, manager, there),
                configurations_fail(said, manager),
                callers_fail(said, manager),
                file_fails(said, live, file),
            )
            await resources_quote(said, manager)
            await requests_fail(said, client, stranger)
            await press_everything(said, manager, client)
            await read_all(said, manager, client)
            assert not following.done(), "a reader that was cut off has heard nothing"
            following.cancel()
            await asyncio.wait((following,))


@pytest.mark.parametrize(
    "text_",
    [
        CANARY,
        quote(CANARY, safe=""),
        json.dumps(CANARY),
        *(base64.b64encode(b"x" * n + CANARY.encode()).decode() for n in range(4)),
    ],
    ids=["raw", "url", "json", "base64", "base64 +1", "base64 +2", "base64 +3"],
)
def test_the_search_finds_the_secret_in_each_of_its_forms(text_: str) -> None:
    """The test above can fail."""
    said = Said()
    said.add("here", f"before {text_} after")
    assert len(said.hits(CANARY)) == 1
