"""Audit: what is meant is on the disk before it is done (T21 of the threats)."""

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from nebula_resource.admin.audit_file import PATIENCE
from tests.app.admin_process import admin_process
from tests.app.admin_world import admin_world


def lines_of(file: Path) -> list[tuple[str, str, str]]:
    """Phase, action and outcome of each line that is there."""
    told: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    return [(each["phase"], each["action"], each["outcome"]) for each in told]


async def test_a_kill_in_the_middle_leaves_the_intent(tmp_path: Path) -> None:
    """The process is killed while it does what was asked: who wanted what, and why, is in the file; no outcome is."""
    file = tmp_path / "audit.jsonl"
    with admin_process(audit_file=file) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as http:
            isolated = await http.post("/quarantine", json={"resource_id": "db", "reason": "disk"})
            assert isolated.status_code == 201
            server.freeze()
            asking = asyncio.create_task(http.post("/quarantine/db/release", json={"reason": "new disk"}))
            async with asyncio.timeout(20):
                while len(lines_of(file)) < 3:  # noqa: ASYNC110  # another process writes it
                    await asyncio.sleep(0.01)
            server.kill()
            with pytest.raises(httpx.TransportError):
                await asking
    assert lines_of(file) == [
        ("intent", "quarantine.enter", "under_way"),
        ("outcome", "quarantine.enter", "ok"),
        ("intent", "quarantine.release.probe", "under_way"),
    ]
    last = json.loads(file.read_text().splitlines()[-1])
    assert (last["by"], last["pool"], last["reason"]) == ("local", "db", "new disk")


async def test_what_cannot_be_written_down_is_not_done(tmp_path: Path) -> None:
    """503, and nothing has changed; nothing of it is in the list."""
    file = tmp_path / "audit.jsonl"
    file.mkdir()
    async with admin_world(audit_file=file) as world:
        await world.add("db")
        answer = await world.post("/quarantine", {"resource_id": "db", "reason": "disk"}, status=503)
        assert answer["code"] == "audit_unavailable"
        assert (await world.get("/quarantine"))["items"] == []
        assert (await world.get("/audit"))["items"] == []
        file.rmdir()
        await world.post("/quarantine", {"resource_id": "db", "reason": "disk"}, status=201)
        file.unlink()
        file.mkdir()
        await world.post("/quarantine/db/release", {"mode": "force"}, status=503)
        assert len((await world.get("/quarantine"))["items"]) == 1


async def test_a_pipe_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    """Opening it would wait for a reader, and with it every request: it cannot be written, and that is said."""
    file = tmp_path / "audit.jsonl"
    os.mkfifo(file)
    async with admin_world(audit_file=file) as world:
        await world.add("db")
        async with asyncio.timeout(PATIENCE / 2):  # at once, not when patience with a slow disk is over
            answer = await world.post("/quarantine", {"resource_id": "db", "reason": "disk"}, status=503)
        assert answer["code"] == "audit_unavailable"
        assert (await world.get("/quarantine"))["items"] == []


async def test_a_reason_forges_no_line_of_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Line ends, colours and marks that turn the reading direction are escapes there; the file's line stays one line."""
    file, reason = tmp_path / "audit.jsonl", "disk\r\n2026-01-01 [info] all is well\x1b[2K\u202e\u2028"
    async with admin_world(audit_file=file) as world:
        await world.add("db")
        with caplog.at_level(logging.INFO, "nebula_resource.admin.audit"):
            await world.post("/quarantine", {"resource_id": "db", "reason": reason}, status=201)
    told = [
        vars(record)["reason"] for record in caplog.records if record.name == "nebula_resource.admin.audit"
    ]
    assert told == ["disk\\r\\n2026-01-01 [info] all is well\\x1b[2K\\u202e\\u2028"] * 2
    lines = file.read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [reason] * 2
    assert all(line.isascii() and line.isprintable() for line in lines)


async def test_what_failed_is_told_with_its_code(tmp_path: Path) -> None:
    """The outcome of what an error stopped is that error's code, in the file as in the list."""
    file = tmp_path / "audit.jsonl"
    async with admin_world(audit_file=file) as world:
        await world.add("db")
        await world.post("/quarantine", {"resource_id": "db", "reason": "disk"}, status=201)
        world.things["db"].broken = True
        await world.post("/quarantine/db/release", status=409)
        assert lines_of(file)[-1] == ("outcome", "quarantine.release.probe", "probe_failed")
        assert (await world.get("/audit"))["items"][0]["outcome"] == "probe_failed"
