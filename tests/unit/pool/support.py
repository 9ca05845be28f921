"""What the tests of a pool share: a pool that is checked when its test ends, and an observer that writes down."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from nebula_resource.model.ports import Capacity, PoolObserver
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.pool.deadlines import Deadlines
from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import MockInstance, MockResource

MockPool = Pool[Any, MockInstance, Any]


class Notes(PoolObserver):
    """Writes down everything a pool tells, with the moment."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    def of(self, kind: str) -> list[Any]:
        """What was told of one kind: the value, a tuple of several, or None where there is none."""
        told = [note[1:] for note in self.notes if note[0] == kind]
        return [each[0] if len(each) == 1 else each or None for each in told]

    def created(self, seconds: float) -> None:
        self.notes.append(("created", seconds))

    def create_failed(self, error: BaseException) -> None:
        self.notes.append(("create_failed", error))

    def validation_failed(self, error: BaseException | None) -> None:
        self.notes.append(("validation_failed", error))

    def body_failed(self, error: BaseException) -> None:
        self.notes.append(("body_failed", error))

    def retired(self, reason: CleanupReason) -> None:
        self.notes.append(("retired", reason))

    def cleaned_up(self, reason: CleanupReason, error: BaseException | None, seconds: float | None) -> None:
        self.notes.append(("cleaned_up", reason, error, seconds))

    def rejected(self, reason: str, waited_s: float) -> None:
        self.notes.append(("rejected", reason, waited_s))

    def leaked(self, held_s: float, where: Sequence[str]) -> None:
        self.notes.append(("leaked", held_s, tuple(where)))

    def circuit_opened(self, operation: str, retry_after: float) -> None:
        self.notes.append(("circuit_opened", operation, retry_after))

    def circuit_closed(self, operation: str) -> None:
        self.notes.append(("circuit_closed", operation))

    def resized(self, min_size: int, max_size: int, *, old_min_size: int, old_max_size: int) -> None:
        self.notes.append(("resized", min_size, max_size, old_min_size, old_max_size))

    def draining(self) -> None:
        self.notes.append(("draining",))

    def drained(self) -> None:
        self.notes.append(("drained",))

    def suspended(self) -> None:
        self.notes.append(("suspended",))

    def resumed(self) -> None:
        self.notes.append(("resumed",))

    def loop_blocked(self, step: str, seconds: float) -> None:
        self.notes.append(("loop_blocked", step, seconds))

    def failed(self, error: BaseException) -> None:
        self.notes.append(("failed", error))


class Hooked(Notes):
    """An observer with hooks around creations and cleanups."""

    hooks_create = True
    hooks_cleanup = True

    def __init__(self, before: BaseException | None = None) -> None:
        super().__init__()
        self.before = before

    async def before_create(self) -> object:
        if self.before is not None:
            raise self.before
        return "token"

    async def after_create(self, token: object, error: BaseException | None) -> None:
        self.notes.append(("after_create", token, error))

    async def before_cleanup(self, reason: CleanupReason) -> object:
        if self.before is not None:
            raise self.before
        return "token"

    async def after_cleanup(self, token: object, reason: CleanupReason, error: BaseException | None) -> None:
        self.notes.append(("after_cleanup", token, reason, error))


class Stubborn:
    """A step that ignores its cancellation until it is let go, and then ends well or with an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.let_go = asyncio.Event()
        self.error = error

    async def __call__(self) -> None:
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                pass
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def opened(
    resource: MockResource | None = None,
    *,
    observer: PoolObserver | None = None,
    capacity: Capacity | None = None,
    **settings: Any,
) -> AsyncGenerator[MockPool]:
    """An open pool; when the block ends it is checked, closed and checked again, and its server must be empty.

    ``min_size`` is 0 unless given, so that a test sees only the creations it asked for.
    """
    resource = resource or MockResource()
    pool: MockPool = Pool(
        resource, None, PoolConfig.of({"min_size": 0} | settings), capacity=capacity, observer=observer
    )
    await pool.open()
    try:
        yield pool
        assert_sound(pool)
    finally:
        await pool.close(0.0)
    assert_sound(pool)
    assert not timers_of_pools(), f"timers outlive their pool: {timers_of_pools()}"
    detached = pool.stats().destroyed.get("detached", 0)
    assert len(resource.alive) == detached, f"left on the server: {resource.alive}"


def timers_of_pools() -> list[asyncio.TimerHandle]:
    """What the loop is to call later for any pool; what was taken back does not count, nor do limits of its steps."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # the loop's heap
    return [
        timer
        for timer in scheduled
        if not timer.cancelled()
        and not isinstance(getattr(timer._callback, "__self__", None), Deadlines)  # type: ignore[attr-defined]  # no other way to ask
        and (getattr(timer._callback, "__module__", None) or "").startswith("nebula_resource.pool")  # type: ignore[attr-defined]  # the same
    ]


async def turns(count: int = 5) -> None:
    """Let every task that is ready run, without time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


async def take(pool: MockPool, count: int) -> list[Any]:
    """So many handles at once."""
    return [await pool.acquire() for _ in range(count)]


def now() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()
