"""Limits: the numbers of SPEC §23 and of the reference, written out: a constant that is changed changes a promise."""

import pytest

from nebula_resource.admin import audit, guard, idempotency, operations, paging, readings
from nebula_resource.admin.auth import authority, sessions
from nebula_resource.admin.schemas import common
from nebula_resource.admin.sse import hub, pulse, raw, ring, stream
from nebula_resource.metrics import budget, tenants
from nebula_resource.service import server
from tests.architecture.tree import ROOT


def test_the_stream_has_the_numbers_of_the_specification() -> None:
    """8192 events, 64 streams, 4 of a key, a sign of life after 15 s, 10 s for a write; a look at the key every 30 s."""
    assert (ring.SIZE, hub.MAX_STREAMS, hub.MAX_PER_PRINCIPAL) == (8192, 64, 4)
    assert (stream.HEARTBEAT, stream.WRITE_DEADLINE, stream.RECHECK, stream.MAX_AGE) == (15, 10, 30, 1800)
    assert (pulse.PERIOD, raw.PER_SECOND) == (1, 100)
    assert stream.GOODBYE_DEADLINE == 1


def test_requests_have_the_limits_of_the_reference() -> None:
    """Bodies, pages, reasons, keys, sessions, answers."""
    assert (guard.MAX_BODY, guard.BODY_SECONDS) == (65_536, 10)
    assert (paging.DEFAULT_LIMIT, paging.MAX_LIMIT, common.MAX_REASON) == (100, 500, 500)
    assert (authority.MAX_FAILURES, sessions.MOST_OF_A_KEY) == (5, 64)
    assert (idempotency.KEPT_FOR, idempotency.MOST_OF_ONE, idempotency.MOST) == (86_400, 256, 1024)
    assert (audit.KEPT, operations.KEPT, readings.MAX_AGE) == (1000, 256, 1)


def test_numbers_and_the_end_have_theirs() -> None:
    """A budget of series, tenants by name; 3 s to drain and 1.5 s to clean up."""
    assert (budget.MAX_SERIES, tenants.MAX_TENANTS) == (10_000, 50)
    assert (server.DRAIN, server.CLEANUP) == (3.0, 1.5)


@pytest.mark.parametrize(
    "said",
    [
        "`?limit=` 1 to 500 (100)",
        "`reason` (1 to 500 characters)",
        "413 (over 64 KiB)",
        "more than five wrong keys in a second",
        "64 streams for a process, 4 for a key",
        "from the last 8192 events",
        "After 15 s of silence",
        "does not read for 10 s",
        "at most 100 of each a second",
        "for a day, of one key's the last 256, of all the last 1024",
        "up to 64 sessions at once",
        "the last thousand deeds",
    ],
)
def test_the_reference_says_them(said: str) -> None:
    """In these words, so that whoever changes a number finds them."""
    assert said in " ".join((ROOT / "docs/reference/admin-api.md").read_text().split())
