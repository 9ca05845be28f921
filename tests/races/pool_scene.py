"""A scene of a pool under cancellation: who holds, who waits, what is done at which turn of the loop, what must hold."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nebula_resource import CancellationToken, ResourceContext
from nebula_resource.errors import AcquireCancelled, ResourceError
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

    ``steps`` says how the user's steps go once everybody stands where they should (a resource overrides no others);
    ``victim`` is who is cancelled: the first caller in line, the last one, the one who releases, or whoever calls
    ``verb``.
    """

    steps: Mapping[str, Outcome]
    release: int
    cancel: int
    victim: str
    at: float = 0.0
    later: float = 0.0
    """Seconds between the release and the turns after which the cancellation comes."""
    token: bool = False
    """The victim, a caller, is called off by the token of its context, not cancelled."""
    forever: bool = False
    """Each step goes so every time, not only the first."""
    late: bool = False
    """The callers come at turn ``release``, when the instance lies idle already."""
    verb: "Callable[[ScenePool], Awaitable[Any]] | None" = None
    callers: int = 3
    max_size: int = 1
    capacity: int | None = None
    """Instances that there are in the end; ``max_size`` where not given."""
    places: int | None = None
    """How many instances a budget allows; no budget where not given."""
    settings: Mapping[str, Any] = field(default_factory=dict)


class Played(NamedTuple):
    """What a scene that was played tells of others that need not be."""

    asked: frozenset[str]
    """The steps that were asked how they go. How another would have gone is nowhere known, so a scene that differs in
    that alone is the same scene."""
    idled: bool
    """There was a turn in which nobody had anything to do. The scene with one such turn less is the same."""


class Budget:
    """So many instances and no more; there is only this pool to share them."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0

    def take(self) -> bool:
        """One more, if there is a place."""
        if self.taken == self.places:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        """One is gone; the pool looks for itself who can use its place."""
        self.taken -= 1
        assert self.taken >= 0, "more given back than taken"

    def want(self, waiting: int) -> None:
        """There is nobody else to take from."""


async def play(scene: Scene) -> Played:
    """Play one scene to its end, in a loop of virtual time.

    Raises AssertionError or InternalError where a promise is broken.
    """
    resource = MockResource(**dict.fromkeys(scene.steps, Outcome.OK), turns=1, slow=1.0)  # type: ignore[arg-type]  # names of steps
    budget = None if scene.places is None else Budget(scene.places)
    pool: ScenePool = Pool(resource, None, _config(scene), capacity=budget)
    await pool.open()
    tasks: list[asyncio.Task[Any]] = []
    try:
        played = await _play(scene, resource, pool, tasks)
    finally:
        for task in tasks:
            task.cancel()
        for step in scene.steps:
            resource.script(step, Outcome.OK)
        await pool.close(0.0)
    assert_sound(pool)
    assert not resource.alive, f"left on the server: {resource.alive}"
    assert budget is None or not budget.taken, f"{budget.taken} places were never given back"
    left = asyncio.all_tasks() - {asyncio.current_task()} - set(tasks)
    assert not left, f"tasks left: {left}"
    return played


async def _play(
    scene: Scene, resource: MockResource, pool: ScenePool, tasks: list[asyncio.Task[Any]]
) -> Played:
    let_go = asyncio.Event()
    releaser = asyncio.create_task(_hold(pool, let_go))
    tasks.append(releaser)
    await asyncio.sleep(0.1)
    assert pool.stats().in_use == 1
    before = resource.calls.copy()
    for step, outcome in scene.steps.items():
        resource.script(step, outcome if scene.forever else [outcome, Outcome.OK])
    token = CancellationToken() if scene.token else None
    victim: asyncio.Task[Any] | None = None
    if scene.late:
        let_go.set()
        await asyncio.sleep(PATIENCE)
    else:
        victim = _begin(scene, pool, tasks, releaser, token)
    await asyncio.sleep(scene.at)
    is_cut = idled = False
    for turn in range(max(scene.release, scene.cancel) + 1):
        if turn not in {scene.release, scene.cancel} and is_quiet():
            idled = True
            continue
        if turn == scene.release:
            if scene.late:
                victim = _begin(scene, pool, tasks, releaser, token)
            let_go.set()
            if scene.verb is not None:
                tasks.append(asyncio.create_task(_call(scene.verb, pool)))
                victim = tasks[-1] if scene.victim == "verb" else victim
            if scene.later:
                await asyncio.sleep(scene.later)
        if turn == scene.cancel and token is not None:
            token.cancel()
        elif turn == scene.cancel and victim is not None:
            is_cut = victim.cancel()
        await asyncio.sleep(0)
        assert_sound(pool)
    await _until_all_ended(pool, tasks, victim if is_cut else None)
    asked = frozenset(step for step in scene.steps if resource.calls[step] > before[step])
    await _recover(scene, resource, pool)
    return Played(asked, idled)


def is_quiet() -> bool:
    """Whether nobody but the caller has anything to do in this loop before time moves on."""
    loop: Any = asyncio.get_running_loop()
    return not loop._ready and not any(timer.when() <= loop.time() for timer in loop._scheduled[:1])


async def _until_all_ended(
    pool: ScenePool, tasks: list[asyncio.Task[Any]], cancelled: asyncio.Task[Any] | None
) -> None:
    """Everybody is served, or told why not; whoever was cancelled, and nobody else, is cancelled."""
    _, pending = await asyncio.wait(tasks, timeout=PATIENCE)
    assert not pending, f"nobody serves {pending}: {pool!r}"
    for task in tasks:
        if task is cancelled:
            assert task.cancelled(), f"a cancellation was swallowed: {task}"
        else:
            assert not task.cancelled(), f"cancelled with somebody else: {task}"
            task.result()  # raises what it saw that must not be


def _begin(
    scene: Scene,
    pool: ScenePool,
    tasks: list[asyncio.Task[Any]],
    releaser: asyncio.Task[Any],
    token: CancellationToken | None,
) -> asyncio.Task[Any] | None:
    """The callers come; returns who is to be cancelled (the caller of a verb is there only later)."""
    marked = {"first": 0, "last": scene.callers - 1}.get(scene.victim)
    callers = [
        asyncio.create_task(_use(pool, scene, token if number == marked else None))
        for number in range(scene.callers)
    ]
    tasks += callers
    return callers[marked] if marked is not None else releaser if scene.victim == "releaser" else None


async def _recover(scene: Scene, resource: MockResource, pool: ScenePool) -> None:
    """When all steps go well again, full capacity is there in one go."""
    for step in scene.steps:
        resource.script(step, Outcome.OK)
    await asyncio.sleep(2 * STEP_LIMIT)
    for _ in range(3):  # a probe of idle ones may have begun just now; it takes a turn
        await asyncio.sleep(0)
    assert_no_leaks(pool)
    assert not len(pool.tasks) + len(pool.cleanups), "steps without an end"
    if pool.state is PoolState.CLOSED:
        return
    if pool.state is PoolState.DRAINED:
        pool.resume()
    async with asyncio.timeout(STEP_LIMIT):
        handles = await asyncio.gather(*(_take(pool) for _ in range(scene.places or scene.max_size)))
        assert len({handle.instance for handle in handles}) == (
            scene.capacity or scene.places or scene.max_size
        )
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


async def _use(pool: ScenePool, scene: Scene, token: CancellationToken | None) -> None:
    """One use; the errors that a caller may meet are no failures of the scene."""
    loop = asyncio.get_running_loop()
    called_off: list[float] = []
    context = None
    if token is not None:
        token.subscribe(lambda: called_off.append(loop.time()))
        context = ResourceContext(cancellation=token)
    try:
        async with pool.acquire(context) as value:
            assert called_off in ([], [loop.time()]), "served although its token was cancelled"
            instance: Any = getattr(value, "instance", value)
            assert instance.is_open, f"{instance!r} is lent after its cleanup"
            with nullcontext() if "sharing" in scene.settings else instance.used():
                await asyncio.sleep(0)
    except AcquireCancelled:
        assert called_off == [loop.time()], "it heard late of its token"
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


async def _probe(pool: ScenePool, *, fresh: bool = False) -> None:
    try:
        async with pool.borrow(fresh=fresh):
            await asyncio.sleep(0)
    except Postponed:
        pass


async def _resize(pool: ScenePool, max_size: int) -> None:
    """Move the bound, and after some turns move it back."""
    before = pool.ledger.max_size
    try:
        await asyncio.sleep(0)
        pool.resize(max_size=max_size)
        for _ in range(5):
            await asyncio.sleep(0)
    finally:
        pool.resize(max_size=before)


async def _suspend(pool: ScenePool) -> None:
    """Hold everybody up for some turns."""
    pool.suspend()
    try:
        for _ in range(3):
            await asyncio.sleep(0)
    finally:
        pool.resume()


async def _replace(pool: ScenePool) -> None:
    pool.recycle_all()


VERBS: Mapping[str, Callable[[ScenePool], Awaitable[Any]]] = {
    "drain": lambda pool: pool.drain(),
    "close": lambda pool: pool.close(2.0),
    "scale_up": lambda pool: pool.scale_up(1),
    "probe": _probe,
    "fresh_probe": lambda pool: _probe(pool, fresh=True),
    "shrink": lambda pool: _resize(pool, 1),
    "grow": lambda pool: _resize(pool, 3),
    "suspend": _suspend,
    "replace": _replace,
}
"""What an operator may do in the middle of it."""
