"""Who is told of uses is told how long each was, whatever share of them the pool times by itself."""

import asyncio
from typing import Any

import pytest

from nebula_resource import Manager
from nebula_resource.events import Event, Released
from nebula_resource.hooks import HookEvent, ResourceHook
from nebula_resource.hooks.payload import HookPayload, OnRelease
from tests.unit.manager.things import Thing, assert_manager_sound


class Watch(ResourceHook):
    """Notes how long each use was and with what error it ended, as it is told before its end."""

    name = "watch"
    events = frozenset({HookEvent.RELEASE})

    def __init__(self) -> None:
        self.held: list[float | None] = []
        self.errors: list[str | None] = []

    def before(self, event: HookPayload) -> None:
        assert isinstance(event, OnRelease)
        self.held.append(event.held_s)
        self.errors.append(event.error)


async def use(manager: Manager, seconds: float) -> None:
    """One use of so many virtual seconds."""
    async with manager.acquire("thing"):
        await asyncio.sleep(seconds)


def timed(manager: Manager) -> int:
    """How many uses are in the histogram."""
    return manager.stats()["thing"].use.count


@pytest.mark.parametrize("use_timing", ["sampled", "off"])
async def test_a_hook_times_every_use(use_timing: str) -> None:
    """Each is told to it, exactly; without it, one in 64 or none is timed again."""
    async with Manager() as manager:
        await manager.register(Thing(), pool={"use_timing": use_timing, "max_size": 1})
        hook = Watch()
        manager.hooks.add(hook)
        for seconds in (1.0, 2.0, 4.0):
            await use(manager, seconds)
        assert hook.held == pytest.approx([1.0, 2.0, 4.0])
        assert timed(manager) == 3
        assert manager.stats()["thing"].use.total_s == pytest.approx(7.0)
        manager.hooks.remove("watch")
        for _ in range(64):
            await use(manager, 0.5)
        assert timed(manager) == 3 + (use_timing == "sampled")
        assert_manager_sound(manager)


async def test_who_hears_of_releases_is_told_how_long_each_use_was() -> None:
    """The use that is under way when somebody begins to listen was not timed; all later ones are."""
    told: list[Any] = []

    def listener(event: Event) -> None:
        assert isinstance(event, Released)
        told.append(event.held_s)

    async with Manager() as manager:
        await manager.register(Thing(), pool={"max_size": 1})
        async with manager.acquire("thing"):
            leave = manager.events.add_listener(listener, (Released,))
        await use(manager, 3.0)
        assert told == pytest.approx([3.0])
        await manager.reload("thing", {"name": "other"})
        await use(manager, 5.0)
        assert told == pytest.approx([3.0, 5.0])
        leave()
        await use(manager, 1.0)
        assert timed(manager) == 1
        assert_manager_sound(manager)


async def test_of_those_who_waited_one_in_64_is_timed_too() -> None:
    """Whoever is handed an instance in line counts as whoever found it idle."""
    async with Manager() as manager:
        await manager.register(Thing(), pool={"max_size": 1, "acquire_timeout": 1000.0})
        await asyncio.gather(*(use(manager, 1.0) for _ in range(128)))
        assert manager.stats()["thing"].wait.count == 128
        assert timed(manager) == 2
        assert manager.stats()["thing"].use.total_s == pytest.approx(2.0)
        assert_manager_sound(manager)


async def test_a_hook_is_told_with_what_error_a_use_ended() -> None:
    """By its type, before the end of the use; None: it ended well."""
    async with Manager() as manager:
        await manager.register(Thing())
        hook = Watch()
        manager.hooks.add(hook)
        await use(manager, 1.0)
        with pytest.raises(KeyError):
            async with manager.acquire("thing"):
                raise KeyError("of the body")
        assert hook.errors == [None, "KeyError"]
