"""Where the command line writes to: narrow terminals, full disks, streams that nobody has opened."""

import io
import json
import re
import subprocess
import sys

import pytest

from nebula_resource.cli.commands import run
from tests.architecture.tree import ROOT
from tests.scenarios.answering import JSON, answering

POOL = {
    "id": "db~b44p7eaqer", "state": "running", "driver": "sqlalchemy", "scope": {"level": "tenant", "label": "globex"}, "health": {"effective": "healthy"},
    "size": {"used": 0, "idle": 1, "max": 2}, "waiters": {"count": 0}, "latency_s": {"acquire": {"p95": 0.25}},
}  # fmt: skip  # one value
POOLS = json.dumps({"items": [POOL], "next_cursor": None}).encode()
ENTRY = {
    "id": "db~b44p7eaqer", "reason": "manual", "detail": "the disk is being replaced " * 4, "since": "2026-11-28T03:12:00.000Z", "phase": "stopped",
    "attempts": 0, "max_attempts": 10, "next_attempt_in_s": None, "dependents": 3, "by": "somebody",
}  # fmt: skip  # one value


class Terminal(io.StringIO):
    """Somebody looks."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def seen(monkeypatch: pytest.MonkeyPatch, columns: int, body: bytes, *arguments: str) -> str:
    """What a terminal of so many columns shows."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with answering((200, JSON, body)) as (url, _):
        assert run([*arguments, "--url", url]) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())


def test_a_terminal_that_is_wide_enough_shows_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row a line."""
    told = seen(monkeypatch, 96, POOLS, "pools")
    assert "POOL" in told
    assert ["db~b44p7eaqer", "tenant", "globex", "running", "healthy", "0", "1", "2", "0", "250", "ms", "sqlalchemy"] in [
        line.split() for line in told.splitlines()
    ]  # fmt: skip  # one row


@pytest.mark.parametrize("columns", [30, 60, 80, 94])
def test_a_narrow_terminal_is_told_everything_uncut(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """The id on a line of its own, whole, for it is what the next command asks for; and no column is left out."""
    told = seen(monkeypatch, columns, POOLS, "pools")
    assert told.splitlines()[0] == "db~b44p7eaqer"
    assert " ".join(told.split("\n", 1)[1].split()) == (
        "scope tenant globex, state running, health healthy, used 0, idle 1, max 2, waiting 0, p95 wait 250 ms, driver sqlalchemy"
    )
    assert "…" not in told


def test_a_long_reason_is_broken_before_anything_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is prose; what stands beside it keeps its line."""
    body = json.dumps({"items": [ENTRY], "next_cursor": None}).encode()
    told = seen(monkeypatch, 130, body, "quarantine", "list")
    assert "PHASE" in told
    assert max(map(len, told.splitlines())) <= 130
    assert "2026-11-28T03:12:00.000Z" in told
    assert told.count("replaced") == 4


@pytest.mark.parametrize("arguments", ["pools", "pools --json"])
def test_a_full_disk_is_one_line(arguments: str) -> None:
    """No traceback, and no code that says all is well: also where little was written, which is kept back until the end."""
    with answering((200, JSON, POOLS)) as (url, _), open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nebula_resource.cli", *arguments.split(), "--url", url],
            cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip  # one command
    assert (done.returncode, done.stderr) == (
        1,
        "nebula: the output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_stream_that_is_closed_is_no_failure(closed: str, is_there: bool) -> None:
    """As a job scheduler may start it: the code says how it ended, whoever listens."""
    with answering((200, JSON, POOLS)) as (url, _):
        done = subprocess.run(
            ["sh", "-c", f'"$1" -m nebula_resource.cli pools --url "$2" {closed}', "sh", sys.executable,
             url if is_there else "http://127.0.0.1:1"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip  # one command
    assert done.returncode == (0 if is_there else 3)
    assert bool(done.stderr) == (not is_there and "2>" not in closed)
