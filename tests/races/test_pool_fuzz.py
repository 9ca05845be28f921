"""A fuzz: pools of every kind, callers of every kind, operators who do everything, and a close in the middle of it."""

import asyncio
import contextlib
import gc
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nebula_resource import CancellationToken, ResourceContext, Scope
from nebula_resource.errors import ResourceError
from nebula_resource.model.health import Postponed
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import MockError, MockInstance, MockResource, Outcome

SEEDS = range(40)  # the gate plays the same runs every day; whoever hunts moves it
CALLERS = 40
STEPS = ("create", "cleanup", "is_valid", "recycle", "lease_entry", "lease_exit")
LIMIT = 0.5  # seconds for every step
PATIENCE = 60.0  # by then everybody has ended, whatever hangs

FuzzPool = Pool[Any, MockInstance, Any]


class Run:
    """One pool, and everything that happens to it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.tokens: list[CancellationToken] = []
        self.detached: set[MockInstance] = set()
        self.kept = random.Random(seed).sample(STEPS[2:], self.dice.randrange(5))
        """Optional steps that the resource overrides."""
        self.shared = self.dice.random() < 0.3
        self.resource = MockResource(
            **dict.fromkeys((*STEPS[:2], *self.kept), Outcome.OK),  # type: ignore[arg-type]  # names of steps
            slow=LIMIT / 2,
            looks_broken=self.dice.random() < 0.3,
        )
        self.pool: FuzzPool = Pool(self.resource, None, self.config())

    def config(self) -> PoolConfig:
        """Any settings at all."""
        pick = self.dice.choice
        return PoolConfig.of(
            {
                "min_size": pick((0, 1) if self.shared else (0, 1, 2)),
                "max_size": pick((2, 3)),
                "max_waiting": pick((None, None, 5)),
                "acquire_timeout": 3.0,
                "validation_interval": pick((None, 0, 0.3)),
                "keepalive_interval": pick((None, 0.4)) if "is_valid" in self.kept else None,
                "maintenance_interval": pick((None, 0.5)),
                "idle_timeout": pick((None, 1.0)),
                "max_lifetime": pick((None, 2.0)),
                "strategy": pick(("fifo", "lifo")),
                "sharing": "shared" if self.shared else "exclusive",
                "backpressure": pick(("wait", "wait", "wait", "fail_fast")),
                "use_timing": pick(("sampled", "always", "off")),
                "leak_threshold": pick((None, 0.2)),
                "on_error": pick(("recycle", "retire")),
                "circuit_threshold": pick((2, 1000)),
                "circuit_open_for": 0.3,
                **{
                    f"{step}_timeout": LIMIT for step in ("create", "validate", "lease", "recycle", "cleanup")
                },
            }
        )

    def mood(self, step_name: str) -> Callable[[], Awaitable[None]]:
        """How a step goes: mostly well, sometimes late, wrong or never."""

        async def step() -> None:
            throw = self.dice.random()
            if throw < 0.1:
                raise MockError("moody")
            if throw < 0.2:
                await asyncio.sleep(self.dice.choice((0.0, 0.01, LIMIT / 2)))
            elif throw < 0.24:
                await asyncio.get_running_loop().create_future()  # never
            elif throw < 0.26 and not step_name.startswith("lease"):
                raise asyncio.CancelledError  # by itself: a failure like any other (of a lease, its caller's own)

        return step

    # ── callers ──

    def context(self) -> ResourceContext | None:
        """None, a deadline, a token, or both."""
        throw = self.dice.random()
        if throw < 0.5:
            return None
        token = CancellationToken() if throw < 0.8 else None
        if token is not None:
            self.tokens.append(token)
        deadline = asyncio.get_running_loop().time() + self.dice.random() if throw > 0.7 else None
        return ResourceContext(Scope.tenant("acme"), deadline=deadline, cancellation=token)

    async def call(self) -> None:
        """One caller; the errors that the pool may tell it are no failures of the run."""
        await asyncio.sleep(self.dice.choice((0.0, 0.0, 0.1, 1.0)))
        with contextlib.suppress(ResourceError, MockError):
            if self.dice.random() < 0.6:
                limit = self.dice.choice((None, None, 0.0, 0.3))
                async with self.pool.acquire(self.context(), timeout=limit) as value:
                    await self.use(value)
            else:
                await self.hold(await self.pool.acquire(self.context()))

    async def use(self, value: Any) -> None:
        """The body of a use."""
        instance: MockInstance = getattr(value, "instance", value)
        with contextlib.nullcontext() if self.shared else instance.used():
            await asyncio.sleep(self.dice.choice((0.0, 0.0, 0.01, 0.3)))
            instance.broken = self.dice.random() < 0.1
            if self.dice.random() < 0.1:
                raise MockError("body")

    async def hold(self, handle: Any) -> None:
        """A handle in the hands of somebody who does what they like with it."""
        throw = self.dice.random()
        if throw < 0.1:
            return  # dropped: the garbage collector brings it back
        if throw < 0.2:
            handle.taint("fuzz")
        if (
            0.2 < throw < 0.3
            and not self.shared
            and "lease_entry" not in self.kept
            and "lease_exit" not in self.kept
        ):
            self.detached.add(handle.detach())
            return
        async with handle as value:
            await self.use(value)

    # ── operators ──

    async def meddle(self) -> None:
        """Somebody turns a knob, or everybody gives up."""
        pool, dice = self.pool, self.dice
        knobs: list[Callable[[], Any]] = [
            pool.suspend,
            lambda: pool.suspend(fail=True),
            pool.resume,
            pool.resume,
            lambda: pool.resize(max_size=dice.choice((2, 3, 4))),
            lambda: pool.scale_down(1),
            lambda: pool.retain(lambda instance: instance.number % 2 == 0),
            lambda: pool.retire_where(lambda instance: instance.number % 3 == 0),
            pool.recycle_all,
            pool.spare,
            pool.grant,
            lambda: pool.fail_line(lambda: MockError("refused")),
            lambda: pool.drain(0.1),
            lambda: pool.scale_up(2),
            self.probe,
            gc.collect,
            self.call_off,
        ]
        with contextlib.suppress(ResourceError, MockError):
            result = dice.choice(knobs)()
            if isinstance(result, Awaitable):
                await result

    def call_off(self) -> None:
        """Some tokens are cancelled, and everybody who waits by them is called off."""
        for token in self.dice.sample(self.tokens, min(3, len(self.tokens))):
            token.cancel()

    async def probe(self) -> None:
        """A health probe beside everything."""
        with contextlib.suppress(Postponed):
            async with self.pool.borrow(fresh=self.dice.random() < 0.5):
                await asyncio.sleep(self.dice.choice((0.0, 0.1)))

    # ── the run ──

    async def play(self) -> None:
        """Everything at once, to its end. Raises AssertionError and InternalError where a promise is broken."""
        pool, dice = self.pool, self.dice
        await pool.open()
        for step in (*STEPS[:2], *self.kept):
            self.resource.script(step, self.mood(step))
        tasks = [asyncio.create_task(self.call()) for _ in range(CALLERS)]
        asked: set[asyncio.Task[None]] = set()
        meddlers: list[asyncio.Task[None]] = []
        for _ in range(dice.choice((20, 200))):
            if dice.random() < 0.3:
                victim = dice.choice(tasks)
                if victim.cancel():
                    asked.add(victim)
            if dice.random() < 0.3:
                meddlers.append(asyncio.create_task(self.meddle()))
            assert_sound(pool)
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.0, 0.05)))
        if pool.stats().state != "open" and dice.random() < 0.5:
            pool.resume()
        if dice.random() < 0.5:
            _, pending = await asyncio.wait(tasks, timeout=PATIENCE)
            stuck = [task for task in pending if pool.stats().state == "open"]
            assert not stuck, f"nobody serves {len(stuck)}: {pool!r}"
        await pool.close(dice.choice((0.0, 0.2, 5.0)))
        _, pending = await asyncio.wait([*tasks, *meddlers], timeout=PATIENCE)
        assert not pending, f"without an end: {pending}"
        assert {task for task in tasks if task.cancelled()} == asked, "a cancellation swallowed, or made up"
        for task in (*tasks, *meddlers):
            if not task.cancelled():
                task.result()
        self.end()

    def end(self) -> None:
        """What must be true of a closed pool."""
        assert_sound(self.pool)
        stats = self.pool.stats()
        assert (stats.state, stats.size, stats.in_use, stats.waiting) == ("closed", 0, 0, 0)
        assert self.resource.alive == {instance for instance in self.detached if instance.is_open}


@pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning"
)  # of callers that never began
@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_nobody_starves_and_nothing_is_lost(seed: int) -> None:
    """Sound after each turn; everybody ends; no cancellation is swallowed; nothing is left when it is closed."""
    await Run(seed).play()
    gc.collect()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=PATIENCE)
    assert not asyncio.all_tasks() - {asyncio.current_task()}
