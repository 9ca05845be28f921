"""The tally counts checks by resource and result, and times each stage that a pipeline tells of."""

from __future__ import annotations

from typing import Any

import pytest

from nebula_resource.health import CheckTally
from nebula_resource.model.health import HealthStatus


def stage(name: object = "connectivity", latency_s: object = 0.5) -> dict[str, object]:
    """What a pipeline writes of one of its stages."""
    return {"name": name, "kind": "healthy", "latency_s": latency_s}


def test_checks_are_counted_by_what_they_found() -> None:
    """All registrations of one resource together; of another, and of one that is gone, there are none."""
    tally = CheckTally()
    for status in (HealthStatus.healthy(), HealthStatus.healthy(), HealthStatus.unhealthy("no")):
        tally.note("db", status)
    assert tally.results("db") == {"healthy": 2, "unhealthy": 1}
    assert (tally.count("db"), tally.count("cache")) == (3, 0)
    tally.forget("db")
    assert (tally.count("db"), tally.results("db"), tally.durations("db")) == (0, {}, {})
    tally.forget("db")


def test_each_stage_is_timed_by_its_name() -> None:
    """And a check without stages as one, the whole."""
    tally = CheckTally()
    for _ in range(2):
        tally.note("db", HealthStatus.healthy(metadata={"stages": [stage(), stage("performance", 0.25)]}))
    tally.note("db", HealthStatus.healthy(latency_s=3.0))
    told = {name: (each.count, each.total_s) for name, each in tally.durations("db").items()}
    assert told == {"connectivity": (2, 1.0), "performance": (2, 0.5), "whole": (1, 3.0)}


@pytest.mark.parametrize(
    ("stages", "names"),
    [
        ("three of them", {"whole"}),
        ([], {"whole"}),
        (["connectivity"], {"whole"}),
        ([{}], {"whole"}),
        ([stage(5)], {"whole"}),
        ([stage("connectivity", "long")], {"whole"}),
        ([stage("connectivity", None)], {"whole"}),
        ([stage(), "performance", stage("utilization")], {"connectivity"}),
        ([stage(f"stage-{number}") for number in range(40)], {f"stage-{number}" for number in range(16)}),
    ],
)
def test_nonsense_in_the_place_of_stages_is_one_whole(stages: Any, names: set[str]) -> None:
    """A user's own check may write anything there: it breaks nothing, and makes no more than sixteen names."""
    tally = CheckTally()
    tally.note("db", HealthStatus.healthy(latency_s=1.0, metadata={"stages": stages}))
    assert tally.durations("db").keys() == names


def test_names_that_change_with_every_check_are_told_as_others() -> None:
    """Sixteen are told apart, whatever comes; what is beyond them is still timed."""
    tally = CheckTally()
    for number in range(100):
        tally.note("db", HealthStatus.healthy(metadata={"stages": [stage(f"check {number}")]}))
    durations = tally.durations("db")
    assert len(durations) == 17
    assert durations["_other"].count == 84
    tally.note("db", HealthStatus.healthy(metadata={"stages": [stage("check 3")]}))
    assert tally.durations("db")["check 3"].count == 2
