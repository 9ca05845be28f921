"""Backoff: grows to its limit, spreads within its share, and refuses what makes no sense, all at once."""

import random

import pytest

from nebula_resource import ValidationFailed
from nebula_resource.model.backoff import Backoff


def test_delays_grow_to_their_limit() -> None:
    """base, base × factor, … and never beyond max; the first failure is number 1, and 0 counts as 1."""
    plain = Backoff(base=1, factor=2, max=10, jitter=0)
    rng = random.Random(1)
    assert [plain.delay(attempt, rng) for attempt in range(7)] == [1, 1, 2, 4, 8, 10, 10]


def test_an_endless_outage_overflows_nothing() -> None:
    """Attempt number one million waits as long as the limit, whatever the factor."""
    rng = random.Random(1)
    assert Backoff(base=1, factor=10, max=60, jitter=0).delay(1_000_000, rng) == 60
    assert Backoff(base=1e300, factor=10, max=1e301, jitter=0).delay(5000, rng) == 1e301


def test_jitter_stays_within_its_share() -> None:
    """± jitter of the delay, both ends reachable, and not always the same."""
    rng = random.Random(7)
    jittered = Backoff(base=10, factor=1, max=10, jitter=0.2)
    delays = [jittered.delay(1, rng) for _ in range(1000)]
    assert 8 <= min(delays) < 8.1
    assert 11.9 < max(delays) <= 12


def test_every_wrong_value_is_named_at_once() -> None:
    """Not a number is wrong as well, and so is a wait without an end."""
    with pytest.raises(ValidationFailed) as caught:
        Backoff(base=0, factor=0.5, max=-1, jitter=2)
    assert {each.field for each in caught.value.violations} == {"base", "factor", "max", "jitter"}
    nan = float("nan")
    with pytest.raises(ValidationFailed) as caught:
        Backoff(base=nan, factor=nan, max=nan, jitter=nan)
    assert len(caught.value.violations) == 4
    with pytest.raises(ValidationFailed) as caught:
        Backoff(base=float("inf"), max=float("inf"))
    assert {each.field for each in caught.value.violations} == {"base", "max"}
    assert Backoff().violations() == []
