"""Ring: replay gives every event once, or a gap that covers exactly what is missing; filters, cursors, Accept."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nebula_resource.admin.negotiation import accepts
from nebula_resource.admin.paging import Cursors
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.sse.filters import EventFilter
from nebula_resource.admin.sse.frame import Notice
from nebula_resource.admin.sse.ring import Ring
from nebula_resource.events import Severity

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ring_of(count: int, *, size: int = 8) -> Ring:
    """A ring that was given so many events."""
    ring = Ring(size=size)
    for number in range(1, count + 1):
        ring.put(Notice("audit", NOW, {"number": number}))
    return ring


@given(count=st.integers(0, 40), seen=st.integers(0, 40), size=st.integers(1, 16))
def test_replay_and_gap_are_everything(count: int, seen: int, size: int) -> None:
    """What a gap names and what is replayed are together exactly what came after the last id."""
    ring = ring_of(count, size=size)
    position = ring.position(ring.id_of(seen))
    replayed = [frame.seq for frame in ring.frames(position.seq, ring.seq)]
    if seen > count:
        assert position.gap is not None
        assert replayed == []
        return
    lost: list[int] = []
    if position.gap is not None:
        first, last = position.gap["from"], position.gap["to"]
        assert isinstance(first, int)
        assert isinstance(last, int)
        lost = list(range(first, last + 1))
    assert lost + replayed == list(range(seen + 1, count + 1))
    assert not set(lost) & set(replayed)
    assert len(replayed) <= size


@given(text=st.text(max_size=60))
def test_no_text_is_an_error(text: str) -> None:
    """Whatever a reader says it saw last, there is a position for it."""
    position = ring_of(3).position(text)
    assert position.seq == 3
    assert (position.gap is None) == (text == "")


def test_joined_bytes_are_shared() -> None:
    """Readers that keep up are given the same object."""
    ring = ring_of(3)
    assert ring.joined(0, 3) is ring.joined(0, 3)
    assert ring.joined(1, 3) == b"".join(frame.wire(ring.boot) for frame in ring.frames(1, 3))


def test_a_ring_may_keep_some_only() -> None:
    """It numbers what it keeps, without holes."""
    ring = Ring(keep=lambda event: event.data()["number"] % 2 == 0)
    for number in range(6):
        ring.put(Notice("audit", NOW, {"number": number}))
    assert [(frame.seq, frame.event.data()["number"]) for frame in ring.frames(0, 9)] == [
        (1, 0),
        (2, 2),
        (3, 4),
    ]


def test_incidents_stand_in_the_envelope() -> None:
    """An event of an incident names it beside its data."""
    ring = Ring()
    ring.put(Notice("cascade.detected", NOW, {"incident": "i1"}, severity=Severity.CRITICAL))
    (frame,) = ring.frames(0, 1)
    assert frame.envelope()["incident_id"] == "i1"
    assert frame.wire("boot").startswith(b"id: boot-1\nevent: cascade.detected\ndata: {")


@pytest.mark.parametrize("types", ["", "A", "a b", "a;b", "a," * 40, "a" * 65, "x\n"])
def test_globs_that_are_none(types: str) -> None:
    """400."""
    with pytest.raises(AdminProblem) as caught:
        EventFilter.of(types=types, pool=None, scope=None, min_severity="info")
    assert caught.value.problem.status == 400


def test_a_glob_costs_little() -> None:
    """A row of stars is one star."""
    wanted = EventFilter.of(types="*" * 31 + "x", pool=None, scope=None, min_severity="info")
    assert not wanted.wants_name("a" * 5000)


@given(
    items=st.lists(st.tuples(st.integers(0, 3), st.integers()), unique=True, max_size=30),
    limit=st.integers(1, 7),
    down=st.booleans(),
)
def test_pages_are_a_partition(items: list[tuple[int, int]], limit: int, down: bool) -> None:
    """Page by page, everything once and in order."""
    cursors = Cursors()
    found: list[tuple[int, int]] = []
    cursor: str | None = None
    while True:
        page, cursor = cursors.page(items, key=lambda each: each, limit=limit, cursor=cursor, descending=down)
        assert len(page) <= limit
        found += page
        if cursor is None:
            break
    assert found == sorted(items, reverse=down)


@given(text=st.text(max_size=40))
def test_no_cursor_but_ours(text: str) -> None:
    """400, whatever it is."""
    with pytest.raises(AdminProblem):
        Cursors().page([1], key=lambda each: (each,), limit=1, cursor=text)


def test_a_cursor_tells_nothing_to_another_process() -> None:
    """A restart signs with another key."""
    _, cursor = Cursors().page([1, 2], key=lambda each: (each,), limit=1, cursor=None)
    with pytest.raises(AdminProblem):
        Cursors().page([1, 2], key=lambda each: (each,), limit=1, cursor=cursor)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "a/b"),
        ("", "a/b"),
        ("*/*", "a/b"),
        ("c/d", "c/d"),
        ("c/*", "c/d"),
        ("a/b;q=0.1, c/d;q=0.9", "c/d"),
        ("a/b;q=0, */*", "c/d"),
        ("x/y", None),
        ("c/d;q=nonsense", None),
        ("A/B", "a/b"),
        (",;,;q=", None),
    ],
)
def test_accept(header: str | None, expected: str | None) -> None:
    """The best that is asked for; nothing where none will do."""
    assert accepts(header, ("a/b", "c/d")) == expected


@given(header=st.text(max_size=200))
def test_no_accept_is_an_error(header: str) -> None:
    """Any text is an answer or none."""
    assert accepts(header, ("a/b", "c/d")) in {"a/b", "c/d", None}


def test_data_is_json_of_one_line() -> None:
    """Whatever a notice holds."""

    ring = Ring()
    ring.put(Notice("audit", NOW, {"reason": "\r\n\u2028", "odd": object}))
    body = ring.joined(0, 1)
    assert body.count(b"\n") == 4
    assert json.loads(body.split(b"data: ")[1])["data"]["reason"] == "\r\n\u2028"
