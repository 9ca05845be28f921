"""Grouped: what a group adds up to is made anew only where one of its readings is another object."""

from collections.abc import Sequence

from nebula_resource.metrics import HealthReading, Readings, TextRenderer
from nebula_resource.metrics.grouped import Grouped
from nebula_resource.metrics.rows import SLICE
from tests.unit.metrics.builders import parsed, value

Reading = tuple[str, int]


class Adder:
    """Adds readings up, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.grouped: Grouped[Reading, int] = Grouped(
            lambda reading: reading[0], lambda reading: (reading[0],), self._total
        )

    def _total(self, members: Sequence[Reading]) -> int:
        self.asked.append(members[0][0])
        return sum(number for _, number in members)

    def update(self, readings: Sequence[Reading]) -> int:
        """Take these in; returns how often it paused."""
        return len(list(self.grouped.update(readings)))


def test_only_groups_with_another_reading_are_added_up_again() -> None:
    """One of two, one more, one less; the same objects cost nothing, in whatever list they come."""
    adder = Adder()
    a, b, c = ("db", 1), ("db", 2), ("cache", 5)
    adder.update([a, b, c])
    assert adder.grouped.totals == {("db",): 3, ("cache",): 5}
    totals = adder.grouped.totals
    adder.update([a, b, c])
    assert adder.grouped.totals is totals
    adder.asked.clear()
    changed = ("cache", 6)
    adder.update([a, b, changed])
    assert (adder.asked, adder.grouped.totals) == (["cache"], {("db",): 3, ("cache",): 6})
    adder.asked.clear()
    adder.update([a, ("db", 9), changed])
    assert (adder.asked, adder.grouped.totals[("db",)]) == (["db"], 10)
    adder.asked.clear()
    adder.update([a, changed])
    assert (adder.asked, adder.grouped.totals[("db",)]) == (["db"], 1)


def test_many_groups_pause_after_each_slice() -> None:
    """Once when they are told apart, once after each slice of sums: no scrape holds the loop for all of them."""
    adder = Adder()
    assert adder.update([(str(number), 1) for number in range(3 * SLICE + 1)]) == 1 + 3
    assert len(adder.grouped.totals) == 3 * SLICE + 1


def test_a_state_that_is_none_of_ours_is_counted_nowhere() -> None:
    """A label is never made up from what a reading says."""
    odd = HealthReading(resource_id="db", state="feverish", score=0.5)
    samples = parsed(TextRenderer().render(Readings(health=(odd,))))
    states = [held for (name, _), held in samples.items() if name.endswith("health_state")]
    assert states == [0, 0, 0, 0]
    assert value(samples, "health_score_ratio", resource="db") == 0.5
