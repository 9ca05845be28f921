"""The audit's disk: while it is slow everybody else is served, and nothing is done before it is written."""

import asyncio
import json
import os
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nebula_resource.admin import audit_file
from nebula_resource.admin.audit_file import AuditFile
from tests.app.admin_world import admin_world

LONG = 20.0


class SlowDisk:
    """Stands in for ``fsync``: lets nobody pass while it is `held`, and notes what is asked of it."""

    def __init__(self) -> None:
        self.passes = threading.Event()
        self.passes.set()
        self.asked = 0

    def __call__(self, descriptor: int) -> None:
        self.asked += 1
        assert self.passes.wait(LONG)

    async def is_asked(self, times: int) -> None:
        """Wait until so many lines, or bundles of them, were to be put on it."""
        async with asyncio.timeout(LONG):
            while self.asked < times:  # noqa: ASYNC110  # a thread asks it
                await asyncio.sleep(0.001)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Generator[SlowDisk]:
    """The disk of these tests."""
    made = SlowDisk()
    monkeypatch.setattr(os, "fsync", made)
    yield made
    made.passes.set()


def told(file: Path) -> list[dict[str, Any]]:
    """The lines of the file."""
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_a_slow_disk_holds_up_who_changes_something_and_nobody_else(
    tmp_path: Path, disk: SlowDisk
) -> None:
    """The change waits for its line, the answer for that of its outcome; all others are answered meanwhile."""
    async with admin_world(audit_file=tmp_path / "audit.jsonl") as world:
        await world.add("db")
        disk.passes.clear()
        asking = asyncio.create_task(
            world.post("/quarantine", {"resource_id": "db", "reason": "disk"}, status=201)
        )
        await disk.is_asked(1)
        assert [each["phase"] for each in told(tmp_path / "audit.jsonl")] == [
            "intent"
        ]  # it is what the disk is asked for
        assert (await world.get("/quarantine"))["items"] == []
        await world.get("/health/live")
        assert not asking.done()
        disk.passes.set()
        await asking
        assert disk.asked == 2


async def test_who_looked_before_somebody_else_changed_it_is_told(tmp_path: Path, disk: SlowDisk) -> None:
    """Two with the same tag wait for the disk: one resizes, the other gets 412, and both stand in the audit."""
    async with admin_world(audit_file=tmp_path / "audit.jsonl") as world:
        await world.add("db")
        tag = {"If-Match": (await world.send("GET", "/pools/db")).headers["etag"]}
        disk.passes.clear()

        def resize(size: int) -> asyncio.Task[httpx.Response]:
            body = {"max": size, "reason": "x"}
            return asyncio.create_task(world.send("POST", "/pools/db/resize", json=body, headers=tag))

        asking = [resize(5)]
        await disk.is_asked(1)
        # Only now: two lines at once would be one write, and nobody would wait for the next.
        asking.append(resize(6))
        async with asyncio.timeout(LONG):
            while "1 waiting" not in repr(world.app.state.admin.audit._file):  # noqa: ASYNC110  # the other one has looked too
                await asyncio.sleep(0)
        disk.passes.set()
        answers = [await each for each in asking]
        assert sorted(each.status_code for each in answers) == [200, 412]
        outcomes = [each["outcome"] for each in told(tmp_path / "audit.jsonl") if each["phase"] == "outcome"]
        assert sorted(outcomes) == ["changed_meanwhile", "ok"]


@pytest.mark.parametrize(
    ("verb", "body"), [("drain", {}), ("suspend", {}), ("resume", {}), ("recycle", {})], ids=str
)
async def test_what_ended_meanwhile_is_not_changed(
    tmp_path: Path, disk: SlowDisk, verb: str, body: dict[str, Any]
) -> None:
    """The pool closes while the order is being written: 409, as if it had been closed before."""
    async with admin_world(audit_file=tmp_path / "audit.jsonl") as world:
        await world.add("db")
        if verb == "resume":
            await world.post("/pools/db/suspend", {"reason": "x"})
        pool = world.manager.pools()[0].pool
        written = disk.asked
        disk.passes.clear()
        asking = asyncio.create_task(world.send("POST", f"/pools/db/{verb}", json={"reason": "x", **body}))
        await disk.is_asked(written + 1)
        await pool.close()
        disk.passes.set()
        assert (await asking).status_code == 409
        assert told(tmp_path / "audit.jsonl")[-1]["outcome"] == "invalid_state_transition"


async def test_a_disk_that_does_not_answer_stops_changes_alone(
    tmp_path: Path, disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 when its time is over, and not done; what was never begun is not written when the disk is back."""
    monkeypatch.setattr(audit_file, "PATIENCE", 0.05)
    file = tmp_path / "audit.jsonl"
    async with admin_world(audit_file=file) as world:
        await world.add("db")
        disk.passes.clear()
        for reason in ("first", "second"):
            async with asyncio.timeout(LONG / 2):
                answer = await world.post("/quarantine", {"resource_id": "db", "reason": reason}, status=503)
            assert answer["code"] == "audit_unavailable"
        assert (await world.get("/quarantine"))["items"] == []
        assert disk.asked == 1
        disk.passes.set()
        monkeypatch.setattr(audit_file, "PATIENCE", LONG)
        await world.post("/quarantine", {"resource_id": "db", "reason": "third"}, status=201)
        assert [(each["phase"], each["reason"]) for each in told(file)] == [
            ("intent", "first"),  # it was under way: an intent without an outcome
            ("intent", "third"),
            ("outcome", "third"),
        ]


async def test_what_comes_while_the_disk_is_busy_goes_together(tmp_path: Path, disk: SlowDisk) -> None:
    """A hundred lines in their order, with one wait for the disk after the first; who is cancelled loses no line."""
    file = AuditFile(tmp_path / "audit.jsonl")
    disk.passes.clear()
    first = asyncio.create_task(file.add("0"))
    await disk.is_asked(1)
    others = [asyncio.create_task(file.add(str(number))) for number in range(1, 101)]
    await asyncio.sleep(0)
    others[49].cancel()
    assert repr(file).endswith("audit.jsonl', 100 waiting>")
    disk.passes.set()
    await asyncio.wait([first, *others])
    assert [each.cancelled() for each in others].count(True) == 1
    assert (tmp_path / "audit.jsonl").read_text().split() == [str(number) for number in range(101)]
    assert disk.asked == 2


async def test_whatever_is_wrong_everybody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is none, no memory: who waits hears of it at once, and not when patience is over."""
    with pytest.raises(OSError, match="ValueError"):
        await AuditFile(tmp_path / "a\0b").add("x")

    async def none(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(audit_file, "beside", none)
    with pytest.raises(OSError, match="MemoryError"):
        await AuditFile(tmp_path / "audit.jsonl").add("x")


async def test_half_a_line_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle of one, or a process that dies there: the next line begins a line."""
    path = tmp_path / "audit.jsonl"
    path.write_text("1\nha")
    file = AuditFile(path)
    await file.add("2")
    await file.add("3")
    assert path.read_text() == "1\nha\n2\n3\n"

    def full(descriptor: int) -> None:
        os.write(descriptor, b"ha")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            await file.add("4")
    await file.add("5")
    await file.add("6")
    assert path.read_text() == "1\nha\n2\n3\n4\nha\n5\n6\n"


async def test_nobody_waits_for_a_writer_that_was_called_off(tmp_path: Path, disk: SlowDisk) -> None:
    """Those whose lines are under way and those behind them; the next line has a writer of its own."""
    file = AuditFile(tmp_path / "audit.jsonl")
    disk.passes.clear()
    first = asyncio.create_task(file.add("1"))
    await disk.is_asked(1)
    second = asyncio.create_task(file.add("2"))
    await asyncio.sleep(0)
    async with asyncio.timeout(LONG / 4):
        await file._tasks.cancel_all()
        await asyncio.wait([first, second])
    for each in (first, second):
        with pytest.raises(OSError, match="called off"):
            each.result()
    disk.passes.set()
    await file.add("3")
    assert (tmp_path / "audit.jsonl").read_text() == "1\n3\n"


async def test_without_a_thread_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may start no thread says so at once, and tries again the next time."""

    async def none(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    file = AuditFile(tmp_path / "audit.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(audit_file, "beside", none)
        with pytest.raises(OSError, match="can't start new thread"):
            await file.add("x")
    await file.add("y")
    assert (tmp_path / "audit.jsonl").read_text() == "y\n"
