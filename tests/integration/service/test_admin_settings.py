"""[admin]: each setting has a variable that means it, and does in the service what its page says."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nebula_resource import Manager, Scope
from nebula_resource.admin import Key
from nebula_resource.service.admin_section import ENVIRONMENT, AdminSection
from nebula_resource.service.assembly import assemble
from nebula_resource.service.declaration import Source, declare
from nebula_resource.service.live_config import LiveConfig
from nebula_resource.testing import MockResource
from tests.scenarios.nebula import started

pytestmark = pytest.mark.usefixtures("untouched")

MEANS: dict[str, tuple[str, Any]] = {
    "NEBULA_HOST": ("localhost", "localhost"),
    "NEBULA_PORT": ("8443", 8443),
    "NEBULA_KEYS_FILE": ("keys.toml", Path("keys.toml")),
    "NEBULA_AUDIT_FILE": ("audit.jsonl", Path("audit.jsonl")),
    "NEBULA_HOSTS": ("ops.internal, ops.example", ("ops.internal", "ops.example")),
    "NEBULA_PAGE": ("false", False),
    "NEBULA_TENANT_METRICS": ("acme,globex", ("acme", "globex")),
    "NEBULA_MAX_STREAMS": ("9", 9),
    "NEBULA_PATH": ("/ops/", "/ops"),
    "NEBULA_LOG_LEVEL": ("DEBUG", "DEBUG"),
    "NEBULA_LOG_FORMAT": ("json", "json"),
}


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_every_variable_means_its_setting(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other: all else keeps its default."""
    monkeypatch.chdir(tmp_path)
    Path("keys.toml").write_text(Key.mint("viewer")[1].entry)
    text, wanted = MEANS[variable]
    told = declare(Source(), environment={variable: text}).admin
    name = variable.removeprefix("NEBULA_").lower()
    assert getattr(told, name) == wanted
    plain = AdminSection()
    others = AdminSection.model_fields.keys() - {name}
    assert {each: getattr(told, each) for each in others} == {each: getattr(plain, each) for each in others}


@asynccontextmanager
async def served(**settings: Any) -> AsyncGenerator[tuple[Manager, httpx.AsyncClient]]:
    """What a file with these settings would serve, to this machine."""
    async with Manager() as manager:
        document = {
            "admin": settings,
            "resources": {"db": {"driver": "sqlite", "config": {"path": ":memory:"}}},
        }
        declared = declare(Source(document=document), environment={})
        assembly = assemble(LiveConfig(manager, declared, environment={}), manager)
        transport = httpx.ASGITransport(assembly.app, client=("127.0.0.1", 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield manager, http


async def test_the_path_is_where_it_stands() -> None:
    """API, page and its parts below it; elsewhere there is nothing, and what links says stays below it."""
    async with served(path="/ops") as (manager, http):
        await manager.register(MockResource("db"), {}, pool={"min_size": 0})
        for path in ("/ops/pools", "/ops/pools/db", "/ops/health/live", "/ops/", "/ops/ui/main.js"):
            assert (await http.get(path)).status_code == 200, path
        for path in ("/pools", "/health/live", "/ui/main.js"):
            assert (await http.get(path)).status_code == 404, path
        page = (await http.get("/ops/")).text
        assert 'src="ui/main.js"' in page
        assert re.search(r"""(src|href)=["']/""", page) is None, (
            "an address from the root would lead out of it"
        )
        made = await http.post("/ops/quarantine", json={"resource_id": "db", "reason": "x"})
        assert made.headers["location"].endswith("/ops/quarantine/db")
        assert (await http.get(made.headers["location"])).status_code == 200


async def test_without_the_page_the_api_is_all_there() -> None:
    """Neither the page nor its parts; the rest as ever."""
    async with served(page=False) as (_, http):
        for path in ("/", "/ui/main.js"):
            assert (await http.get(path)).status_code == 404, path
        assert (await http.get("/pools")).status_code == 200


async def test_hosts_groups_and_tenants_reach_the_api() -> None:
    """A further Host, a group of health, a tenant by name in the metrics."""
    async with served(hosts=["ops.internal"], groups={"shop": ["db"]}, tenant_metrics=["acme"]) as (
        manager,
        http,
    ):
        for tenant in ("acme", "globex"):
            await manager.register(MockResource("db"), {}, pool={"min_size": 0}, scope=Scope.tenant(tenant))
        assert (await http.get("/pools", headers={"Host": "ops.internal"})).status_code == 200
        assert (await http.get("/pools", headers={"Host": "ops.example"})).status_code == 400
        assert len((await http.get("/health/groups/shop")).json()["checks"]) == 2
        assert (await http.get("/health/groups/other")).status_code == 404
        text = (await http.get("/metrics")).text
        assert 'nebula_resource_tenant_pool_instances{tenant="acme",' in text
        assert 'nebula_resource_tenant_pool_instances{tenant="_other",' in text
        assert "globex" not in text


async def test_keys_decide_who_gets_in(tmp_path: Path) -> None:
    """With a key file nobody gets in without one, and every machine with one."""
    text, key = Key.mint("viewer")
    file = tmp_path / "keys.toml"
    file.write_text(key.entry)
    async with served(keys_file=str(file), host="0.0.0.0") as (_, http):
        assert (await http.get("/pools")).status_code == 401
        assert (await http.get("/pools", headers={"Authorization": f"Bearer {text}"})).status_code == 200


def test_the_log_is_as_told(tmp_path: Path) -> None:
    """As JSON each line is an object; by level what is below it is not there."""
    (tmp_path / "nebula.toml").write_text(
        '[admin]\nport = 0\n[resources.db]\ndriver = "sqlite"\nconfig = { path = "x.db" }\n'
    )
    with started(cwd=tmp_path, NEBULA_LOG_FORMAT="json") as running:
        running.process.terminate()
        code, _, errors = running.wait()
    assert code == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert {"pool.registered", "shutdown.finished"} <= {each["event"] for each in lines}
    assert {each["level"] for each in lines} == {"info"}
    with started(cwd=tmp_path, NEBULA_LOG_LEVEL="ERROR") as running:
        running.process.terminate()
        code, _, errors = running.wait()
    assert (code, errors) == (0, "")
