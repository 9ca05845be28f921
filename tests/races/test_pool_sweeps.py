"""Cancellation sweeps: every await point of a pool, cancelled at every turn of the loop around it.

Turns, not moments: a sweep over wall-clock times stays green over real bugs, because between two moments there may be
a dozen turns. For every pair (release at turn a, cancel at turn b) and every outcome of the steps involved: the pool is
sound after each turn, everybody else is served or told why not within their time, nothing is lent twice, no
cancellation is swallowed, and what the server has is what the books say. The last tests prove that the sweeps can fail.

These are the pairs that found something, or whose await point is easily missed. All pairs with all outcomes of all steps
together are in tests/races/every_scene.py; `make sweep` plays them.
"""

import asyncio
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from nebula_resource.errors import InternalError
from nebula_resource.pool.desk import Desk
from nebula_resource.pool.returns import Returns
from nebula_resource.testing.mock import Outcome
from tests.races.pool_scene import VERBS, Scene, ScenePool, play

OUTCOMES = tuple(Outcome)
RELEASES = range(2)
CANCELS = range(
    10
)  # the longest way back, over lease exit, recycle and cleanup to a creation, takes eight turns
SLOW = 1.0  # when a slow step ends
LIMIT = 3.0  # when one that never ends is cut off


def pairs(at: tuple[float, ...] = (0.0,)) -> Iterator[tuple[int, int, float]]:
    """Every release with every cancel, from each of the moments on."""
    yield from product(RELEASES, CANCELS, at)


async def sweep(steps: tuple[str, ...], victim: str, *, at: tuple[float, ...] = (0.0,), **scene: Any) -> int:
    """Play every pair with every combination of outcomes of these steps; how many scenes that were."""
    played = 0
    for outcomes in product(OUTCOMES, repeat=len(steps)):
        for release, cancel, moment in pairs(at):
            await play(
                Scene(
                    steps=dict(zip(steps, outcomes, strict=True)),
                    release=release,
                    cancel=cancel,
                    victim=victim,
                    at=moment,
                    **scene,
                )
            )
            played += 1
    return played


@pytest.mark.parametrize("victim", ["first", "last", "releaser"])
async def test_hand_over_in_line(victim: str) -> None:
    """One instance, three in line: the hand-over, with nothing to be done in between."""
    assert await sweep((), victim) == 20


@pytest.mark.parametrize("victim", ["first", "last", "releaser"])
async def test_recycle_on_the_way_back(victim: str) -> None:
    """The instance is reset before it is handed over; when that fails, a new one is made for the line."""
    await sweep(("recycle",), victim)


@pytest.mark.parametrize("victim", ["first", "releaser"])
async def test_recycle_and_cleanup_and_create(victim: str) -> None:
    """A failed recycle leads to a cleanup, which leads to a vacancy, which leads to a creation."""
    await sweep(("cleanup", "create"), victim, settings={"on_error": "retire"}, callers=2)
    await sweep(("recycle", "create"), victim, callers=2, forever=True)


@pytest.mark.parametrize("victim", ["first", "last"])
async def test_creation_for_a_caller(victim: str) -> None:
    """There is room: one is made for the first, and it leaves."""
    await sweep(("create",), victim, max_size=2, at=(0.0, SLOW, LIMIT))
    await sweep(("create",), victim, max_size=3, settings={"max_concurrent_creates": 1}, forever=True)


@pytest.mark.parametrize("victim", ["first", "last"])
async def test_validation_before_lending(victim: str) -> None:
    """What lies idle is checked for whoever asks next; useless, it goes, and the caller looks again."""
    await sweep(("is_valid", "cleanup"), victim, callers=2, late=True)
    await sweep(("is_valid",), victim, callers=3, max_size=2, late=True, forever=True)
    await sweep(("is_valid",), victim, callers=2, at=(0.0, SLOW))


@pytest.mark.parametrize("victim", ["first", "releaser"])
async def test_lease_entry_and_exit(victim: str) -> None:
    """A lease is entered in the caller's task and left in one of the pool's."""
    await sweep(("is_valid", "lease_entry"), victim, callers=2, late=True)
    await sweep(("lease_entry", "lease_exit"), victim, callers=2)
    await sweep(("lease_exit", "recycle"), victim, callers=1)


@pytest.mark.parametrize("victim", ["first", "releaser"])
async def test_the_end_of_a_slow_step_and_a_cancellation_meet(victim: str) -> None:
    """The turns around the moment at which a slow recycle, cleanup or creation ends, or is cut off."""
    for step in ("recycle", "create", "lease_entry", "lease_exit"):
        for outcome, at in ((Outcome.SLOW, SLOW), (Outcome.NEVER, LIMIT)):
            for release, cancel in product((0,), CANCELS):
                scene = Scene({step: outcome}, release, cancel, victim, at=0.0, max_size=1)
                await play(scene)
                await play(Scene({step: outcome}, release, cancel, victim, at=at, max_size=2))


@pytest.mark.parametrize("verb", ["drain", "close", "scale_up", "probe"])
@pytest.mark.parametrize("victim", ["verb", "first", "releaser"])
async def test_verbs_under_load(verb: str, victim: str) -> None:
    """An operator's verb begins as the holder releases; the verb, a caller or the releaser is cancelled."""
    for step in ("recycle", "create", "cleanup", "is_valid"):
        await sweep((step,), victim, verb=VERBS[verb], max_size=2, callers=2)


@pytest.mark.parametrize("victim", ["first", "releaser"])
async def test_keepalive_and_upkeep_beside_callers(victim: str) -> None:
    """Idle instances are reserved for a probe at the very moment at which callers come and go."""
    settings = {"keepalive_interval": 1.0, "maintenance_interval": 1.0, "idle_timeout": 2.0}
    for at in (0.5, 1.0, 2.0):
        await sweep(("is_valid",), victim, at=(at,), max_size=2, callers=1, settings=settings)


@pytest.mark.parametrize("shrink", [True, False])
async def test_resize_beside_a_cancellation(shrink: bool) -> None:
    """The bound moves in every turn around the hand-over."""
    for move, release, cancel, outcome in product(range(5), range(2), range(5), OUTCOMES):
        await play_resized(move, release, cancel, outcome, shrink=shrink)


async def play_resized(move: int, release: int, cancel: int, outcome: Outcome, *, shrink: bool) -> None:
    """A scene whose pool is resized at turn ``move``."""
    resized: list[int] = []

    async def resize(pool: ScenePool) -> None:
        for _ in range(move):
            await asyncio.sleep(0)
        pool.resize(max_size=1 if shrink else 3)
        resized.append(move)
        await asyncio.sleep(5)
        pool.resize(max_size=2)

    await play(Scene({"recycle": outcome}, release, cancel, "first", verb=resize, max_size=2))
    assert resized


@pytest.mark.parametrize("victim", ["first", "last", "releaser"])
async def test_shared_instances(victim: str) -> None:
    """All wait for one creation or one check; each of them may leave."""
    for step in ("create", "is_valid", "cleanup", "lease_exit"):
        await sweep((step,), victim, settings={"sharing": "shared"}, max_size=2, capacity=1)


# ── the sweeps can fail ──


async def test_without_the_give_back_a_sweep_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that is cancelled after it was served keeps what it got."""
    monkeypatch.setattr(Desk, "take_back", lambda self, entry: None)
    with pytest.raises(AssertionError):
        await sweep((), "first")


@pytest.mark.filterwarnings("ignore:coroutine .*_recycle:RuntimeWarning")  # a release that never began
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_without_the_shield_a_sweep_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that ends with its caller leaves an instance that nobody has cleaned."""

    async def give_back(self: Returns, entry: Any, use: Any, error: BaseException | None) -> None:
        work = self._start(entry, use, error)
        if work is not None:
            await work  # awaited itself, it is cancelled with whoever awaits it

    monkeypatch.setattr(Returns, "give_back", give_back)
    with pytest.raises(AssertionError):
        await sweep(("recycle",), "releaser")


async def test_without_the_hand_over_of_vacancies_a_sweep_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a place that a failed create or a retired instance left waits for ever."""
    monkeypatch.setattr(Desk, "serve", lambda self: None)
    with pytest.raises((AssertionError, InternalError), match=r"nobody serves|somebody waits"):
        await sweep(("recycle", "create"), "releaser", callers=2)
