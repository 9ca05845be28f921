"""Manager sweeps: every awaiting operator call cancelled at every step of the loop, and every pair of calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from nebula_resource import Manager, ResourceContext, Scope
from nebula_resource.pool.state import PoolState
from nebula_resource.testing.asserts import assert_sound
from tests.unit.manager.things import Instance, Thing, ThingConfig, assert_manager_sound

STEPS = 40
Call = Callable[[Manager], Coroutine[Any, Any, Any]]


class Paced(Thing):
    """Takes a few turns of the loop in each of its steps, so that there is something to cancel; holds what it needs."""

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        await _turns(2)
        for key in self.dependencies:
            await context.dependency(key)
        return await super().create(config, context)

    async def is_valid(self, instance: Instance) -> bool:
        await _turns(1)
        return await super().is_valid(instance)

    async def cleanup(self, instance: Instance) -> None:
        await _turns(2)
        await super().cleanup(instance)


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


class World:
    """A manager with db, repo above it, one that is ill, and callers that come and go."""

    def __init__(self) -> None:
        self.manager = Manager()
        self.things = [Paced("db"), Paced("repo", dependencies=["db"]), Paced("ill")]
        self.extra = Paced("extra", dependencies=["db"])

    async def begin(self) -> None:
        await self.manager.register(self.things[0], pool={"max_size": 8, "min_size": 2})
        await self.manager.register(self.things[1], pool={"max_size": 2, "min_size": 1})
        await self.manager.register(self.things[2])
        self.manager.quarantine("ill", "not well")

    async def end(self) -> None:
        """Whatever happened: the books are right, those that stand serve, and after the shutdown nothing is left."""
        await asyncio.sleep(40)
        manager = self.manager
        assert_manager_sound(manager, out=self._held())
        for registration in manager.pools():
            assert_sound(registration.pool)
            assert registration.state.value in {"created", "ready", "closed"}
            if registration.key == "repo" and registration.pool.state is not PoolState.OPEN:
                continue  # its drain was cancelled before it was resumed
            if registration.is_open and registration.refusal is None:
                async with asyncio.timeout(5), manager.acquire(registration.key):
                    pass
        assert not manager._startup._openings
        await manager.shutdown(drain=5)
        assert len(manager._tasks) == len(manager._releases) == 0
        assert not manager._reload._beside
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for thing in (*self.things, self.extra):
            assert [instance.open for instance in thing.made] == [False] * len(thing.made)

    def _held(self) -> int:
        """What instances above hold of the db: nothing else may be out."""
        above = [each for each in self.manager.pools() if "db" in each.dependencies]
        return sum(each.pool.stats().size for each in above)


async def _register(manager: Manager) -> None:
    await manager.register(Paced("extra", dependencies=["db"]), replace=True)


async def _register_required(manager: Manager) -> None:
    await manager.register(Paced("other"), required=True)


async def _reload(manager: Manager) -> None:
    await manager.reload("db", {"name": "new"})


async def _replace(manager: Manager) -> None:
    await manager.register(Paced("repo", dependencies=["db"]), {"name": "new"}, replace=True)


async def _deregister(manager: Manager) -> None:
    await manager.deregister("repo")


async def _cascade(manager: Manager) -> None:
    await manager.deregister("db", cascade=True)


async def _release(manager: Manager) -> None:
    await manager.release("ill")


async def _check(manager: Manager) -> None:
    await manager.check("db")


async def _drain(manager: Manager) -> None:
    await manager.drain("repo", timeout=1)
    manager.resume("repo")


async def _drain_and_resume(manager: Manager) -> None:
    try:
        await manager.drain("db", timeout=1)
    finally:
        manager.resume("db")


async def _use(manager: Manager) -> None:
    async with manager.acquire("repo"):
        await _turns(3)


async def _handle(manager: Manager) -> None:
    handle = await manager.acquire("db", timeout=5)
    try:
        await _turns(2)
    finally:
        await handle.release()


async def _shutdown_scope(manager: Manager) -> None:
    await manager.shutdown_scope(Scope.GLOBAL, drain=1)


async def _shutdown(manager: Manager) -> None:
    await manager.shutdown(drain=1)


CALLS: dict[str, Call] = {
    call.__name__.strip("_"): call
    for call in (
        _register,
        _register_required,
        _reload,
        _replace,
        _deregister,
        _cascade,
        _release,
        _check,
        _drain,
        _drain_and_resume,
        _use,
        _handle,
        _shutdown_scope,
        _shutdown,
    )
}


async def _settled(work: Awaitable[Any]) -> BaseException | None:
    """What the call came to; errors of a call that another one overtook are ours (or its cancellation)."""
    outcome: object = (await asyncio.gather(work, return_exceptions=True))[0]
    return outcome if isinstance(outcome, BaseException) else None


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_is_cancelled_at_every_step(name: str) -> None:
    """It leaves with its cancellation or had ended; nothing is half done for ever, nothing is left after the end."""
    for step in range(1, STEPS):
        world = World()
        await world.begin()
        task = asyncio.ensure_future(CALLS[name](world.manager))
        await _turns(step)
        had_ended = task.done()
        task.cancel()
        error = await _settled(task)
        assert had_ended or isinstance(error, asyncio.CancelledError), f"step {step}: {error!r}"
        await world.end()
        if had_ended:
            return
    raise AssertionError(f"{name} takes more than {STEPS} steps")


@pytest.mark.parametrize("second", CALLS)
@pytest.mark.parametrize("first", CALLS)
async def test_any_two_calls_at_once(first: str, second: str) -> None:
    """Whatever step the second comes at: each ends, well or with an error of ours, and the world is sound."""
    from nebula_resource import ResourceError

    for step in (0, 1, 2, 3, 4, 6, 9, 14):
        world = World()
        await world.begin()
        one = asyncio.ensure_future(CALLS[first](world.manager))
        await _turns(step)
        other = asyncio.ensure_future(CALLS[second](world.manager))
        async with asyncio.timeout(120):
            for error in (await _settled(one), await _settled(other)):
                assert error is None or isinstance(error, ResourceError), f"step {step}: {error!r}"
        await world.end()


@pytest.mark.parametrize("second", ["deregister", "cascade", "reload", "shutdown", "register"])
@pytest.mark.parametrize("first", ["register", "replace", "reload", "release", "shutdown_scope"])
async def test_a_call_cancelled_beside_another(first: str, second: str) -> None:
    """The first is cancelled at every third step while the second runs: the second ends as if it were alone."""
    from nebula_resource import ResourceError

    for step in range(1, 25, 3):
        world = World()
        await world.begin()
        one = asyncio.ensure_future(CALLS[first](world.manager))
        other = asyncio.ensure_future(CALLS[second](world.manager))
        await _turns(step)
        one.cancel()
        async with asyncio.timeout(120):
            for error in (await _settled(one), await _settled(other)):
                assert error is None or isinstance(error, ResourceError | asyncio.CancelledError), repr(error)
        await world.end()


class Faulty(Thing):
    """Its steps are OK, raise, are slow, or never end."""

    def __init__(self, create: str, cleanup: str) -> None:
        super().__init__("faulty")
        self.steps = create, cleanup

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        await _behave(self.steps[0])
        return await super().create(config, context)

    async def cleanup(self, instance: Instance) -> None:
        await _behave(self.steps[1])
        await super().cleanup(instance)


async def _behave(how: str) -> None:
    if how == "error":
        raise OSError("down")
    if how == "slow":
        await asyncio.sleep(3)
    if how == "never":
        await asyncio.Event().wait()


KINDS = ("ok", "error", "slow", "never")


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("cleanup", KINDS)
@pytest.mark.parametrize("create", KINDS)
async def test_steps_of_every_kind_end_with_the_manager(create: str, cleanup: str, required: bool) -> None:
    """Registering, using, reloading and shutting down with steps of every kind: all within their times."""
    from nebula_resource import ResourceError

    loop = asyncio.get_running_loop()
    manager = Manager()
    faulty = Faulty(create, cleanup)
    work: list[Coroutine[Any, Any, Any]] = [
        manager.register(faulty, required=required),
        _use_faulty(manager),
        manager.reload("faulty", {"name": "new"}),
        _use_faulty(manager),
        manager.deregister("faulty"),
    ]
    for each in work:
        async with asyncio.timeout(60):
            error = await _settled(each)
        assert error is None or isinstance(error, ResourceError), repr(error)
    await _settled(manager.register(Faulty(create, cleanup)))
    began = loop.time()
    report = await manager.shutdown(drain=1, cleanup=2, terminate=1)
    assert loop.time() - began <= 1 + 2 + 1 + 10.5
    assert report.forced == 0
    assert len(manager._tasks) == 0


async def _use_faulty(manager: Manager) -> None:
    async with manager.acquire("faulty", timeout=5):
        pass
