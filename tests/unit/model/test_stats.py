"""PoolStats: what can be worked out of a snapshot."""

from dataclasses import FrozenInstanceError, replace

import pytest

from nebula_resource.model.histogram import Histogram
from nebula_resource.model.stats import PoolStats

EMPTY = Histogram().snapshot()
STATS = PoolStats(
    state="open", size=4, idle=1, in_use=3, checking=0, creating=0, retiring=0, waiting=2, min=1, max=4,
    acquisitions=9, releases=6, created=6, destroyed={"expired": 1, "broken": 1}, timeouts=0, exhausted=0,
    cancelled=0, create_failures=0, leaks=0, wait=EMPTY, use=EMPTY, create=EMPTY, oldest_wait_s=None,
    oldest_hold_s=1.5,
)  # fmt: skip  # one block of numbers


def test_shares_and_sums() -> None:
    """In use of max, and all that are gone; a pool that may have nothing is not in use."""
    assert STATS.utilisation == 0.75
    assert STATS.destroyed_total == 2
    assert replace(STATS, max=0, in_use=0).utilisation == 0.0


def test_a_snapshot_does_not_change() -> None:
    """It is a value."""
    with pytest.raises(FrozenInstanceError):
        STATS.size = 5  # type: ignore[misc]  # that is the point
