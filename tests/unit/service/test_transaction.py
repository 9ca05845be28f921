"""Transaction: what stands against a plan, and what comes and goes with it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nebula_resource import NotRegistered, ValidationFailed
from tests.unit.service.test_live_config import TWO, Thing, held, live, say

THREE = f'\n[resources.three]\ndriver = "{__name__}:Thing"\n'
NOTHING_MORE = "[resources.zero]\n" + THREE.partition("]\n")[2]


class Mine(Thing):
    """A resource of the application, beside those of the file."""

    def __init__(self, id: str, *needs: str) -> None:
        self.id = id
        self.dependencies = needs


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the configuration stands."""
    return tmp_path / "nebula.toml"


async def refused(config: Any) -> list[tuple[str, str, str]]:
    """What a reload is told, which a dry run is told as well."""
    told: list[list[tuple[str, str, str]]] = []
    for dry_run in (True, False):
        with pytest.raises(ValidationFailed) as caught:
            await config.reload(dry_run=dry_run)
        told.append([(each.field, each.constraint, each.actual) for each in caught.value.violations])
    assert told[0] == told[1]
    return told[0]


async def test_what_the_application_registered_is_not_the_files(file: Path) -> None:
    """The same id in the same scope: refused by its path; once the application has taken its own out it may come."""
    async with live(file) as (config, manager, _):
        await manager.register(Mine("three"))
        say(file, TWO + THREE + THREE.replace("three", "four"))
        rule = "must not be registered by the application as well"
        assert await refused(config) == [("resources.three", rule, "both")]
        assert held(manager) == ["one", "three", "two"]
        await manager.deregister("three")
        assert (await config.reload()).added == ("three", "four")


async def test_what_the_application_needs_stays(file: Path) -> None:
    """Only what it needs itself is named; when the application needs it no longer, all may go, one through the other."""
    async with live(file) as (config, manager, _):
        await manager.register(Mine("mine", "two"))
        say(file, NOTHING_MORE)
        rule = "must stay as long as mine needs it, which the application registered"
        assert await refused(config) == [("resources.two", rule, "removed")]
        assert held(manager) == ["mine", "one", "two"]
        await manager.deregister("mine")
        assert (await config.reload()).removed == ("one", "two")
        await asyncio.sleep(1)
        assert held(manager) == ["zero"]


async def test_what_went_by_itself_may_be_taken_out(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The application has ended one of the file's: there is nothing left to do, and nothing to say."""
    async with live(file) as (config, manager, _):
        await manager.deregister("two")
        say(file, TWO.partition("[resources.two]")[0])
        assert (await config.reload()).removed == ("two",)
        await asyncio.sleep(1)
        assert held(manager) == ["one"]
        assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_one_that_comes_back_waits_for_its_own_end(file: Path) -> None:
    """It is taken out while somebody uses it, and put in again: it is refused until the last has given it back, and then made anew."""
    async with live(file) as (config, manager, _):
        handle = await manager.acquire("two")
        say(file, TWO.partition("[resources.two]")[0])
        await config.reload()
        await asyncio.sleep(0)
        with pytest.raises(Exception, match="two"):
            await manager.acquire("two")
        say(file, TWO)
        coming = asyncio.ensure_future(config.reload())
        await asyncio.sleep(5)
        assert not coming.done()
        await handle.release()
        assert (await coming).added == ("two",)
        async with manager.acquire("two"):
            assert held(manager) == ["one", "two"]
        # Once it has gone for good, one of the same id that the application brings is the application's.
        say(file, TWO.partition("[resources.two]")[0])
        await config.reload()
        await asyncio.sleep(1)
        await manager.register(Mine("two"))
        say(file, TWO)
        assert [field for field, *_ in await refused(config)] == ["resources.two"]


async def test_the_end_waits_for_nobody_that_was_taken_out(file: Path) -> None:
    """One drains while somebody uses it; closing ends the wait, and no task is left."""
    async with live(file) as (config, manager, _):
        handle = await manager.acquire("two")
        say(file, TWO.partition("[resources.two]")[0])
        await config.reload()
        await asyncio.sleep(1)
        await config.close()
        assert not [
            each.get_name() for each in asyncio.all_tasks() if "nebula configuration" in each.get_name()
        ]
        await handle.release()


async def test_a_failure_is_told_once(file: Path) -> None:
    """To who reloads, and not to the loop's handler as well; who gives up is not kept waiting for what still opens."""
    async with live(file) as (config, manager, _):
        loop = asyncio.get_running_loop()
        strays: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: strays.append(context))
        Thing.fails.add("three")
        say(file, TWO + THREE + "required = true\n")
        with pytest.raises(ValidationFailed):
            await config.reload()
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await config.reload()
        assert loop.time() - began == 0.5
        await asyncio.sleep(60)
        assert not strays
        assert held(manager) == ["one", "two"]
        with pytest.raises(NotRegistered):
            manager.registry.resolve("three", None)
