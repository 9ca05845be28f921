"""When nearly all that is unrelated fails at once, the checker suspects itself, until half is well."""

from __future__ import annotations

from nebula_resource.health import Suspicion
from tests.unit.health.graphs import PlainGraph


class Diary:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def suspected(self, failing: int, probed: int) -> None:
        self.lines.append(f"suspected {failing}/{probed}")

    def cleared(self, well: int, known: int) -> None:
        self.lines.append(f"cleared {well}/{known}")


def suspicion(diary: Diary, needs: dict[str, list[str]] | None = None) -> Suspicion:
    """A watch with the default interval of 30 s."""
    return Suspicion(PlainGraph(needs or {}), diary)


def test_five_unrelated_ones_failing_are_suspicious() -> None:
    """Four are not, five are, told once, and half being well ends it."""
    diary = Diary()
    doubt = suspicion(diary)
    for step, name in enumerate("abcde"):
        assert diary.lines == []
        doubt.probed(name, failed=True, now=step)
    assert diary.lines == ["suspected 5/5"]
    doubt.probed("f", failed=True, now=5)
    for name in "abc":
        assert len(diary.lines) == 1
        doubt.probed(name, failed=False, now=6)
    assert diary.lines == ["suspected 5/5", "cleared 3/6"]
    assert not doubt.is_suspected


def test_four_fifths_of_all_must_fail() -> None:
    """Eight of ten are enough, seven of nine are not."""
    diary = Diary()
    doubt = suspicion(diary)
    for name in "xy":
        doubt.probed(name, failed=False, now=0)
    for step, name in enumerate("abcdefgh"):
        doubt.probed(name, failed=True, now=0)
        assert bool(diary.lines) == (step == 7)
    assert diary.lines == ["suspected 8/10"]


def test_only_one_interval_counts() -> None:
    """Failures further apart than the interval are a bad day, not a bad checker."""
    diary = Diary()
    doubt = suspicion(diary)
    for step, name in enumerate("abcdefgh"):
        doubt.probed(name, failed=True, now=step * 8)
    assert diary.lines == []  # four within any 30 s
    doubt.probed("a", failed=True, now=60)
    assert diary.lines == ["suspected 5/5"]


def test_related_ones_count_once() -> None:
    """A server that is down with all that need it, or with all its tenants, is one failure."""
    diary = Diary()
    doubt = suspicion(diary, {"db": [], **{name: ["db"] for name in "abcdefg"}})
    for name in ("db", *"abcdefg"):
        doubt.probed(name, failed=True, now=0)
    assert diary.lines == []
    doubt = suspicion(diary)
    for tenant in range(50):
        doubt.probed(f"pg~tenant{tenant}", failed=True, now=0)
    assert diary.lines == []
    for name in "abcd":
        doubt.probed(name, failed=True, now=0)
    assert diary.lines == ["suspected 54/54"]


def test_a_common_need_relates() -> None:
    """Two that need the same thing, however deep below, are related even if that is well."""
    diary = Diary()
    needs = {
        "net": [],
        "db": ["net", "dns"],
        "dns": ["net"],
        **{name: ["db"] for name in "abcde"},
        "f": ["net"],
    }
    doubt = suspicion(diary, needs)
    for name in "abcdef":
        doubt.probed(name, failed=True, now=0)
    assert diary.lines == []


def test_one_that_goes_may_end_the_suspicion() -> None:
    """Deregistering failing ones until half is well clears it."""
    diary = Diary()
    doubt = suspicion(diary)
    doubt.probed("well", failed=False, now=0)
    for name in "abcde":
        doubt.probed(name, failed=True, now=0)
    assert repr(doubt) == "<Suspicion 5 of 6 failing, suspected>"
    for name in "abcd":
        assert doubt.is_suspected
        doubt.forget(name)
    assert diary.lines == ["suspected 5/6", "cleared 1/2"]
    doubt.forget("nobody")
