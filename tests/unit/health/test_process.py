"""The meter tells which share of what it may have this process uses, or None where it cannot tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nebula_resource.health import ProcessMeter, process


def test_processor_share_is_of_all_processors_since_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds of work in five on two processors are 30 %; without time passed the last share stands."""
    monkeypatch.setattr(process, "_processors", lambda: 2)
    clock, used = [100.0], [7.0]
    meter = ProcessMeter(cpu_seconds=lambda: used[0], now=lambda: clock[0], memory=lambda: (25, 100))
    assert meter() == {"cpu": None, "memory": 0.25}
    clock[0], used[0] = 105.0, 10.0
    assert meter()["cpu"] == pytest.approx(0.3)
    assert meter()["cpu"] == pytest.approx(0.3)
    clock[0] = 110.0
    assert meter()["cpu"] == 0.0


async def test_the_real_process_uses_something() -> None:
    """On this system memory can be told."""
    found = ProcessMeter()()
    assert found["cpu"] is None
    assert found["memory"] is not None
    assert 0 < found["memory"] < 1


def test_only_processors_that_it_may_run_on_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound to three of many: three; where the system knows no such bounds, all there are; at least one."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 6}, raising=False)
    assert process._processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert process._processors() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert process._processors() == 1


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cgroup's limit is taken when it is lower than the machine's memory; "max" is none."""
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(process, "CGROUP_LIMIT", limit)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for text, expected in (("max", physical), ("1000000", 1_000_000), (str(physical * 2), physical)):
        limit.write_text(text)
        found = process._memory()
        assert found is not None
        assert found[1] == expected


def test_a_system_without_proc_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None, and no error."""
    monkeypatch.setattr(process, "STATM", tmp_path / "missing")
    assert ProcessMeter(now=lambda: 0.0)()["memory"] is None
