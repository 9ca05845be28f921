"""FaultWorld: a stricken resource and a calm tenant under load, with the story of what happened to both."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (  # as redis has them
    AuthenticationError,
    ConnectionError,
    TimeoutError,
)
from sqlalchemy import text

from nebula_resource import (
    HealthPolicy,
    Manager,
    PoolConfig,
    QuarantinePolicy,
    Resource,
    ResourceContext,
    ResourceError,
    Scope,
)
from nebula_resource.events import Event
from nebula_resource.model.config import ResourceConfig, Secret
from nebula_resource.quarantine import RecoveryBackoff
from tests.scenarios.machine import Waits

__all__ = [
    "ACQUIRE",
    "DETECTED_WITHIN",
    "HEALTH",
    "POOL",
    "QUARANTINE",
    "USES_DURING",
    "FaultWorld",
    "RedisConfig",
    "RedisResource",
    "Use",
    "ask_redis",
    "ask_sql",
    "callers",
    "new_name",
    "quantile",
]

INTERVAL, TIMEOUT, THRESHOLD = 0.15, 0.2, 2
HEALTH = HealthPolicy(
    interval=INTERVAL, timeout=TIMEOUT, failure_threshold=THRESHOLD, success_threshold=1, jitter=0
)
QUARANTINE = QuarantinePolicy(
    backoff=RecoveryBackoff(base=0.1, factor=2, max=0.3, jitter=0.2), max_attempts=50
)
ACQUIRE = 0.4  # seconds
DETECTED_WITHIN = THRESHOLD * (INTERVAL + TIMEOUT) + INTERVAL
POOL = PoolConfig(
    min_size=1,
    max_size=4,
    acquire_timeout=ACQUIRE,
    create_timeout=0.3,
    validate_timeout=0.2,
    recycle_timeout=0.2,
    cleanup_timeout=0.5,
    circuit_open_for=0.3,
)
BODY = 0.3  # seconds that a caller gives one question
USES = 50  # of the calm one before a fault, to compare with
USES_DURING = 110  # at least, from its beginning: of so many the p99 is not the worst


class RedisConfig(ResourceConfig):
    """Where a Redis is, and who asks."""

    port: int
    user: str = "default"
    password: Secret | None = None


class RedisResource(Resource[RedisConfig, Any]):
    """One connection per instance; no retries, no pool of redis-py's own."""

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name  # in CLIENT LIST

    async def create(self, config: RedisConfig, context: ResourceContext) -> Any:
        client = redis.asyncio.Redis(
            host="127.0.0.1",
            port=config.port,
            username=config.user,
            password=config.password.get_secret_value() if config.password else None,
            client_name=self.name,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            await client.ping()
        except BaseException:
            await client.aclose()
            raise
        return client

    async def is_valid(self, instance: Any) -> bool:
        return bool(await instance.ping())

    def is_broken(self, instance: Any) -> bool:
        return instance.connection is None or not instance.connection.is_connected

    def is_fault(self, error: BaseException) -> bool:
        return isinstance(error, ConnectionError | TimeoutError | AuthenticationError)

    async def recycle(self, instance: Any) -> None:
        if self.is_broken(instance):
            raise ConnectionResetError("lost")

    async def cleanup(self, instance: Any) -> None:
        await instance.connection.disconnect(nowait=True)
        await instance.aclose()


async def ask_sql(session: Any) -> None:
    """One question to a database."""
    await session.execute(text("SELECT 1"))


async def ask_redis(client: Any) -> None:
    """One question to Redis."""
    await client.ping()


@dataclass(frozen=True, slots=True)
class Use:
    """One whole use of the calm one, in seconds."""

    took: float
    """By the clock, without the time in which we or its server were ready and waited for a processor."""
    work: float
    """Of processor time of our thread meanwhile, for whomever: all by which we ourselves can hold up a use."""
    pace: float
    """Of processor time for a piece of work that is always the same, right after it: more on a processor that others
    use at once, and nothing that the fault costs us is in it."""


class FaultWorld:
    """A manager with two tenants' resources, and callers of both.

    ``stricken`` is in acme's scope, ``calm`` in zen's. Callers of the stricken one live with every error; whoever
    calls the calm one may not meet any.
    """

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.events: list[tuple[float, Event]] = []
        self.acquires: list[float] = []
        """Seconds each acquire of the stricken one took, whatever came of it, without those in which we waited for a
        processor."""
        self.calm: list[Use] = []
        self.served = asyncio.Event()
        self.is_over = False
        """Callers are to end. Cancelling them is not enough: redis-py sends by ``asyncio.wait_for``, which on 3.11 loses
        a cancellation that comes in the moment in which the sending ends."""
        self.acme = ResourceContext(Scope.of(tenant="acme"))
        self.zen = ResourceContext(Scope.of(tenant="zen"))
        manager.events.add_listener(
            lambda event: self.events.append((asyncio.get_running_loop().time(), event)), (Event,)
        )

    async def strike_callers(self, ask: Callable[[Any], Awaitable[None]]) -> None:
        """Call the stricken one for ever."""
        loop, waits = asyncio.get_running_loop(), Waits()
        while not self.is_over:
            waits.take()
            started = loop.time()
            handle = None
            try:
                handle = await self.manager.acquire("stricken", self.acme)
            except ResourceError:
                pass
            finally:
                self.acquires.append(loop.time() - started - waits.take())
            if handle is not None:
                error: BaseException | None = None
                try:
                    async with asyncio.timeout(BODY):
                        await ask(handle.value)
                    self.served.set()
                except (Exception, asyncio.CancelledError) as raised:
                    error = raised
                    if isinstance(raised, asyncio.CancelledError):
                        raise
                finally:
                    with contextlib.suppress(
                        Exception
                    ):  # what a broken commit raises is the caller's to live with
                        await handle.release(error)
            await asyncio.sleep(0.01)

    async def calm_callers(self, ask: Callable[[Any], Awaitable[None]], server: int) -> None:
        """Call the calm one, served by that process, for ever; any error ends the test."""
        loop, waits = asyncio.get_running_loop(), Waits(server)
        while not self.is_over:
            waits.take()
            started, worked = loop.time(), time.thread_time()
            async with self.manager.acquire("calm", self.zen) as instance:
                await ask(instance)
            took, work = loop.time() - started, time.thread_time() - worked
            self.calm.append(Use(took - waits.take(), work, _pace()))
            await asyncio.sleep(0.004)

    async def used(self, times: int) -> None:
        """Wait until the calm one was used so often."""
        async with asyncio.timeout(30):
            while len(self.calm) < times:  # noqa: ASYNC110  # a caller of ours counts, and tells nobody
                await asyncio.sleep(0.005)

    async def before_the_fault(self) -> int:
        """Wait until there are enough uses to compare with, and nothing is wrong with the stricken one.

        A machine that stands still for a moment is a fault, too. Returns how many uses of the calm one there were.
        """
        quarantine, board = self.manager.watch.quarantine, self.manager.watch.board
        id_ = self.manager.registry.resolve("stricken", None).public_id
        async with asyncio.timeout(30):
            while (
                len(self.calm) < USES
                or id_ in quarantine
                or quarantine.admission(id_) is not None
                or board.is_failing(id_)
            ):
                await self.served_again()
        return len(self.calm)

    async def until(self, found: Callable[[Event], bool], *, since: float, within: float = 10.0) -> float:
        """Wait for an event after loop time ``since``; returns when it was told."""
        async with asyncio.timeout(within):
            while True:
                for at, event in self.events:
                    if at >= since and found(event):
                        return at
                await asyncio.sleep(0.005)

    async def served_again(self, within: float = 10.0) -> None:
        """Wait until a caller of the stricken one is served, from now on."""
        self.served.clear()
        async with asyncio.timeout(within):
            await self.served.wait()

    def names(self, since: float) -> list[str]:
        """What the stricken one's listeners were told after ``since``, in order."""
        return [event.name for at, event in self.events if at >= since and event.resource_id == "stricken"]


@asynccontextmanager
async def callers(
    world: FaultWorld,
    stricken: Callable[[Any], Awaitable[None]],
    calm: Callable[[Any], Awaitable[None]],
    calm_server: int,
) -> AsyncGenerator[None]:
    """Three callers of the stricken one, one of the calm one, as long as the block runs.

    However the block ends they are told: a caller that lost its cancellation would keep a failed test for ever.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.strike_callers(stricken)) for _ in range(3)]
        tasks.append(group.create_task(world.calm_callers(calm, calm_server)))
        try:
            await world.served_again()
            yield
        finally:
            world.is_over = True
            for task in tasks:
                task.cancel()


def new_name() -> str:
    """A name under which this test's connections show on the server."""
    return f"nebula-{secrets.token_hex(4)}"


def _pace() -> float:
    """Seconds of processor time for some 50 µs of what a loop's callbacks do: calls, dicts, objects."""
    worked = time.thread_time()
    held = {number: [number] for number in range(100)}
    for number in range(300):
        held[number % 100].append(number)
    return time.thread_time() - worked


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
