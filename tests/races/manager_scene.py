"""A manager to which everything happens at once: who is registered, who calls, what operators do, what must hold afterwards."""

import asyncio
import contextlib
import gc
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nebula_resource import (
    OFF,
    CancellationToken,
    HealthPolicy,
    Manager,
    QuarantinePolicy,
    ResourceContext,
    Scope,
)
from nebula_resource.errors import ResourceError
from nebula_resource.events import Acquired, Released
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from nebula_resource.manager import Registration, RegistrationState
from nebula_resource.manager.creation import Dependencies
from nebula_resource.model.backoff import Backoff
from nebula_resource.pool.state import PoolState
from nebula_resource.quarantine import RecoveryBackoff
from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import MockError, MockInstance, MockResource, Outcome

LIMIT = 0.5  # seconds for every step
PATIENCE = 200.0  # by then everybody has ended, whatever hangs
HEALED = (
    400.0  # by then everything that can be had is served again: recoveries wait up to 60 s, parked ones 300 s
)
ENOUGH = 64  # instances, so that none that holds what it needs keeps another from it
STEPS = ("create", "cleanup", "is_valid", "recycle", "lease_entry", "lease_exit")
NEEDS = {"db": (), "cache": (), "repo": ("db",), "api": ("repo", "cache"), "jobs": ("db", "cache")}
SCOPES = (Scope.GLOBAL, Scope.GLOBAL, Scope.tenant("acme"), Scope.tenant("zeta"))
CALLERS = (Scope.GLOBAL, Scope.tenant("acme"), Scope.user("u1", tenant="acme"), Scope.tenant("zeta"))


class Part(MockResource):
    """Holds what it needs as long as an instance lives, or for the moment of its creation."""

    def __init__(self, id: str, steps: Sequence[str], *, keeps: bool) -> None:
        super().__init__(id, **dict.fromkeys(steps, Outcome.OK), slow=LIMIT / 2)  # type: ignore[arg-type]  # names of steps
        self.dependencies = NEEDS[id]
        self.steps = ("create", "cleanup", *steps)
        self.keeps = keeps

    async def create(self, config: Any, context: ResourceContext) -> MockInstance:
        """Make one from what it needs."""
        for key in self.dependencies:
            if self.keeps:
                await context.dependency(key)
            else:
                async with context.dependency(key):
                    await asyncio.sleep(0)
        return await super().create(config, context)


class Moody(ResourceHook):
    """Stands beside everything, and is no help."""

    name = "moody"
    events = frozenset(HookEvent) - {HookEvent.HEALTH_CHANGED}

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    async def before(self, event: HookPayload) -> None:
        """Take a moment, or fail."""
        await self._linger()

    async def after(self, event: HookPayload, result: object) -> None:
        """The same."""
        await self._linger()

    async def _linger(self) -> None:
        if self.dice.random() < 0.3:
            await asyncio.sleep(self.dice.choice((0.0, 0.01, 0.3)))
        if self.dice.random() < 0.1:
            raise MockError("a hook")


class World:
    """One manager, and everything that happens to it. Raises AssertionError where a promise is broken."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        random.seed(seed)  # what draws life times
        self.parts: list[Part] = []
        self.tokens: list[CancellationToken] = []
        self.going = True
        self.is_calm = False
        self.manager = Manager(
            strategy=self.dice.choice(("hierarchical", "hierarchical", "strict")),
            # No spread: it is the one thing that a seed would not repeat.
            health=self.dice.choice(
                (OFF, HealthPolicy(interval=2.0, timeout=LIMIT, jitter=0), HealthPolicy(jitter=0))
            ),
            quarantine=self.dice.choice(
                (OFF, QuarantinePolicy(backoff=RecoveryBackoff(base=0.2, max=2.0, jitter=0)))
            ),
        )

    # ── what is registered ──

    def part(self, key: str) -> Part:
        """A resource of this id, of any kind."""
        steps = self.dice.sample(STEPS[2:], self.dice.randrange(5))
        part = Part(key, steps, keeps=self.dice.random() < 0.7)
        for step in part.steps:
            part.script(step, self.mood(step))
        self.parts.append(part)
        return part

    def mood(self, step_name: str) -> Callable[[], Awaitable[None]]:
        """How a step goes: mostly well, sometimes late, wrong or never."""

        async def step() -> None:
            throw = self.dice.random()
            if self.is_calm or throw > 0.24:
                return
            if throw < 0.1:
                raise MockError("moody")
            if throw < 0.2:
                await asyncio.sleep(self.dice.choice((0.0, 0.01, LIMIT / 2)))
            elif throw < 0.22:
                await asyncio.get_running_loop().create_future()  # never
            elif not step_name.startswith("lease"):
                raise asyncio.CancelledError  # by itself: a failure like any other (of a lease, its caller's own)

        return step

    def settings(self) -> dict[str, Any]:
        """Any settings at all, with short times."""
        pick = self.dice.choice
        shared = self.dice.random() < 0.2
        return {
            "min_size": pick((0, 1)),
            "max_size": pick((2, 3, 4)),
            "max_waiting": pick((None, None, 5)),
            "acquire_timeout": 3.0,
            "validation_interval": pick((None, 0, 0.3)),
            "maintenance_interval": pick((None, 0.5)),
            "idle_timeout": pick((None, 1.0)),
            "max_lifetime": pick((None, 2.0)),
            "sharing": "shared" if shared else "exclusive",
            "use_timing": pick(("sampled", "always")),
            "leak_threshold": pick((None, None, 0.2)),
            "circuit_threshold": pick((2, 1000)),
            "circuit_open_for": 0.3,
            "create_backoff": Backoff(base=0.2, max=2.0, jitter=0),
            **{f"{step}_timeout": LIMIT for step in ("create", "validate", "lease", "recycle", "cleanup")},
        }

    async def register(self) -> None:
        """One more, or another in the place of one."""
        dice = self.dice
        await self.manager.register(
            self.part(dice.choice(tuple(NEEDS))),
            pool=self.settings(),
            scope=dice.choice(SCOPES),
            required=dice.random() < 0.2,
            replace=dice.random() < 0.4,
        )

    # ── callers ──

    def context(self) -> ResourceContext | None:
        """None, or somebody's, with a deadline, a token, or both."""
        throw = self.dice.random()
        if throw < 0.4:
            return None
        token = CancellationToken() if throw < 0.7 else None
        if token is not None:
            self.tokens.append(token)
        deadline = asyncio.get_running_loop().time() + self.dice.random() if throw > 0.6 else None
        return ResourceContext(self.dice.choice(CALLERS), deadline=deadline, cancellation=token)

    async def call(self) -> None:
        """One caller, in one of the ways in."""
        key, dice = self.dice.choice(tuple(NEEDS)), self.dice
        throw = dice.random()
        if throw < 0.4:
            async with self.manager.acquire(
                key, self.context(), timeout=dice.choice((None, 0.0, 0.3))
            ) as value:
                assert value.is_open, f"{value!r} was closed before it was lent"
                await self.use(value)
        elif throw < 0.6:
            handle = await self.manager.acquire(key, self.context())
            if dice.random() < 0.1:
                return  # dropped: the garbage collector brings it back
            assert handle.value.is_open, f"{handle!r} was closed before it was lent"
            async with handle as value:
                await self.use(value)
        else:
            await self.request(key)

    async def request(self, key: str) -> None:
        """An open scope in which several ask for the same and for something else."""
        async with self.manager.scope(self.context() or self.dice.choice(CALLERS)) as scope:
            for each in (key, key, self.dice.choice(tuple(NEEDS))):
                await self.use(await scope.get(each))

    async def use(self, value: Any) -> None:
        """The body of a use."""
        await asyncio.sleep(self.dice.choice((0.0, 0.0, 0.01, 0.3)))
        if self.dice.random() < 0.1:
            raise MockError("body")

    # ── operators ──

    def one(self) -> Registration:
        """Any registration; LookupError when there is none."""
        found = self.manager.pools()
        if not found:
            raise LookupError
        return self.dice.choice(found)

    async def meddle(self) -> None:
        """Somebody turns a knob."""
        manager, dice = self.manager, self.dice
        one = self.one()
        key = one.public_id
        knobs: list[Callable[[], Any]] = [
            self.register,
            self.register,
            lambda: manager.deregister(key, cascade=dice.random() < 0.7),
            lambda: manager.reload(key, {"number": dice.random()}, pool=self.settings()),
            self.replace_all,
            lambda: manager.quarantine(key, "fuzz", expires_in=dice.choice((None, 1.0))),
            lambda: manager.release(key, dice.choice(("probe", "force"))),
            lambda: manager.check(key),
            lambda: manager.resize(key, max_size=dice.choice((2, 3, 4))),
            lambda: manager.drain(key, timeout=0.2),
            lambda: manager.resume(key),
            lambda: manager.resume(key),
            lambda: manager.recycle(key),
            lambda: one.pool.suspend(fail=dice.random() < 0.5),
            lambda: one.pool.scale_up(1),
            lambda: manager.shutdown_scope(
                dice.choice(SCOPES[2:]), drain=dice.choice((0.0, 0.5)), cleanup=1.0, terminate=1.0
            ),
            self.hook,
            self.listen,
            self.call_off,
            gc.collect,
        ]
        result = dice.choice(knobs)()
        if isinstance(result, Awaitable):
            await result

    async def replace_all(self) -> None:
        """Several at once, or none."""
        chosen = self.dice.sample(self.manager.pools(), min(2, len(self.manager.pools())))
        await self.manager.replace_all(
            [
                self.manager.propose(self.part(each.key), pool=self.settings(), scope=each.scope)
                for each in chosen
            ]
        )

    def hook(self) -> None:
        """A hook comes or goes."""
        if len(self.manager.hooks):
            self.manager.hooks.remove("moody")
        else:
            self.manager.hooks.add(Moody(self.dice))

    def listen(self) -> None:
        """Somebody listens, and goes."""
        subscription = self.manager.subscribe((Acquired, Released))
        asyncio.get_running_loop().call_later(0.3, subscription.close)

    def call_off(self) -> None:
        """Everybody who waits by these tokens is called off."""
        for token in self.dice.sample(self.tokens, min(3, len(self.tokens))):
            token.cancel()

    # ── the run ──

    async def play(self) -> None:
        """Everything at once, to its end."""
        dice = self.dice
        for _ in range(dice.choice((2, 6))):
            with contextlib.suppress(ResourceError, MockError, asyncio.CancelledError):
                await self.register()
        tasks: list[asyncio.Task[None]] = []
        asked: set[asyncio.Task[None]] = set()
        for _ in range(dice.choice((30, 200))):
            if dice.random() < 0.6:
                tasks.append(asyncio.create_task(self.call()))
            if dice.random() < 0.3:
                tasks.append(asyncio.create_task(self.meddle()))
            if tasks and dice.random() < 0.2:
                victim = dice.choice(tasks)
                if victim.cancel():
                    asked.add(victim)
            self.sound()
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.0, 0.05)))
        if dice.random() < 0.7:
            await self.calm(tasks)
        self.going = False
        tasks.append(asyncio.create_task(self.shut_down()))
        await self.ended(tasks, asked)
        await self.end()

    async def calm(self, tasks: list[asyncio.Task[None]]) -> None:
        """Every step goes well, nobody comes any more: whatever can be had is served, and nothing is out."""
        self.is_calm = True
        _, pending = await asyncio.wait(tasks, timeout=PATIENCE)
        assert not pending, f"nobody serves {pending}"
        gc.collect()
        if len(self.manager.hooks):
            self.hook()
        for each in self.manager.pools():
            if each.public_id in self.manager.watch.quarantine:
                with contextlib.suppress(ResourceError):
                    await self.manager.release(each.public_id, "force")
            if (
                each.pool.state in {PoolState.SUSPENDED, PoolState.DRAINING, PoolState.DRAINED}
                and not each.is_going
            ):
                each.pool.resume()
            each.pool.resize(max_size=ENOUGH)
        await asyncio.sleep(HEALED)
        self.sound()
        for each in self.manager.pools():
            await self.serves(each)
        await asyncio.sleep(LIMIT)
        gc.collect()
        await asyncio.sleep(LIMIT)
        for each in self.manager.pools():
            held = self.held_from(each)
            stats = each.pool.stats()
            assert (stats.in_use, stats.waiting) == (held, 0), (
                f"{each!r} {each.pool!r}: {held} are held by others"
            )
        assert not sum(self.manager.open_scopes.values())

    async def serves(self, registration: Registration) -> None:
        """It serves whom it should, unless it waits for what nobody has registered."""
        manager = self.manager
        if registration.is_open and registration.refusal is None:
            async with asyncio.timeout(10):
                async with manager.acquire(
                    registration.key, ResourceContext(registration.scope), strategy="strict"
                ):
                    pass
            return
        missing = manager._startup.missing(registration)
        assert (
            registration.is_going
            or missing is not None
            or registration.quarantine is None
            or self._root_is_out(registration)
        ), f"{registration!r} does not come back"

    def _root_is_out(self, registration: Registration) -> bool:
        return registration.public_id in self.manager.watch.quarantine

    def held_from(self, registration: Registration) -> int:
        """How many of its instances are held by other instances."""
        return len(
            {
                handle._entry
                for each in self.manager.pools()
                for above in (each.pool, *self.manager._reload.beside(each))
                for entry in above.ledger.entries
                if isinstance(entry.dependencies, Dependencies)
                for handle in entry.dependencies._held
                if handle.is_from(registration.pool)
            }
        )

    def sound(self) -> None:
        """What holds at every moment."""
        for each in self.manager.pools():
            for pool in (each.pool, *self.manager._reload.beside(each)):
                pool.check()
            if each.take is not None:
                assert each.refusal is None
                assert each.is_open

    async def shut_down(self) -> None:
        """The end of it."""
        dice = self.dice
        await self.manager.shutdown(drain=dice.choice((0.0, 0.5, 5.0)), cleanup=2.0, terminate=2.0)

    async def ended(self, tasks: list[asyncio.Task[None]], asked: set[asyncio.Task[None]]) -> None:
        """Everybody ends, with an error of ours or a user's, or with the cancellation they were asked for."""
        _, pending = await asyncio.wait(tasks, timeout=PATIENCE)
        assert not pending, f"without an end: {pending}"
        cancelled = {task for task in tasks if task.cancelled()}
        assert cancelled == asked, f"swallowed: {asked - cancelled}, made up: {cancelled - asked}"
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            several = error.exceptions if isinstance(error, ExceptionGroup) else (error,)  # of `replace_all`
            if error is not None and not all(
                isinstance(each, ResourceError | MockError | LookupError) for each in several
            ):
                raise error

    async def end(self) -> None:
        """What must be true of a manager that is shut down."""
        manager = self.manager
        gc.collect()
        await asyncio.sleep(PATIENCE)
        for each in manager.pools():
            assert each.state is RegistrationState.CLOSED
            assert_sound(each.pool)
            stats = each.pool.stats()
            assert (stats.state, stats.size, stats.in_use, stats.waiting) == ("closed", 0, 0, 0), each
        assert not manager._reload._beside
        assert not manager._startup._openings
        assert len(manager._tasks) == len(manager._releases) == 0
        assert not sum(manager.open_scopes.values())
        for part in self.parts:
            assert not part.alive, f"left on the server: {part.id} {part.alive}"
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left: {left}"
