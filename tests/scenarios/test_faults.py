"""Real faults of real servers: noticed in time, no caller held up, no other tenant disturbed, healed alone, no leak."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from nebula_resource import HealthPolicy, Manager, Scope
from nebula_resource.drivers.sqlalchemy import PostgresOptions, SqlAlchemyConfig, SqlAlchemyResource
from nebula_resource.events import (
    CascadeDetected,
    CascadeResolved,
    CleanedUp,
    Created,
    ErrorOccurred,
    Event,
    HealthChanged,
    InstanceRetired,
    Quarantined,
    QuarantineReleased,
    RecoveryAttempted,
)
from nebula_resource.model.config import Secret
from nebula_resource.model.reasons import CleanupReason
from tests.scenarios.fault_world import (
    ACQUIRE,
    DETECTED_WITHIN,
    HEALTH,
    POOL,
    QUARANTINE,
    USES_DURING,
    FaultWorld,
    RedisConfig,
    RedisResource,
    ask_redis,
    ask_sql,
    callers,
    new_name,
    quantile,
)
from tests.scenarios.machine import Waits, tree, watched
from tests.scenarios.proxy import FaultProxy
from tests.servers.postgres import PostgresServer
from tests.servers.process import PrivateProcess
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.alone

DOWN_FOR = 0.5  # seconds that an outage goes on after it was noticed
NOISE = 0.05  # seconds by which a shared machine may disturb anybody, beside those of `Waits`
QUICK = 0.02
"""Seconds below which a whole use of the calm tenant is quick, whatever it took before."""
GRACE = 1.0
"""Seconds that the PostgreSQL driver gives a statement that still runs when its connection is closed: a check that was
given up in the middle has not ended before, and there are never two checks of one resource."""
CALM_HEALTH = HealthPolicy(interval=0.15, timeout=2.0, failure_threshold=2, success_threshold=1, jitter=0)
"""The calm one's checks have time: a machine that stands still for a moment is no fault of its server."""
CALM_POOL = replace(
    POOL,
    min_size=2,
    acquire_timeout=5.0,
    create_timeout=5.0,
    validate_timeout=2.0,
    recycle_timeout=2.0,
)
"""Its steps, too: how quickly it is served is measured and not guessed by a timeout. Two at least: a check that looks at one
leaves one for the caller, who would connect anew else."""
ROLE, PASSWORD = "stricken", "first-password"  # of a server that lives for this test

Fault = Callable[["Patient"], Awaitable[None]]


@dataclass
class Patient:
    """A server and the proxy before it, as a fault sees them."""

    proxy: FaultProxy
    process: PrivateProcess
    name: str
    """Of the stricken connections, on the server."""
    command: Callable[..., Any]
    """Run a statement as the server's own operator; in a thread, it blocks."""
    stopped: list[int] = field(default_factory=list)
    calm_server: int = 0
    """The process that serves the calm tenant meanwhile."""

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self.process._pid is not None, "it was started"
        return self.process._pid


async def _apart(call: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(call, *arguments)


# ── faults: what is done, and what undoes it ──────────────────────────────────────────────────────────────────────


async def latency(patient: Patient) -> None:
    """Each piece takes a second."""
    patient.proxy.latency = 1.0


async def reset(patient: Patient) -> None:
    """Every connection is reset, old and new."""
    patient.proxy.reset()


async def half_close(patient: Patient) -> None:
    """The peer says FIN and listens on."""
    patient.proxy.half_close()


async def black_hole(patient: Patient) -> None:
    """Everything is swallowed."""
    patient.proxy.black_hole()


async def refuse(patient: Patient) -> None:
    """Nobody listens."""
    patient.proxy.refuse()


async def slow_bytes(patient: Patient) -> None:
    """Five bytes a second."""
    patient.proxy.byte_pause = 0.2


async def heal_proxy(patient: Patient) -> None:
    """The network is well."""
    await patient.proxy.heal()


async def kill(patient: Patient) -> None:
    """The server crashes."""
    await _apart(patient.process.kill)


async def start(patient: Patient) -> None:
    """It is started again."""
    await _apart(patient.process.start)


async def freeze(patient: Patient) -> None:
    """SIGSTOP: sockets stay open, the kernel accepts, nobody answers."""
    patient.stopped = tree(patient.pid)
    for pid in patient.stopped:
        os.kill(pid, signal.SIGSTOP)


async def thaw(patient: Patient) -> None:
    """SIGCONT."""
    for pid in patient.stopped:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # a backend that ended with its connection


async def restart(patient: Patient) -> None:
    """Stopped in good order and started again."""
    await _apart(patient.process.restart)


async def disconnect(patient: Patient) -> None:
    """The server ends every connection of ours (pg_terminate_backend, CLIENT KILL)."""
    await _apart(patient.command, "disconnect")


async def change_password(patient: Patient) -> None:
    """The password is another, and who is connected is put out."""
    await _apart(patient.command, "password", "second-password")
    await disconnect(patient)


async def restore_password(patient: Patient) -> None:
    """The password is the old one."""
    await _apart(patient.command, "password", PASSWORD)


async def nothing(patient: Patient) -> None:
    """It was over at once."""


LASTING: dict[str, tuple[Fault, Fault]] = {
    "latency": (latency, heal_proxy),
    "reset": (reset, heal_proxy),
    "half-close": (half_close, heal_proxy),
    "black hole": (black_hole, heal_proxy),
    "refuse": (refuse, heal_proxy),
    "slow bytes": (slow_bytes, heal_proxy),
    "kill": (kill, start),
    "SIGSTOP": (freeze, thaw),
    "wrong password": (change_password, restore_password),
}
SHORT: dict[str, Fault] = {"restart": restart, "connections ended": disconnect}


def test_the_docs_list_these_faults() -> None:
    """Each with how long it lasts, no more and no fewer."""
    page = (Path(__file__).parents[2] / "docs" / "design" / "faults.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| (yes|no) \|", page, re.MULTILINE)
    assert dict(rows) == dict.fromkeys(LASTING, "yes") | dict.fromkeys(SHORT, "no")


# ── the world ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def world() -> AsyncIterator[FaultWorld]:
    """A manager with short intervals."""
    with watched():
        async with Manager(health=HEALTH, quarantine=QUARANTINE) as manager:
            yield FaultWorld(manager)


@pytest.fixture
async def postgres(private_postgres_server: PostgresServer) -> AsyncIterator[Patient]:
    """PostgreSQL behind a proxy, with a role of the stricken's own."""
    server = private_postgres_server
    assert server.process is not None
    name = new_name()
    await _apart(
        server.execute,
        f"DO $$ BEGIN CREATE ROLE {ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    await _apart(server.execute, f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")

    def command(what: str, *arguments: str) -> Any:
        if what == "password":
            return server.execute(f"ALTER ROLE {ROLE} PASSWORD '{arguments[0]}'")
        chosen = f"FROM pg_stat_activity WHERE application_name = '{name}'"  # a name of our making
        if what == "disconnect":
            return server.execute(f"SELECT pg_terminate_backend(pid) {chosen}")
        return server.execute(f"SELECT count(*) {chosen}")[0][0]

    async with FaultProxy(server.host, server.port) as proxy:
        yield Patient(proxy, server.process, name, command)


@pytest.fixture
async def redis_patient(private_redis_server: RedisServer) -> AsyncIterator[Patient]:
    """Redis behind a proxy, with a user of the stricken's own, made anew whenever the server forgets it."""
    server = private_redis_server
    assert server.process is not None
    name = new_name()

    def command(what: str, *arguments: str) -> Any:
        with redis.Redis.from_url(server.url) as client:
            if what == "password":
                return client.execute_command(
                    "ACL", "SETUSER", ROLE, "on", "resetpass", f">{arguments[0]}", "~*", "+@all"
                )
            ours = [each for each in client.client_list() if each["name"] == name]
            if what == "disconnect":
                return [client.client_kill_filter(_id=each["id"]) for each in ours]
            return len(ours)

    await _apart(command, "password", PASSWORD)
    async with FaultProxy(server.host, server.port) as proxy:
        yield Patient(proxy, server.process, name, command)


async def register_postgres(world: FaultWorld, key: str, tenant: str, name: str, **config: Any) -> None:
    """A database of a tenant's own."""
    calm = key == "calm"
    settings = SqlAlchemyConfig(
        postgres=PostgresOptions(application_name=name), connect_timeout=5.0 if calm else 0.3, **config
    )
    await world.manager.register(
        SqlAlchemyResource(key),
        settings,
        pool=CALM_POOL if key == "calm" else POOL,
        scope=Scope.of(tenant=tenant),
        health=CALM_HEALTH if key == "calm" else None,
    )


async def register_redis(world: FaultWorld, key: str, tenant: str, name: str, **config: Any) -> None:
    """A Redis of a tenant's own."""
    await world.manager.register(
        RedisResource(key, name),
        RedisConfig(**config),
        pool=CALM_POOL if key == "calm" else POOL,
        scope=Scope.of(tenant=tenant),
        health=CALM_HEALTH if key == "calm" else None,
    )


@pytest.fixture(params=["postgres", "redis"])
async def stricken(
    request: pytest.FixtureRequest,
    world: FaultWorld,
    postgres: Patient,
    redis_patient: Patient,
    private_postgres_server: PostgresServer,
    private_redis_server: RedisServer,
) -> Patient:
    """The one that the fault strikes; the calm tenant uses the other server, without a proxy."""
    database = private_postgres_server.database
    if request.param == "postgres":
        url = Secret(f"postgresql://127.0.0.1:{postgres.proxy.port}/{database}")
        await register_postgres(
            world, "stricken", "acme", postgres.name, url=url, user=Secret(ROLE), password=Secret(PASSWORD)
        )
        await register_redis(world, "calm", "zen", new_name(), port=private_redis_server.port)
        postgres.calm_server = redis_patient.pid
        return postgres
    await register_redis(
        world,
        "stricken",
        "acme",
        redis_patient.name,
        port=redis_patient.proxy.port,
        user=ROLE,
        password=Secret(PASSWORD),
    )
    server = private_postgres_server
    await register_postgres(
        world,
        "calm",
        "zen",
        new_name(),
        url=Secret(f"postgresql://{server.host}:{server.port}/{database}"),
        user=Secret(server.user),
        password=Secret(server.password),
    )
    redis_patient.calm_server = postgres.pid
    return redis_patient


def questions(patient: Patient) -> tuple[Callable[[Any], Awaitable[None]], Callable[[Any], Awaitable[None]]]:
    """How callers of the stricken and of the calm one ask."""
    return (ask_sql, ask_redis) if patient.process.name == "postgres" else (ask_redis, ask_sql)


def is_stricken(event: Event) -> bool:
    """Whether the event is about the stricken one."""
    return event.resource_id == "stricken"


def falls(event: Event) -> bool:
    """Its health fell."""
    return is_stricken(event) and isinstance(event, HealthChanged) and event.new == "unhealthy"


def is_released(event: Event) -> bool:
    """It came out of quarantine."""
    return is_stricken(event) and isinstance(event, QuarantineReleased)


def is_noticed(event: Event) -> bool:
    """An instance was found to be lost, or one could not be made."""
    lost = {
        CleanupReason.BROKEN,
        CleanupReason.HEALTH_CHECK_FAILED,
        CleanupReason.BODY_FAILED,
        CleanupReason.RECYCLE_FAILED,
    }
    retired = isinstance(event, InstanceRetired) and event.reason in lost
    return is_stricken(event) and (retired or isinstance(event, ErrorOccurred))


STORY = re.compile("[HU]*U[HU]*(Q[AHU]*RO[HU]*)+(Q[AHU]*)?")
"""It falls, then it is quarantined, then tried in vain, then with success, and only then released; perhaps again."""


def letter(event: Event) -> str:
    """An event as one letter of the story; none for what is not part of it."""
    match event:
        case HealthChanged():
            return "U" if event.new == "unhealthy" else "H"
        case Quarantined():
            return "Q"
        case RecoveryAttempted():
            return "R" if event.outcome == "recovered" else "A"
        case QuarantineReleased():
            return "O"
        case _:
            return ""


def assert_nobody_waited(world: FaultWorld) -> None:
    """No acquire went on beyond its timeout and 10 %."""
    assert max(world.acquires) <= ACQUIRE * 1.1 + NOISE


def assert_calm(world: FaultWorld, before: int) -> None:
    """The other tenant is served as quickly as before.

    Its p99 is within 1.5 × of before, or quick. What the machine makes a use wait for a processor is not in it: the
    kernel tells that for each thread. Moreover the processor time of our thread during a use: nine of ten uses are held to
    1.5 × there (the p99 of some fifty uses would be the worst of them), and two milliseconds. The same work takes
    more of that time on a processor that others use at once, so what counts is by how much more than for a piece of
    work that is always the same, done at the same moments.
    """
    quiet, loud = world.calm[:before], world.calm[before:]
    works = [quantile([use.work for use in part], 0.9) for part in (quiet, loud)]
    paces = [quantile([use.pace for use in part], 0.9) for part in (quiet, loud)]
    slower = max(1.0, paces[1] / paces[0])
    assert works[1] <= (1.5 * works[0] + 0.002) * slower, (
        f"p90 of our own work {works[0] * 1000:.1f} ms before, {works[1] * 1000:.1f} ms during, "
        f"the same work {slower:.1f} × slower"
    )
    took = [quantile([use.took for use in part], 0.99) for part in (quiet, loud)]
    assert took[1] <= max(1.5 * took[0], QUICK), (
        f"p99 {took[0] * 1000:.1f} ms before, {took[1] * 1000:.1f} ms during"
    )


def assert_lost_and_replaced(world: FaultWorld, began: float) -> None:
    """What was lost is retired, then cleaned up; another is made; it never fell, or the whole story was told."""
    told = [event for at, event in world.events if at >= began and is_stricken(event)]
    kinds = [type(event) for event in told]
    lost = next(number for number, event in enumerate(told) if is_noticed(event))
    assert Created in kinds[lost:], "another one"
    under_way = 0
    for event in [event for _, event in world.events if is_stricken(event)]:
        under_way += isinstance(event, InstanceRetired) - isinstance(event, CleanedUp)
        assert under_way >= 0, "nothing is cleaned up that was not retired"
    assert re.fullmatch(f"H*|{STORY.pattern}", "".join(map(letter, told)))


async def assert_nothing_left(world: FaultWorld, patient: Patient) -> None:
    """Before the shutdown the server has the connections that the pool knows of and no more; after it none of ours."""
    pool = world.manager.registry.resolve("stricken", None).pool
    async with asyncio.timeout(5):
        while await _apart(patient.command, "count") != pool.ledger.size:  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.01)
    await world.manager.shutdown(drain=1.0)
    async with asyncio.timeout(5):
        while await _apart(patient.command, "count"):  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.01)


# ── proofs ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", LASTING)
async def test_an_outage_is_noticed_endured_and_over_by_itself(
    world: FaultWorld, stricken: Patient, fault: str
) -> None:
    """Quarantined within its interval, tried, released when the server is back; callers and others unharmed."""
    strike, heal = LASTING[fault]
    loop = asyncio.get_running_loop()
    async with callers(world, *questions(stricken), stricken.calm_server):
        before = await world.before_the_fault()
        waits, began = Waits(), loop.time()
        await strike(stricken)
        waits.take()
        struck = loop.time()
        try:
            fell = await world.until(falls, since=began)
            assert fell - struck - waits.take() <= DETECTED_WITHIN + NOISE + (
                GRACE if stricken.process.name == "postgres" else 0
            )
            await asyncio.sleep(DOWN_FOR)
            await world.used(before + USES_DURING)
        finally:
            await heal(stricken)
            if stricken.process.name == "redis":
                await restore_password(stricken)  # its users are gone with its process
        await world.until(is_released, since=fell)
        await world.served_again()
        assert_calm(world, before)
    assert_nobody_waited(world)
    told = "".join(letter(event) for at, event in world.events if at >= began and is_stricken(event))
    assert STORY.fullmatch(told), f"it was told as {told}"
    await assert_nothing_left(world, stricken)


@pytest.mark.parametrize("fault", SHORT)
async def test_what_is_over_at_once_costs_instances_and_nothing_else(
    world: FaultWorld, stricken: Patient, fault: str
) -> None:
    """Lost connections are found and replaced, by whoever notices first; callers go on, and the events tell it so."""
    loop = asyncio.get_running_loop()
    async with callers(world, *questions(stricken), stricken.calm_server):
        before = await world.before_the_fault()
        waits, began = Waits(), loop.time()
        await SHORT[fault](stricken)
        if stricken.process.name == "redis":
            await restore_password(stricken)
        waits.take()
        over = loop.time()
        noticed = await world.until(is_noticed, since=began)
        assert noticed - over - waits.take() <= DETECTED_WITHIN + NOISE
        await world.served_again()
        await world.used(before + USES_DURING)
        await world.served_again()
        assert_calm(world, before)
    assert_nobody_waited(world)
    assert_lost_and_replaced(world, began)
    await assert_nothing_left(world, stricken)


async def test_servers_that_are_away_at_the_start_and_again_while_nobody_calls(
    world: FaultWorld, postgres: Patient, redis_patient: Patient, private_postgres_server: PostgresServer
) -> None:
    """Registered during an outage they open by themselves; that they fall silent is noticed by checks alone, in time."""
    loop = asyncio.get_running_loop()
    patients = {"database": postgres, "store": redis_patient}
    url = f"postgresql://127.0.0.1:{postgres.proxy.port}/{private_postgres_server.database}"
    login = {"user": Secret(ROLE), "password": Secret(PASSWORD)}

    async def all_of(kind: type[Event], since: float, **fields: str) -> dict[str, float]:
        return {
            key: await world.until(
                lambda event, key=key: (  # type: ignore[misc]  # a default of a lambda
                    isinstance(event, kind)
                    and event.resource_id == key
                    and all(getattr(event, name) == held for name, held in fields.items())
                ),
                since=since,
            )
            for key in patients
        }

    for patient in patients.values():
        await refuse(patient)
    began = loop.time()
    await register_postgres(world, "database", "acme", postgres.name, url=Secret(url), **login)
    await register_redis(
        world,
        "store",
        "acme",
        redis_patient.name,
        port=redis_patient.proxy.port,
        user=ROLE,
        password=Secret(PASSWORD),
    )
    await all_of(Quarantined, began)
    for patient in patients.values():
        await heal_proxy(patient)
    await all_of(QuarantineReleased, began)
    await all_of(HealthChanged, began, new="healthy")
    waits, struck = Waits(), loop.time()
    for patient in patients.values():
        await black_hole(patient)
    fell = await all_of(HealthChanged, struck, new="unhealthy")
    waited = waits.take()
    assert fell["store"] - struck - waited <= DETECTED_WITHIN + NOISE
    assert fell["database"] - struck - waited <= DETECTED_WITHIN + NOISE + GRACE
    await all_of(Quarantined, struck)
    for patient in patients.values():
        await heal_proxy(patient)
    await all_of(QuarantineReleased, struck)
    for key in patients:
        async with world.manager.acquire(key, world.acme, timeout=2) as instance:
            await (ask_sql if key == "database" else ask_redis)(instance)
        told = "".join(letter(event) for _, event in world.events if event.resource_id == key)
        # With nobody calling it is half open still: one failed create is enough, and may be told before its health.
        assert re.fullmatch("(Q[AHU]*RO[HU]*){2,}(Q[AHU]*)?", told), f"{key} was told as {told}"
    await world.manager.shutdown(drain=1.0)
    async with asyncio.timeout(5):
        while sum([await _apart(each.command, "count") for each in patients.values()]):  # noqa: ASYNC110  # the same
            await asyncio.sleep(0.01)


async def test_a_killed_root_takes_its_dependents_along_and_back(
    world: FaultWorld, postgres: Patient, private_postgres_server: PostgresServer
) -> None:
    """Six resources of one server, one of them the root: one incident, one recovery of each, and nobody's help."""
    loop = asyncio.get_running_loop()
    url = f"postgresql://127.0.0.1:{postgres.proxy.port}/{private_postgres_server.database}"
    keys = ["root", *(f"part-{number}" for number in range(5))]
    for key in keys:
        config = SqlAlchemyConfig(
            url=Secret(url),
            user=Secret(ROLE),
            password=Secret(PASSWORD),
            postgres=PostgresOptions(application_name=postgres.name),
            connect_timeout=5.0,
        )
        needs = () if key == "root" else ("root",)
        # With time for each step: a killed server refuses at once, and a machine that stands still fells none of them.
        await world.manager.register(
            SqlAlchemyResource(key, dependencies=needs), config, pool=CALM_POOL, health=CALM_HEALTH
        )
    began = loop.time()
    await kill(postgres)
    try:
        await world.until(lambda event: isinstance(event, CascadeDetected), since=began)
        await asyncio.sleep(DOWN_FOR)
    finally:
        await start(postgres)
    await world.until(lambda event: isinstance(event, CascadeResolved), since=began)
    incidents = [event for _, event in world.events if isinstance(event, CascadeDetected | CascadeResolved)]
    assert [type(event) for event in incidents] == [CascadeDetected, CascadeResolved]
    released = [event.resource_id for _, event in world.events if isinstance(event, QuarantineReleased)]
    assert released[0] == "root"
    assert sorted(map(str, released)) == sorted(keys), "each once"
    for key in keys:
        async with world.manager.acquire(key, timeout=2) as session:
            await ask_sql(session)
    await world.manager.shutdown(drain=1.0)
    async with asyncio.timeout(5):
        while await _apart(postgres.command, "count"):  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.01)
