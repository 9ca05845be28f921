"""The words of the page: numbers, times and lists as people read them; and a stream as it is written, however it is cut."""

from collections.abc import Callable
from typing import Any

from tests.browser.visitor import Visitor
from tests.browser.world import PageWorld

Visit = Callable[..., Visitor]

CALL = """async ([module, name, many]) => {
    const found = await import(`/ui/${module}.js`);
    return many.map(each => found[name](...each));
}"""


def words(seen: Visitor, name: str, said: dict[Any, str]) -> None:
    """A function of format.js says this of that."""
    told = seen.page.evaluate(
        CALL, ["format", name, [list(each) if isinstance(each, tuple) else [each] for each in said]]
    )
    assert dict(zip(said, told, strict=True)) == said


def test_numbers_and_times_are_for_people(world: PageWorld, visit: Visit) -> None:
    """Each in the unit that fits; an hour after midnight is 00, and what is over is nothing, not less."""
    seen = visit(world.url).is_live()
    words(
        seen,
        "seconds",
        {
            None: "–",
            0: "0 µs",
            0.00008: "80 µs",
            0.0004: "0.4 ms",
            0.012: "12 ms",
            3.21: "3.2 s",
            12.4: "12 s",
        },
    )
    words(
        seen,
        "span",
        {
            -3: "0 s",
            0: "0 s",
            59.4: "59 s",
            60: "1 min 0 s",
            3599: "59 min 59 s",
            3600: "1 h 0 min",
            86399: "23 h 59 min",
            90000: "1 d 1 h",
        },
    )
    words(seen, "count", {0: "0", 9999: "9999", 10000: "10.0 k", 1234567: "1.23 M"})
    words(seen, "plural", {(0, "pool"): "0 pools", (1, "pool"): "1 pool", (2, "pool"): "2 pools"})
    words(
        seen, "names",
        {((), 2): "", (("a",), 2): "a", (("a", "b"), 2): "a and b", (("a", "b", "c"), 2): "a, b and c", (("a", "b", "c", "d"), 2): "a, b and 2 more"},
    )  # fmt: skip  # a row a line
    night = seen.page.evaluate("new Date().setHours(0, 3, 12, 0)")
    words(seen, "clock", {night: "00:03:12"})
    yesterday = seen.page.evaluate("night => new Date(night).setDate(new Date(night).getDate() - 1)", night)
    (told,) = seen.page.evaluate(CALL, ["format", "clock", [[yesterday]]])
    assert told.endswith(" 00:03:12")


STREAM = (
    ": a comment\n"
    "retry: 2500\n\n"
    "id: b-1\nevent: hello\ndata: {}\n\n"
    "event: two lines\r\ndata: one\r\ndata:  two\r\n\r\n"
    "event: nothing\n\n"
    "data\n\n"
    "event: cut"
)
FRAMES = [
    {"comment": "a comment"}, {"retry": 2500}, {"id": "b-1"}, {"id": "b-1", "event": "hello", "data": "{}"},
    {"id": "b-1", "event": "two lines", "data": "one\n two"}, {"id": "b-1", "event": "message", "data": ""},
]  # fmt: skip  # one table

PARSE = """async pieces => {
    const parser = new (await import("/ui/sse.js")).Parser();
    return pieces.flatMap(piece => parser.feed(piece));
}"""


def test_a_stream_is_read_however_it_is_cut(world: PageWorld, visit: Visit) -> None:
    """In one piece, in letters, and at every place: the same events."""
    seen = visit(world.url).is_live()
    assert seen.page.evaluate(PARSE, [STREAM]) == FRAMES
    assert seen.page.evaluate(PARSE, list(STREAM)) == FRAMES
    for place in range(1, len(STREAM)):
        assert seen.page.evaluate(PARSE, [STREAM[:place], STREAM[place:]]) == FRAMES, place
