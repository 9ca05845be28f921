"""One cascade is one incident: detected once, joined, and over when the root and all members are well."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nebula_resource.health import CascadeWatch, Incident
from tests.unit.health.graphs import PlainGraph

NIGHT = datetime(2026, 11, 28, 3, 12, tzinfo=UTC)


class Diary:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def detected(self, incident: Incident) -> None:
        self.lines.append(f"{incident.id} detected: {incident.root} ← {', '.join(incident.members)}")

    def joined(self, incident: Incident, member: str) -> None:
        self.lines.append(f"{incident.id} joined by {member}")

    def resolved(self, incident: Incident) -> None:
        self.lines.append(f"{incident.id} resolved")


STAR = {"db": [], **{name: ["db"] for name in ("a", "b", "c", "d")}}


@pytest.fixture
def diary() -> Diary:
    """Of this test."""
    return Diary()


def watch(needs: dict[str, list[str]], diary: Diary) -> CascadeWatch:
    """A watch over this graph."""
    return CascadeWatch(PlainGraph(needs), diary, utc=lambda: NIGHT)


def test_half_is_not_more_than_half(diary: Diary) -> None:
    """Two of four are no cascade, three are one, told once; the fourth joins."""
    cascades = watch(STAR, diary)
    cascades.fails("a")
    cascades.fails("b")
    assert diary.lines == []
    cascades.fails("c")
    cascades.fails("c")
    cascades.fails("d")
    assert diary.lines == ["cascade-1 detected: db ← a, b, c", "cascade-1 joined by d"]
    assert cascades.incidents() == (Incident("cascade-1", "db", ("a", "b", "c", "d"), NIGHT),)
    assert cascades.incident_of("a") == cascades.incident_of("db") == cascades.incidents()[0]
    assert cascades.incident_of("x") is None


def test_one_dependent_is_no_cascade(diary: Diary) -> None:
    """With a single dependent one failure would be all of them."""
    cascades = watch({"db": [], "a": ["db"]}, diary)
    cascades.fails("a")
    assert diary.lines == []


def test_two_of_two_are_one(diary: Diary) -> None:
    """Two at least, and more than half."""
    cascades = watch({"db": [], "a": ["db"], "b": ["db"]}, diary)
    cascades.fails("a")
    cascades.passes("a")
    cascades.fails("b")
    assert diary.lines == []
    cascades.fails("a")
    assert diary.lines == ["cascade-1 detected: db ← a, b"]


def test_it_is_over_when_root_and_members_are_well(diary: Diary) -> None:
    """The root must be released and every member pass itself, in any order; falling again undoes either."""
    cascades = watch(STAR, diary)
    for each in "abc":
        cascades.fails(each)
    cascades.passes("a")
    cascades.root_released("db")
    cascades.root_fell("db")
    cascades.passes("b")
    cascades.passes("c")
    cascades.fails("a")
    cascades.root_released("db")
    assert diary.lines == ["cascade-1 detected: db ← a, b, c"]
    cascades.passes("a")
    assert diary.lines[1:] == ["cascade-1 resolved"]
    assert cascades.incidents() == ()
    for each in "abc":
        cascades.fails(each)
    assert diary.lines[2:] == ["cascade-2 detected: db ← a, b, c"]


def test_a_root_that_comes_back_last_ends_it(diary: Diary) -> None:
    """The members passed before it; nobody else has anything to say afterwards."""
    cascades = watch(STAR, diary)
    for each in "abc":
        cascades.fails(each)
    for each in "abc":
        cascades.passes(each)
    assert diary.lines == ["cascade-1 detected: db ← a, b, c"]
    cascades.root_released("db")
    assert diary.lines[1:] == ["cascade-1 resolved"]


def test_what_is_forgotten_is_evidence_no_more(diary: Diary) -> None:
    """One that failed, went and was registered again has not failed."""
    cascades = watch({"db": [], "a": ["db"], "b": ["db"]}, diary)
    cascades.fails("a")
    cascades.forget("a")
    cascades.fails("b")
    assert diary.lines == []
    cascades.fails("a")
    assert len(diary.lines) == 1


def test_members_of_one_incident_are_no_members_of_a_second(diary: Diary) -> None:
    """Two roots share their dependents: one incident tells of them."""
    cascades = watch({"db": [], "net": [], "a": ["db", "net"], "b": ["db", "net"], "c": ["net"]}, diary)
    for each in "abc":
        cascades.fails(each)
    assert len([line for line in diary.lines if "detected" in line]) == 1


def test_members_and_roots_that_go_take_part_no_more(diary: Diary) -> None:
    """A deregistered member need not pass; a deregistered root ends the incident."""
    cascades = watch(STAR, diary)
    for each in "abc":
        cascades.fails(each)
    cascades.root_released("db")
    cascades.passes("a")
    cascades.forget("b")
    cascades.forget("c")
    assert diary.lines[1:] == ["cascade-1 resolved"]
    for each in "abc":
        cascades.fails(each)
    cascades.forget("db")
    assert diary.lines[2:] == ["cascade-2 detected: db ← a, b, c", "cascade-2 resolved"]
    assert cascades.incident_of("a") is None


def test_a_victim_is_no_root(diary: Diary) -> None:
    """What fails because of something below does not make an incident of its own, nor do those above it."""
    needs = {
        "db": [],
        "b1": ["db"],
        "b2": ["db"],
        "c1": ["b1", "b2"],
        "c2": ["b1", "b2"],
        "d1": ["c1"],
        "d2": ["c1"],
    }
    cascades = watch(needs, diary)
    for each in ("b1", "b2", "c1", "c2", "d1", "d2"):
        cascades.fails(each)
    assert diary.lines == ["cascade-1 detected: db ← b1, b2"]


def test_of_two_possible_roots_the_one_that_fails_is_taken(diary: Diary) -> None:
    """Members with two dependencies in common belong to one incident: that of the dependency that is ill."""
    needs = {"cache": [], "db": [], "a": ["cache", "db"], "b": ["cache", "db"]}
    cascades = watch(needs, diary)
    for each in ("db", "a", "b"):
        cascades.fails(each)
    assert diary.lines == ["cascade-1 detected: db ← a, b"]


def test_of_two_healthy_roots_the_deepest_is_taken(diary: Diary) -> None:
    """Then the first by id; and only one."""
    needs = {"net": [], "api": ["net"], "a": ["api", "net"], "b": ["api", "net"], "api2": []}
    cascades = watch(needs, diary)
    cascades.fails("a")
    cascades.fails("b")
    # net has three dependents, of which two fail: more than half
    assert diary.lines == ["cascade-1 detected: net ← a, b"]
    diary.lines.clear()
    cascades = watch({"y": [], "x": [], "a": ["y", "x"], "b": ["y", "x"]}, diary)
    cascades.fails("a")
    cascades.fails("b")
    assert diary.lines == ["cascade-1 detected: x ← a, b"]


def test_a_root_that_fails_itself_stays_a_root(diary: Diary) -> None:
    """Its own failure opens nothing new while its incident is open, unless it is a victim of something below."""
    needs = {"net": [], "db": ["net"], "other": ["net"], "a": ["db"], "b": ["db"]}
    cascades = watch(needs, diary)
    for each in ("a", "b", "db"):
        cascades.fails(each)
    assert diary.lines == ["cascade-1 detected: db ← a, b"]
    cascades.fails("other")
    assert diary.lines[1:] == ["cascade-2 detected: net ← db, other"]
    assert cascades.incident_of("db") == Incident("cascade-2", "net", ("db", "other"), NIGHT)


def test_unsettled_evidence_counts_no_more(diary: Diary) -> None:
    """A resource that was reset is neither failing nor passed."""
    cascades = watch({"db": [], "a": ["db"], "b": ["db"]}, diary)
    cascades.fails("a")
    cascades.unsettled("a")
    cascades.fails("b")
    assert diary.lines == []
    assert repr(cascades) == "<CascadeWatch 1 failing, 0 incidents open>"
    cascades.root_released("db")
    cascades.root_fell("db")
    assert diary.lines == []
