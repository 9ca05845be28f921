"""How the rest fails that was given the secret: configurations, callers, resources that quote it, requests with it."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from nebula_resource import (
    CancellationToken,
    FieldViolation,
    HealthCheckable,
    HealthPolicy,
    HealthStatus,
    Manager,
    QuarantinePolicy,
    Resource,
    ResourceConfig,
    ResourceContext,
    Secret,
)
from nebula_resource.drivers.http import HttpConfig, HttpResource
from nebula_resource.drivers.sqlalchemy import SqlAlchemyResource
from nebula_resource.events import Event
from nebula_resource.hooks import HookPayload, ResourceHook
from nebula_resource.model.credentials import Credential
from nebula_resource.quarantine import RecoveryStrategy, RecoveryTarget
from nebula_resource.service.live_config import LiveConfig
from tests.scenarios.secret_world import CANARY, Said

__all__ = ["callers_fail", "configurations_fail", "file_fails", "requests_fail", "resources_quote"]

DSN = f"postgresql://u:{quote(CANARY, safe='')}@h/d?password={CANARY}"


class RudeConfig(ResourceConfig):
    """What a resource of a user's is given."""

    dsn: Secret = Secret(CANARY)


def quoting() -> RuntimeError:
    """An error as careless code raises it."""
    return RuntimeError(f"cannot reach {DSN} with {CANARY}")


# ── configurations ──


async def configurations_fail(said: Said, manager: Manager) -> None:
    """Each wrong in one way, as a mapping and as what a driver finds only when it connects."""
    wrong = {
        "url has a port that is none": {"url": f"postgresql://u:{quote(CANARY, safe='')}@h:port/d"},
        "url is of no kind": {"url": f"nonsense {CANARY}"},
        "option is unknown": {"url": f"postgresql://h/d?secret={quote(CANARY, safe='')}"},
        "login is given twice": {"url": DSN, "password": CANARY},
        "field is unknown": {"url": "postgresql://h/d", "more": CANARY},
        "field has another type": {"url": "postgresql://h/d", "connect_timeout": CANARY},
        "configuration is no mapping": CANARY,
    }
    for mode, config in wrong.items():
        with said.forced(mode):
            await manager.register(SqlAlchemyResource(mode.replace(" ", "-")), config)
    with said.forced("class has a secret that is none"):
        type("Careless", (ResourceConfig,), {"__annotations__": {"password": str}, "password": CANARY})
    with said.forced("cross-check quotes", is_quoting=True):
        await manager.register(Rude("cross-check", "validate_config"), RudeConfig())
    for mode, key in (("credential is missing", "unknown"), ("credential fits no header", "torn")):
        service = HttpConfig(base_url="http://127.0.0.1:9", auth="bearer", credential_key=key)
        await manager.register(HttpResource(mode.replace(" ", "-")), service, pool={"min_size": 0})
        with said.forced(mode):
            await manager.acquire(mode.replace(" ", "-"), timeout=1)
    await manager.register(Rude("provider"), RudeConfig(), pool={"min_size": 0}, credentials=_RudeProvider())
    with said.forced("provider quotes", is_quoting=True):
        await manager.acquire("provider", timeout=1)
    await manager.register(Rude("reloaded"), RudeConfig(), pool={"min_size": 1})
    with said.forced("reload is wrong"):
        await manager.reload("reloaded", {"dsn": 5, "more": CANARY})


class _RudeProvider:
    """A provider that tells what it should keep."""

    async def get(self, key: str, /) -> Credential:
        raise quoting()


# ── resources of a user's ──


class Rude(Resource[RudeConfig, object], HealthCheckable):
    """Raises an error that quotes the secret at one step."""

    health_check_interval = 3600.0

    def __init__(self, id: str, step: str = "") -> None:
        self.id = id
        self.step = step
        self.is_ill = False

    def _at(self, step: str) -> None:
        if self.step == step:
            raise quoting()

    def validate_config(self, config: RudeConfig) -> Iterable[FieldViolation]:
        self._at("validate_config")
        return ()

    async def create(self, config: RudeConfig, context: ResourceContext) -> object:
        self._at("create")
        if context.credentials is not None and self.id == "provider":
            await context.credentials.get("password")
        return object()

    async def is_valid(self, instance: object) -> bool:
        self._at("is_valid")
        return True

    def is_broken(self, instance: object) -> bool:
        self._at("is_broken")
        return False

    def is_fault(self, error: BaseException) -> bool:
        self._at("is_fault")
        return True

    async def recycle(self, instance: object) -> None:
        self._at("recycle")

    async def cleanup(self, instance: object) -> None:
        self._at("cleanup")

    @asynccontextmanager
    async def _lease(self, instance: object) -> AsyncGenerator[object]:
        self._at("lease entry")
        yield instance
        self._at("lease exit")

    def lease(self, instance: object, context: ResourceContext) -> Any:
        return self._lease(instance)

    async def health_check(self, instance: object, context: ResourceContext) -> HealthStatus:
        self._at("health_check")
        if self.step == "health says":
            return HealthStatus.unhealthy(f"cannot reach {DSN}", metadata={"dsn": DSN})
        return HealthStatus.healthy()


class _RudeHook(ResourceHook):
    """Raises beside every operation."""

    name = "rude"
    on_failure = "cancel"

    def __init__(self, when: str) -> None:
        self._when = when
        self.filter = _Only(f"hook-{when}")
        self.name = f"rude {when}"

    def before(self, event: HookPayload) -> object:
        if self._when == "before":
            raise quoting()
        return None

    def after(self, event: HookPayload, result: object) -> object:
        if self._when == "after":
            raise quoting()
        return None


class _Only:
    """Meant for one resource."""

    def __init__(self, id: str) -> None:
        self._id = id

    def matches(self, resource_id: str) -> bool:
        """Say whether it is this one."""
        return resource_id == self._id


class _RudeAside(ResourceHook):
    """Raises where no operation hears of it: in its filter, in its end, and after it was given up."""

    name = "rude aside"
    timeout = 0.05

    def __init__(self) -> None:
        self.filter = self
        self.raised = 0

    def _raise(self) -> None:
        self.raised += 1
        raise quoting()

    def matches(self, resource_id: str) -> bool:
        """As a filter."""
        if resource_id == "aside":
            self._raise()
        return False

    def matches_event(self, event: Event) -> None:
        """As a listener."""
        self._raise()

    async def before(self, event: HookPayload) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            self._raise()

    async def close(self) -> None:
        self._raise()


class _RudeStrategy(RecoveryStrategy):
    """A recovery that raises, or answers."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises

    async def attempt_recovery(self, registration: RecoveryTarget, context: ResourceContext) -> HealthStatus:
        if self._raises:
            raise quoting()
        return HealthStatus.unhealthy(f"cannot reach {DSN}")


STEPS = ("create", "is_valid", "is_broken", "is_fault", "recycle", "cleanup", "lease entry", "lease exit")


async def resources_quote(said: Said, manager: Manager) -> None:
    """What a user's code raises is the user's; whatever we say of it repeats nothing."""
    for step in (*STEPS, "health_check", "health says"):
        key = step.replace(" ", "-")
        await manager.register(Rude(key, step), RudeConfig(), pool={"min_size": 0, "validation_interval": 0})
        for _ in range(2):
            with said.forced(f"{step} quotes", is_quoting=True):
                async with manager.acquire(key, timeout=1):
                    if step == "is_fault":
                        raise ConnectionError("gone")
        said.add("answer to a check", repr(await manager.check(key)))
        with said.forced(f"{step} quotes, released", is_quoting=True):
            await manager.release(key)
    for when in ("before", "after"):
        manager.hooks.add(_RudeHook(when))
        await manager.register(Rude(f"hook-{when}"), RudeConfig())
        with said.forced(f"hook quotes {when}", is_quoting=True):
            async with manager.acquire(f"hook-{when}", timeout=1):
                pass
    aside = _RudeAside()
    manager.hooks.add(aside)
    stop = manager.events.add_listener(aside.matches_event)
    await manager.register(Rude("aside"), RudeConfig())
    async with manager.acquire("aside", timeout=1):
        pass
    stop()
    await manager.hooks.close(1.0)
    manager.hooks.remove(aside.name)
    assert aside.raised >= 4, "filter, listener, given up, end"
    said.modes |= {"hook's filter quotes", "listener quotes", "hook quotes too late", "end of a hook quotes"}
    for mode, raises in (("recovery quotes", True), ("recovery answers with it", False)):
        key = mode.replace(" ", "-")
        policy = QuarantinePolicy(strategy=_RudeStrategy(raises=raises))
        await manager.register(Rude(key), RudeConfig(), quarantine=policy)
        manager.quarantine(key, "ill")
        with said.forced(mode):
            await manager.release(key)
    with said.forced("body quotes", is_quoting=True):
        async with manager.acquire("reloaded", timeout=1):
            raise quoting()


# ── callers ──


async def callers_fail(said: Said, manager: Manager) -> None:
    """Everything that callers are told instead of a handle."""
    quiet = HealthPolicy(interval=3600)
    pool = {"min_size": 0, "max_size": 1, "max_waiting": 1}
    await manager.register(Rude("busy"), RudeConfig(), pool=pool, health=quiet)
    handle = await manager.acquire("busy")
    said.add("repr of a handle", f"{handle!r} {manager.acquire('busy')!r}")
    with said.forced("acquire times out"):
        await manager.acquire("busy", timeout=0.02)
    token = CancellationToken()
    waiting = asyncio.ensure_future(_acquire(manager, "busy", ResourceContext(cancellation=token)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with said.forced("line is full"):
        await manager.acquire("busy", timeout=1)
    token.cancel()
    with said.forced("acquire is cancelled"):
        await waiting
    manager.quarantine("busy", "by hand")
    with said.forced("resource is quarantined"):
        await manager.acquire("busy")
    await handle.release()
    with said.forced("handle is used after its end"):
        _ = handle.value
    with said.forced("resource is unknown"):
        await manager.acquire("there-is-none")
    await manager.register(Rude("lost"), RudeConfig(), health=quiet)
    lost = await manager.acquire("lost")
    del lost
    gc.collect()
    await manager.drain("lost")
    with said.forced("resource is drained"):
        await manager.acquire("lost")
    await manager.register(Rude("opening", "create"), RudeConfig(), pool={"min_size": 1})
    with said.forced("opening failed"):
        await manager.acquire("opening")
    with said.forced("required opening fails", is_quoting=True):
        await manager.register(Rude("required", "create"), RudeConfig(), required=True)


async def _acquire(manager: Manager, key: str, context: ResourceContext) -> object:
    return await manager.acquire(key, context)


# ── files and requests ──


async def file_fails(said: Said, live: LiveConfig, file: Path) -> None:
    """What `nebula.toml` may say wrongly, each read by a reload that is rejected."""
    good = _read(file)
    table = "[resources.extra]\ndriver = 'sqlalchemy'\nrequired = true\n[resources.extra.config]\n"
    wrong = {
        "file has a secret in it": f"{table}url = 'postgresql://h/d'\npassword = {json.dumps(CANARY)}\n",
        "file has a login in a URL": f"{table}url = {json.dumps(DSN)}\n",
        "file has an unknown field": f"{table}url = 'env:DSN'\nmore = {json.dumps(CANARY)}\n",
        "file is no TOML": f"{table}url = {CANARY}\n",
        "file names a secret that is not there": f"{table}url = 'env:THERE_IS_NONE'\n",
        "file names what cannot be opened": f"{table}url = 'env:DEAD'\nconnect_timeout = 0.2\n",
    }
    for mode, more in wrong.items():
        _write(file, good + more)
        with said.forced(mode):
            await live.reload()
    _write(file, good)


def _read(file: Path) -> str:
    return file.read_text()


def _write(file: Path, text: str) -> None:
    file.write_text(text)


async def requests_fail(said: Said, client: httpx.AsyncClient, locked: httpx.AsyncClient) -> None:
    """The secret where an operator may paste it by mistake: refused, and not echoed."""
    body: dict[str, Callable[[], Any]] = {
        "request has an unknown field": lambda: client.post(
            "/quarantine", json={"resource_id": "busy", "reason": "x", "more": CANARY}
        ),
        "request has a field of another type": lambda: client.post(
            "/quarantine", json={"resource_id": "busy", "reason": [CANARY], "expires_in": CANARY}
        ),
        "request is no JSON": lambda: client.post(
            "/quarantine", content=f'{{"{CANARY}', headers={"Content-Type": "application/json"}
        ),
        "request names an unknown resource": lambda: client.post(
            "/quarantine", json={"resource_id": CANARY, "reason": "x"}
        ),
        "request has a wrong key": lambda: locked.get(
            "/pools", headers={"Authorization": f"Bearer {quote(CANARY, safe='')}"}
        ),
        "session has a wrong key": lambda: locked.post("/session", json={"key": CANARY}),
        "stream is resumed from nonsense": lambda: client.get(
            "/events", headers={"Last-Event-ID": quote(CANARY, safe="")}
        ),
    }
    for mode, ask in body.items():
        answer = await ask()
        said.add(f"HTTP {mode}", f"{answer.headers!r} {answer.text}")
        if answer.status_code >= 400 or "nonsense" in mode:
            said.modes.add(mode)
