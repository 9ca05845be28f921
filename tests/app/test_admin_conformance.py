"""Conformance: schemathesis over a real server, all checks and ours: nothing fails, every operation is reached."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from nebula_resource.admin import AdminSettings, create_admin
from nebula_resource.admin.answers import problems
from nebula_resource.admin.auth import authority
from nebula_resource.admin.auth.needs import Viewer
from nebula_resource.admin.schemas.common import scope_id
from nebula_resource.manager import Manager
from nebula_resource.model.scope import Scope
from nebula_resource.service.declaration import load
from nebula_resource.service.live_config import LiveConfig
from tests.app.admin_world import QUIET, keys_of
from tests.app.served_admin import ServedAdmin, serving

CHECKS = Path(__file__).with_name("conformance_checks.py")
SEED = 23
LONGEST = 280.0  # seconds; a quiet machine needs twenty

CONFIG = """
hooks = {hooks}

[dictionaries.pools]
values = ["db", "cache", "orders", "shop", "spare"]
[dictionaries.scopes]
values = [{scope}]
[dictionaries.isolated]
values = ["cache"]
[dictionaries.operations]
values = [{operation}]
[dictionaries.groups]
values = ["core"]
[dictionaries.tags]
values = ["*"]

[[operations]]
include-path-regex = "^/(pools|resources)/"
[operations.parameters]
"path.id" = {{ dictionary = "pools", probability = 0.9 }}
"header.if-match" = {{ dictionary = "tags", probability = 0.9 }}

[[operations]]
include-path-regex = "^/scopes/"
[operations.parameters]
"path.id" = {{ dictionary = "scopes", probability = 0.8 }}

[[operations]]
include-path-regex = "^/quarantine/"
[operations.parameters]
"path.id" = {{ dictionary = "isolated", probability = 0.8 }}

[[operations]]
include-path = "/quarantine"
include-method = "POST"
[operations.parameters]
"body.resource_id" = {{ dictionary = "pools", probability = 0.9 }}

[[operations]]
include-path = "/operations/{{op}}"
[operations.parameters]
"path.op" = {{ dictionary = "operations", probability = 0.7 }}

[[operations]]
include-path = "/health/groups/{{name}}"
[operations.parameters]
"path.name" = {{ dictionary = "groups", probability = 0.7 }}

# Down is an answer of these, not a failure.
[[operations]]
include-path-regex = "^/health"
[operations.checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]

# A cursor is signed, a list of globs has a grammar: conformance_checks.py holds 400 to that.
[[operations]]
include-path-regex = "^/(audit|events|pools|quarantine|resources|scopes|pools/.+/instances)$"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "406", "409", "429"]

# An entity tag is right for one moment.
[[operations]]
include-path = "/pools/{{id}}/resize"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422", "429"]
missing_required_header.expected-statuses = ["4xx"]

# A key that was used with another body is refused.
[[operations]]
include-method = "POST"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]
"""


async def run(served: ServedAdmin, key: str, folder: Path, *options: str, operation: str = "op_x") -> Any:
    """One run of schemathesis in a process of its own; returns its report."""
    config = folder / "schemathesis.toml"
    values = {"hooks": str(CHECKS), "operation": operation, "scope": scope_id(Scope.GLOBAL)}
    config.write_text(CONFIG.format(**{name: json.dumps(value) for name, value in values.items()}))
    report = folder / "report.json"
    command = [
        str(Path(sys.executable).with_name("st")), "--config-file", str(config),
        "run", f"{served.url}/openapi.json", "-H", f"Authorization: Bearer {key}",
        "--checks", "all", "--seed", str(SEED), "--continue-on-failure", "--no-shrink", "--no-color",
        "--generation-database", "none", "--report", "json", "--report-json-path", str(report), *options,
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(CHECKS.parents[2]), "CONFORMANCE_KEY": key},
    )
    try:
        async with asyncio.timeout(LONGEST):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert report.is_file(), output.decode()
    return json.loads(report.read_text()) | {"output": output.decode()}


def reached(app: FastAPI) -> dict[str, set[str]]:
    """Which statuses each operation answered, as the application itself counted: 'GET /pools' → {'2xx', '4xx'}."""
    counted: Mapping[tuple[str, ...], int] = app.state.admin.counts._requests
    found: dict[str, set[str]] = {}
    for method, route, status in counted:
        found.setdefault(f"{method} {route}", set()).add(status)
    return found


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing has no limit here: what is refused for it would hide what is looked for."""
    monkeypatch.setattr(authority, "MAX_FAILURES", 10**9)


async def test_every_operation_is_as_it_is_described(tmp_path: Path, patient: None) -> None:
    """All checks on all operations, stateful ones too: no failure; each operation was reached and did its work."""
    keys, headers = keys_of(root=("admin", None))
    key = headers["root"]["Authorization"].removeprefix("Bearer ")
    async with Manager(health=QUIET) as manager:
        file = tmp_path / "nebula.toml"
        file.write_text("[admin]\nport = 0\n")
        live = LiveConfig(manager, load(file))
        app = create_admin(manager, keys, AdminSettings(groups={"core": ("db",)}), declared=live)
        async with serving(app) as port:
            served = ServedAdmin(manager, app, port)
            for name in ("db", "cache", "spare"):
                await served.add(name)
            await served.add("orders", "db")
            await served.add("shop", tenant="acme")
            manager.quarantine("cache", "to be released")
            # One that runs until somebody cancels it: something is out.
            async with manager.acquire("spare"):
                admin = app.state.admin
                operation = admin.operations.start(
                    "drain", manager.registry.named("spare")[0], "test", asyncio.Event().wait()
                )
                report = await run(
                    served, key, tmp_path, "--max-examples", "3",
                    operation=operation.id,
                )  # fmt: skip
        described = {
            f"{method.upper()} {path}" for path, item in app.openapi()["paths"].items() for method in item
        }
    assert report["failures"] == [], report["output"]
    assert report["errors"] == [], report["output"]
    assert report["exit_code"] == 0, report["output"]
    assert report["operations"]["tested"] == report["operations"]["total"] == len(described)
    found = reached(app)
    assert described - found.keys() == set(), "never reached"
    idle = {name for name in described if "2xx" not in found[name]}
    assert {name for name in idle if "5xx" not in found[name] or "/health" not in name} == set(), (
        "never did its work"
    )


async def test_an_undeclared_error_is_caught(tmp_path: Path, patient: None) -> None:
    """The same run over an application with a route that fails for one input reports just that route."""
    router = APIRouter()

    @router.get("/seeded", responses=problems())
    async def seeded(who: Viewer, number: int = 0) -> Response:
        """Fails below zero."""
        if number < 0:
            raise ZeroDivisionError
        return Response("{}", media_type="application/json")

    keys, headers = keys_of(root=("admin", None))
    async with Manager(health=QUIET) as manager:
        app = create_admin(manager, keys)
        app.router.routes.extend(router.routes)
        async with serving(app) as port:
            report = await run(
                ServedAdmin(manager, app, port),
                headers["root"]["Authorization"].removeprefix("Bearer "),
                tmp_path, "--include-path", "/seeded", "--max-examples", "20", "--phases", "coverage,fuzzing",
            )  # fmt: skip
    assert report["exit_code"] == 1, report["output"]
    kinds = {failure["type"] for failure in report["failures"]}
    assert "ServerError" in kinds, report["output"]
    assert {name for failure in report["failures"] for name in failure["operations"]} == {"GET /seeded"}
