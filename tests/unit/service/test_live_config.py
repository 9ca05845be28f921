"""LiveConfig: a file is read again and applied as a whole, one after the other, or nothing has changed."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nebula_resource import Manager, Resource, ResourceContext, ValidationFailed
from nebula_resource.admin import Key
from nebula_resource.admin.configuration import ReloadInProgress
from nebula_resource.events import ConfigReloaded, ConfigReloadRejected, Event
from nebula_resource.service.admin_section import HOT, AdminSection
from nebula_resource.service.declaration import Source, load
from nebula_resource.service.live_config import LiveConfig

TWO = f"""
[resources.one]
driver = "{__name__}:Thing"

[resources.two]
driver = "{__name__}:Thing"
dependencies = ["one"]
"""


class Thing(Resource[None, object]):
    """Takes a second to make; refuses when ``fails`` says so."""

    id = "thing"
    fails: ClassVar[set[str]] = set()
    made: ClassVar[list[str]] = []

    async def create(self, config: None, context: ResourceContext) -> object:
        await asyncio.sleep(1)
        if self.id in self.fails:
            raise ConnectionRefusedError("no such host")
        self.made.append(self.id)
        return object()


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nothing fails, and nothing was made."""
    Thing.fails.clear()
    Thing.made.clear()


@asynccontextmanager
async def live(file: Path, text: str = TWO) -> AsyncGenerator[tuple[LiveConfig, Manager, list[Event]]]:
    """A manager that holds what the file says, and what is told of its reloads."""
    say(file, text)
    async with Manager() as manager:
        told: list[Event] = []
        manager.events.add_listener(told.append, types=(ConfigReloaded, ConfigReloadRejected))
        config = LiveConfig(manager, load(file, environment={}), environment={}, read=read_here)
        await config.start()
        try:
            yield config, manager, told
        finally:
            await config.close()


async def read_here(path: Path) -> Source:
    """At once: virtual time waits for no thread."""
    return Source.read(path)


def say(file: Path, text: str) -> None:
    """Let the file say this."""
    file.write_text(text)


def held(manager: Manager) -> list[str]:
    """What is registered."""
    return sorted(each.key for each in manager.pools())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the configuration stands."""
    return tmp_path / "nebula.toml"


OTHER = {
    "host": '"localhost"', "port": "8443", "keys_file": '"keys.toml"', "audit_file": '"audit.jsonl"', "hosts": '["ops.internal"]',
    "page": "false", "tenant_metrics": '["acme"]', "max_streams": "9", "path": '"/ops"', "log_format": '"json"',
}  # fmt: skip  # another value of each setting that decides who gets in, where, or what is made once


@pytest.mark.parametrize("name", OTHER)
async def test_what_decides_who_gets_in_waits_for_a_restart(
    file: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, in the report and in the log, and stays as it was; what may change beside it does."""
    file.with_name("keys.toml").write_text(Key.mint("admin")[1].entry)
    async with live(file) as (config, _, _):
        applied: list[AdminSection] = []
        config.on_settings = applied.append
        before = config.declared.admin
        say(file, f'[admin]\nlog_level = "DEBUG"\n{name} = {OTHER[name]}\n{TWO}')
        report = await config.reload()
        assert (report.needs_restart, report.settings) == ((f"admin.{name}",), ("admin.log_level",))
        assert config.declared.admin == before.model_copy(update={"log_level": "DEBUG"})
        assert applied == [config.declared.admin]
        assert "need a restart" in caplog.text


def test_every_setting_of_admin_is_hot_or_waits() -> None:
    """A new one is one of the two, and by a decision."""
    assert OTHER.keys() | HOT == AdminSection.model_fields.keys()
    assert sorted(HOT) == ["groups", "log_level"]


@pytest.mark.parametrize("left", ["", "# only this\n", "[admin]\nport = 0\n"])
async def test_an_emptied_file_takes_nothing_out(file: Path, left: str) -> None:
    """By whatever it is read again; it is told why, and what is mended later is taken over."""
    async with live(file) as (config, manager, told):
        say(file, left)
        with pytest.raises(ValidationFailed, match="emptied"):
            await config.reload(dry_run=True)
        assert told == []
        with pytest.raises(ValidationFailed, match="emptied"):
            await config.reload()
        assert await config.reload_or_log("the file has changed")
        assert held(manager) == ["one", "two"]
        assert [type(each) for each in told] == [ConfigReloadRejected] * 2
        say(file, TWO.partition("[resources.two]")[0])
        report = await config.reload()
        assert report.removed == ("two",)


async def test_one_who_empties_an_empty_one_is_not_refused(file: Path) -> None:
    """There is nothing to lose."""
    async with live(file, "[admin]\nport = 0\n") as (config, _, _):
        assert (await config.reload()).is_empty


async def test_a_look_during_a_reload_comes_after_it(file: Path) -> None:
    """SIGHUP while another reload opens pools: the file is read once more behind it, and once for many of them."""
    async with live(file) as (config, manager, _):
        say(file, TWO + f'\n[resources.three]\ndriver = "{__name__}:Thing"\n')
        going = asyncio.ensure_future(config.reload())
        await asyncio.sleep(0.5)
        assert config.is_busy
        with pytest.raises(ReloadInProgress):
            await config.reload()
        say(file, TWO + f'\n[resources.four]\ndriver = "{__name__}:Thing"\n')
        looks = [asyncio.ensure_future(config.reload_or_log("SIGHUP")) for _ in range(3)]
        await going
        assert await asyncio.gather(*looks) == [True, False, False]
        assert not config.is_busy
        await asyncio.sleep(1)
        assert held(manager) == ["four", "one", "two"]
        assert config.generation == 3


async def test_a_look_that_is_given_up_lets_the_next_one_look(file: Path) -> None:
    """Cancelled while it waits its turn."""
    async with live(file) as (config, manager, _):
        say(file, TWO + f'\n[resources.three]\ndriver = "{__name__}:Thing"\n')
        going = asyncio.ensure_future(config.reload())
        await asyncio.sleep(0.5)
        waiting = asyncio.ensure_future(config.reload_or_log("SIGHUP"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert waiting.cancelled()
        await going
        assert await config.reload_or_log("SIGHUP")
        assert held(manager) == ["one", "three", "two"]


async def test_what_cannot_be_opened_changes_nothing(file: Path) -> None:
    """A required one that refuses: named by its path; what was opened beside it is taken out again."""
    async with live(file) as (config, manager, told):
        Thing.fails.add("bad")
        say(
            file,
            TWO
            + f'\n[resources.good]\ndriver = "{__name__}:Thing"\n'
            + f'\n[resources.bad]\ndriver = "{__name__}:Thing"\nrequired = true\n',
        )
        with pytest.raises(ValidationFailed) as caught:
            await config.reload()
        [violation] = caught.value.violations
        assert (violation.field, violation.actual) == (
            "resources.bad",
            "CreateFailed: ConnectionRefusedError",
        )
        assert held(manager) == ["one", "two"]
        assert config.generation == 1
        assert [type(each) for each in told] == [ConfigReloadRejected]


async def test_every_changed_one_that_cannot_be_opened_is_named(file: Path) -> None:
    """By its name in the file, where two share an id; what could be opened stays as it was, too."""
    shared = "".join(
        f'\n[resources.{name}]\ndriver = "{__name__}:Thing"\nid = "shared"\nscope = "tenant:{name}"\n'
        for name in ("acme", "umbrella")
    )
    async with live(file, TWO + shared) as (config, manager, told):
        before = {each.public_id: each.pool for each in manager.pools()}
        Thing.fails.update({"two", "shared"})
        began = asyncio.get_running_loop().time()
        names = ("one", "two", "acme", "umbrella")
        say(file, TWO + shared + "".join(f"\n[resources.{name}.pool]\nmax_size = 3\n" for name in names))
        with pytest.raises(ValidationFailed) as caught:
            await config.reload()
        assert asyncio.get_running_loop().time() - began < 2
        assert [(each.field, each.actual) for each in caught.value.violations] == [
            (f"resources.{name}", "CreateFailed: ConnectionRefusedError")
            for name in ("two", "acme", "umbrella")
        ]
        assert {each.public_id: each.pool for each in manager.pools()} == before
        assert config.generation == 1
        assert type(told[-1]) is ConfigReloadRejected


async def test_a_cancelled_reload_changes_nothing(file: Path) -> None:
    """While a new one is being opened."""
    async with live(file) as (config, manager, told):
        say(file, TWO + f'\n[resources.three]\ndriver = "{__name__}:Thing"\n')
        going = asyncio.ensure_future(config.reload())
        await asyncio.sleep(0.5)
        going.cancel()
        await asyncio.wait((going,))
        assert going.cancelled()
        assert (held(manager), told, config.is_busy) == (["one", "two"], [], False)


async def test_a_patch_holds_until_the_file_is_read_again(file: Path) -> None:
    """A dry run says what would be; what is in force and not in the file is told; the file itself is not touched."""
    async with live(file) as (config, manager, told):
        patch = {"resources": {"one": {"pool": {"max_size": 3}}}, "admin": {"log_level": "DEBUG"}}
        seen: list[str] = []
        before = (await read_here(file)).document
        config.on_settings = lambda admin: seen.append(admin.log_level)
        (dry, real) = [await config.reload(patch=patch, dry_run=each) for each in (True, False)]
        assert (dry.changed, dry.settings, dry.generation) == (("one",), ("admin.log_level",), 1)
        assert (real.changed, real.generation, dry.patched) == (("one",), 2, real.patched)
        assert config.reading().patched == real.patched == ("resources.one.pool.max_size", "admin.log_level")
        assert config.reading().values["resources"]["one"]["pool"]["max_size"] == 3
        assert manager.registry.named("one")[0].pool.stats().max == 3
        again = await config.reload()
        assert (again.changed, again.patched, config.reading().patched) == (("one",), (), ())
        assert manager.registry.named("one")[0].pool.stats().max == 10
        assert seen == ["DEBUG", "INFO"]
        assert (await read_here(file)).document == before
        assert {type(each) for each in told} == {ConfigReloaded}


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"resources": {"one": {"pool": {"max_size": 0}}}}, "resources.one.pool.max_size"),
        ({"resources": {"one": {"pool": "big"}}}, "resources.one.pool"),
        ({"resources": {"one": {"config": {}}}}, "resources.one"),
        ({"admin": {"log_level": "LOUD"}}, "admin.log_level"),
        ({"resources": "none"}, "resources"),
        ({"resources": {"one": 1}}, "resources.one"),
    ],
)
async def test_a_wrong_patch_changes_nothing(file: Path, patch: dict[str, Any], field: str) -> None:
    """Not even what is right in it; what was refused is told as for a file."""
    async with live(file) as (config, manager, told):
        good = {"resources": {"two": {"pool": {"max_size": 3}}}}
        await config.reload(patch=good)
        merged = {**good, **patch}
        if isinstance(patch.get("resources"), dict):
            merged["resources"] = {**good["resources"], **patch["resources"]}
        with pytest.raises(ValidationFailed) as caught:
            await config.reload(patch=merged)
        assert [each.field for each in caught.value.violations] == [field]
        assert (config.generation, config.patched) == (2, ("resources.two.pool.max_size",))
        assert [each.pool.stats().max for each in manager.pools()] == [10, 3]
        assert type(told[-1]) is ConfigReloadRejected


async def test_a_patch_cannot_win_over_the_command_line(file: Path) -> None:
    """It would be answered as done, and nothing would have become of it."""
    say(file, TWO)
    async with Manager() as manager:
        loud = {"NEBULA_LOG_LEVEL": "ERROR"}
        config = LiveConfig(manager, load(file, environment=loud), environment=loud, read=read_here)
        await config.start()
        with pytest.raises(ValidationFailed) as caught:
            await config.reload(patch={"admin": {"log_level": "DEBUG"}})
        assert [each.field for each in caught.value.violations] == ["admin.log_level"]
        await config.close()


async def test_whatever_goes_wrong_the_watcher_lives_on(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours stands in the log with its traceback; the next look works."""
    async with live(file) as (config, _, _):

        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "nebula_resource.service.config"):
            patch.setattr("nebula_resource.service.live_config.plan_of", broken)
            assert await config.reload_or_log("the file has changed")
        assert [each.message for each in caplog.records] == ["configuration not read again"]
        assert await config.reload_or_log("the file has changed")
