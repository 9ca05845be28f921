"""FaultWorld: a stricken resource and a calm tenant under load, with the story of what happened to both."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
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

__all__ = [
    "ACQUIRE",
    "DETECTED_WITHIN",
    "HEALTH",
    "POOL",
    "QUARANTINE",
    "FaultWorld",
    "Noise",
    "RedisConfig",
    "RedisResource",
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


class FaultWorld:
    """A manager with two tenants' resources, and callers of both.

    ``stricken`` is in acme's scope, ``calm`` in zen's. Callers of the stricken one live with every error; whoever
    calls the calm one may not meet any.
    """

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.events: list[tuple[float, Event]] = []
        self.acquires: list[float] = []
        """Seconds each acquire of the stricken one took, whatever came of it."""
        self.calm: list[float] = []
        """Seconds each whole use of the calm one took."""
        self.calm_work: list[float] = []
        """Seconds of processor time that our thread worked meanwhile, for whomever: all by which we ourselves can hold
        up a use, and none of what other processes of the machine take."""
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
        loop = asyncio.get_running_loop()
        while not self.is_over:
            started = loop.time()
            handle = None
            try:
                handle = await self.manager.acquire("stricken", self.acme)
            except ResourceError:
                pass
            finally:
                self.acquires.append(loop.time() - started)
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

    async def calm_callers(self, ask: Callable[[Any], Awaitable[None]]) -> None:
        """Call the calm one for ever; any error ends the test."""
        loop = asyncio.get_running_loop()
        while not self.is_over:
            started, worked = loop.time(), time.thread_time()
            async with self.manager.acquire("calm", self.zen) as instance:
                await ask(instance)
            self.calm.append(loop.time() - started)
            self.calm_work.append(time.thread_time() - worked)
            await asyncio.sleep(0.004)

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
    world: FaultWorld, stricken: Callable[[Any], Awaitable[None]], calm: Callable[[Any], Awaitable[None]]
) -> AsyncGenerator[Noise]:
    """Three callers of the stricken one, one of the calm one, as long as the block runs; gives the machine's noise.

    However the block ends they are told: a caller that lost its cancellation would keep a failed test for ever.
    """
    with Noise() as noise:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(world.strike_callers(stricken)) for _ in range(3)]
            tasks.append(group.create_task(world.calm_callers(calm)))
            try:
                await world.served_again()
                yield noise
            finally:
                world.is_over = True
                for task in tasks:
                    task.cancel()


def new_name() -> str:
    """A name under which this test's connections show on the server."""
    return f"nebula-{secrets.token_hex(4)}"


class Noise:
    """The machine itself: a thread that sleeps 2 ms at a time, notes by how much it overslept, and then does a piece of
    work that is always the same and notes what processor time it took.

    A thread, not a task: what our own loop does to itself must not count as the machine's doing.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._late: list[float] = []
        self._paces: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._measure, name="noise")

    def __enter__(self) -> Noise:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _measure(self) -> None:
        while not self._over.is_set():
            started = time.monotonic()
            time.sleep(0.002)
            self._late.append(time.monotonic() - started - 0.002)
            worked = time.thread_time()
            _same_work()
            self._paces.append((started, time.thread_time() - worked))

    def slowdown(self, since: float, share: float) -> float:
        """How much more processor time the same work took after ``since`` (monotonic) than before, at this quantile; at
        least 1. A processor that others use at once is slower, and a thread's own time does not hide that."""
        before = [took for at, took in self._paces if at < since]
        during = [took for at, took in self._paces if at >= since]
        return max(1.0, quantile(during, share) / quantile(before, share))

    def worst(self) -> float:
        """The longest delay so far, in seconds."""
        return max(self._late, default=0.0)


def _same_work() -> None:
    """Some 50 µs of what a loop's callbacks do: calls, dicts, objects."""
    held = {number: [number] for number in range(100)}
    for number in range(300):
        held[number % 100].append(number)


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
