"""The watch of configuration files misses no change, whenever it is made."""

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from nebula_resource.errors import ValidationFailed
from nebula_resource.manager import Manager
from nebula_resource.service import live_config, toml_file, watch
from nebula_resource.service.declaration import load
from nebula_resource.service.live_config import LiveConfig, read_beside
from nebula_resource.service.watch import signature_of, watching

LONG = 20.0


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every five seconds."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 100)


async def test_a_change_made_before_anything_watches_is_noticed(tmp_path: Path) -> None:
    """The file was read, then changed, and only then watched."""
    file = tmp_path / "nebula.toml"
    file.write_text("a = 1")
    read = await signature_of(frozenset({file}))
    file.write_text("a = 2")
    noticed = asyncio.Event()

    async def changed() -> bool:
        noticed.set()
        return True

    async with watching(lambda: frozenset({file}), changed, known=read):
        await asyncio.wait_for(noticed.wait(), LONG)


async def test_one_that_could_not_be_looked_at_is_told_again(tmp_path: Path) -> None:
    """While another reload is under way nothing is read; the change is not forgotten for that."""
    file = tmp_path / "nebula.toml"
    file.write_text("a = 1")
    read = await signature_of(frozenset({file}))
    file.write_text("a = 2")
    answers = [True, False, False]
    noticed = asyncio.Event()

    async def changed() -> bool:
        if len(answers) == 1:
            noticed.set()
        return answers.pop()

    async with watching(lambda: frozenset({file}), changed, known=read):
        await asyncio.wait_for(noticed.wait(), LONG)


async def test_a_change_made_during_a_reload_that_names_other_files_is_noticed(tmp_path: Path) -> None:
    """The reload read the old content and now watches a secret's file too."""
    file, secret = tmp_path / "nebula.toml", tmp_path / "secret"
    file.write_text("a = 1")
    secret.write_text("x")
    read = await signature_of(frozenset({file}))
    file.write_text("a = 2")
    watched = {file}
    seen: list[str] = []
    noticed = asyncio.Event()

    async def changed() -> bool:
        seen.append(file.read_text())
        if len(seen) == 1:
            watched.add(secret)
            file.write_text("a = 3")
        if seen[-1] == "a = 3":
            noticed.set()
        return True

    async with watching(lambda: frozenset(watched), changed, known=read):
        await asyncio.wait_for(noticed.wait(), LONG)


class SlowDisk:
    """Whoever reads a file stands still until `answer` is called."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._goes_on = threading.Event()

    def read(self, path: Path, most: int) -> bytes:
        self.begun.set()
        assert self._goes_on.wait(LONG)
        return path.read_bytes()

    def answer(self) -> None:
        self._goes_on.set()


async def test_a_disk_that_stands_still_stops_the_watch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop turns meanwhile, and whoever has enough of waiting leaves at once."""
    disk = SlowDisk()
    monkeypatch.setattr(watch, "read_plain", disk.read)
    file = tmp_path / "nebula.toml"
    file.write_text("a = 1")

    async def changed() -> bool:
        return True

    async with watching(lambda: frozenset({file}), changed, known=()):
        async with asyncio.timeout(LONG):
            while not disk.begun.is_set():  # noqa: ASYNC110  # a thread sets it
                await asyncio.sleep(0.01)
    disk.answer()


NEW_DRIVER = """
import threading
from nebula_resource.testing.mock import MockResource

THREAD = threading.current_thread().name

class Fresh(MockResource):
    pass
"""


async def test_a_driver_that_a_reload_names_first_is_imported_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import takes what it takes, and nobody waits for it; what is no driver is found when it is declared."""
    (tmp_path / "fresh_driver.py").write_text(NEW_DRIVER)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "nebula.toml"
    file.write_text('[resources.one]\ndriver = "nebula_resource.testing.mock:MockResource"\n')
    more = '[resources.two]\ndriver = "fresh_driver:Fresh"\n'
    wrong = '[resources.three]\ndriver = "nowhere:Thing"\n[resources.four]\ndriver = 4\n'
    try:
        async with Manager() as manager:
            live = LiveConfig(manager, load(file, environment={}), environment={})
            file.write_text(more)
            report = await live.reload(dry_run=True)
            assert report.added == ("two",)
            assert sys.modules["fresh_driver"].THREAD == "nebula configuration reader"
            for bad, path in ((wrong, "resources.three.driver"), ("resources = 4", "resources")):
                file.write_text(bad)
                with pytest.raises(ValidationFailed) as caught:
                    await live.reload(dry_run=True)
                assert path in [each.field for each in caught.value.violations]
            file.write_text("[resources]\ntwo = 4\n")
            with pytest.raises(ValidationFailed):
                await live.reload(dry_run=True)
    finally:
        sys.modules.pop("fresh_driver", None)


async def test_a_reload_does_not_wait_for_a_disk_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; what comes of the reading later is nobody's business."""
    disk = SlowDisk()
    monkeypatch.setattr(toml_file, "read_plain", disk.read)
    monkeypatch.setattr(live_config, "READ_SECONDS", 0.05)
    file = tmp_path / "nebula.toml"
    file.write_text("a = 1")
    with pytest.raises(ValidationFailed, match=r"within 0.05 s.*a disk that does not answer"):
        await read_beside(file)
    disk.answer()
