"""A scene of a pool under cancellation: who holds, who waits, what is done at which turn of the loop, what must hold."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nebula_resource.errors import ResourceError
from nebula_resource.model.health import Postponed
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.pool.state import PoolState
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockError, MockInstance, MockResource, Outcome

ScenePool = Pool[Any, MockInstance, Any]
STEP_LIMIT = 3.0  # seconds for every user step
ACQUIRE_LIMIT = 20.0
PATIENCE = ACQUIRE_LIMIT + 4 * STEP_LIMIT  # by then everybody was served, or told why not


@dataclass(frozen=True, slots=True)
class Scene:
    """One run: ``release`` and ``cancel`` are turns of the loop, counted from the moment ``at`` (seconds).

    ``steps`` says how the user's steps go once everybody stands where they should; ``victim`` is who is cancelled:
    the first caller in line, the last one, the one who releases, or whoever calls ``verb``.
    """

    steps: Mapping[str, Outcome]
    release: int
    cancel: int
    victim: str
    at: float = 0.0
    forever: bool = False
    late: bool = False
    """The callers come at turn ``release``, when the instance lies idle already."""
    verb: "Callable[[ScenePool], Awaitable[Any]] | None" = None
    callers: int = 3
    max_size: int = 1
    capacity: int | None = None
    """Instances that there are in the end; ``max_size`` where not given."""
    settings: Mapping[str, Any] = field(default_factory=dict)


async def play(scene: Scene) -> None:
    """Play one scene to its end. Raises AssertionError or InternalError where a promise is broken."""
    resource = MockResource(**dict.fromkeys(scene.steps, Outcome.OK), turns=1, slow=1.0)  # type: ignore[arg-type]  # names of steps
    pool: ScenePool = Pool(resource, None, _config(scene))
    await pool.open()
    tasks: list[asyncio.Task[Any]] = []
    try:
        await _play(scene, resource, pool, tasks)
    finally:
        for task in tasks:
            task.cancel()
        for step in scene.steps:
            resource.script(step, Outcome.OK)
        await pool.close(0.0)
    assert_sound(pool)
    assert not resource.alive, f"left on the server: {resource.alive}"
    left = asyncio.all_tasks() - {asyncio.current_task()} - set(tasks)
    assert not left, f"tasks left: {left}"


async def _play(
    scene: Scene, resource: MockResource, pool: ScenePool, tasks: list[asyncio.Task[Any]]
) -> None:
    let_go = asyncio.Event()
    releaser = asyncio.create_task(_hold(pool, let_go))
    tasks.append(releaser)
    await asyncio.sleep(0.1)
    assert pool.stats().in_use == 1
    for step, outcome in scene.steps.items():
        resource.script(step, outcome if scene.forever else [outcome, Outcome.OK])
    victim: asyncio.Task[Any] | None
    if scene.late:
        let_go.set()
        await asyncio.sleep(PATIENCE)
        victim = None
    else:
        victim = _begin(scene, pool, tasks, releaser)
    await asyncio.sleep(scene.at)
    asked = False
    for turn in range(max(scene.release, scene.cancel) + 1):
        if turn == scene.release:
            if scene.late:
                victim = _begin(scene, pool, tasks, releaser)
            let_go.set()
            if scene.verb is not None:
                tasks.append(asyncio.create_task(_call(scene.verb, pool)))
                victim = tasks[-1] if scene.victim == "verb" else victim
        if turn == scene.cancel and victim is not None:
            asked = victim.cancel()
        await asyncio.sleep(0)
        assert_sound(pool)
    _, pending = await asyncio.wait(tasks, timeout=PATIENCE)
    assert not pending, f"nobody serves {pending}: {pool!r}"
    if asked and victim is not None:
        assert victim.cancelled(), f"a cancellation was swallowed: {victim}"
    others = [task for task in tasks if task is not victim and task.cancelled()]
    assert not others, f"cancelled with somebody else: {others}"
    await _recover(scene, resource, pool)


def _begin(
    scene: Scene, pool: ScenePool, tasks: list[asyncio.Task[Any]], releaser: asyncio.Task[Any]
) -> asyncio.Task[Any] | None:
    """The callers come; returns who is to be cancelled (the caller of a verb is there only later)."""
    callers = [asyncio.create_task(_use(pool)) for _ in range(scene.callers)]
    tasks += callers
    return {"first": callers[0], "last": callers[-1], "releaser": releaser}.get(scene.victim)


async def _recover(scene: Scene, resource: MockResource, pool: ScenePool) -> None:
    """When all steps go well again, full capacity is there in one go."""
    for step in scene.steps:
        resource.script(step, Outcome.OK)
    await asyncio.sleep(2 * STEP_LIMIT)
    assert_no_leaks(pool)
    assert not len(pool.tasks) + len(pool.cleanups), "steps without an end"
    if pool.state is PoolState.CLOSED:
        return
    if pool.state is PoolState.DRAINED:
        pool.resume()
    async with asyncio.timeout(STEP_LIMIT):
        handles = await asyncio.gather(*(_take(pool) for _ in range(scene.max_size)))
        assert len({handle.instance for handle in handles}) == (scene.capacity or scene.max_size)
        for handle in handles:
            await handle.release()
    assert_sound(pool)


def _config(scene: Scene) -> PoolConfig:
    settings: dict[str, Any] = {
        "min_size": 0,
        "max_size": scene.max_size,
        "acquire_timeout": ACQUIRE_LIMIT,
        "validation_interval": 0 if "is_valid" in scene.steps else None,
        "circuit_threshold": 1000,
        **{f"{step}_timeout": STEP_LIMIT for step in ("create", "validate", "lease", "recycle", "cleanup")},
    }
    return PoolConfig(**(settings | dict(scene.settings)))


async def _take(pool: ScenePool) -> Any:
    return await pool.acquire()


async def _use(pool: ScenePool) -> None:
    """One use; the errors that a caller may meet are no failures of the scene."""
    try:
        async with pool.acquire() as value:
            instance: Any = getattr(value, "instance", value)
            with instance.used():
                await asyncio.sleep(0)
    except (ResourceError, MockError):
        pass


async def _hold(pool: ScenePool, until: asyncio.Event) -> None:
    try:
        async with pool.acquire():
            await until.wait()
    except (ResourceError, MockError):
        pass


async def _call(verb: Callable[[ScenePool], Awaitable[Any]], pool: ScenePool) -> None:
    try:
        await verb(pool)
    except (ResourceError, MockError):
        pass


async def _probe(pool: ScenePool) -> None:
    try:
        async with pool.borrow():
            await asyncio.sleep(0)
    except Postponed:
        pass


VERBS: Mapping[str, Callable[[ScenePool], Awaitable[Any]]] = {
    "drain": lambda pool: pool.drain(),
    "close": lambda pool: pool.close(2.0),
    "scale_up": lambda pool: pool.scale_up(1),
    "probe": _probe,
}
"""What an operator may do in the middle of it."""
