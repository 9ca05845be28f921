"""EventReader: a stream is read as it is written, and followed across what cuts it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nebula_resource.cli.client import AdminClient
from nebula_resource.cli.events import follow
from nebula_resource.cli.failure import ExitCode, Failure


class Cut(httpx.SyncByteStream):
    """A body that is cut off after its text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.ReadError("cut")


def served(*answers: httpx.Response) -> tuple[AdminClient, list[str | None]]:
    """A client whose requests get these answers in turn; and the Last-Event-ID of each request."""
    asked: list[str | None] = []
    waiting = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("last-event-id"))
        return next(waiting)

    client = AdminClient("http://it", None)
    client._http = httpx.Client(base_url="http://it/", transport=httpx.MockTransport(answer))
    return client, asked


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nothing waits; what would have been waited."""
    found: list[float] = []
    monkeypatch.setattr("nebula_resource.cli.events.time.sleep", found.append)
    return found


HELLO = 'retry: 2500\n\nid: b-1\nevent: hello\ndata: {}\n\nevent: snapshot\ndata: {"pools": []}\n\n'


STATS = 'event: pool.stats\ndata: {"type": "pool.stats", "pool": "db"}\n\n'


def event(number: int, type: str = "pool.resized") -> str:
    """One frame, its data on two lines."""
    return f'id: b-{number}\nevent: {type}\ndata: {{"type": "{type}",\ndata: "n": {number}}}\n\n'


def test_a_cut_stream_goes_on_where_it_broke(pauses: list[float]) -> None:
    """The last number is sent, the service's own pause is kept, a gap is an event, heartbeats and the numbers of every second are nothing."""
    first = httpx.Response(200, stream=Cut(HELLO + ": hb\n\n" + event(2) + STATS + event(3)))
    second = httpx.Response(
        200, stream=Cut('event: gap\ndata: {"from": "b-3"}\n\n' + event(9) + "event: bye\ndata: {}\n\n")
    )
    said: list[str] = []
    client, asked = served(first, second)
    reading = follow(client, said.append, last_id="b-0")
    got: list[Any] = [next(reading) for _ in range(4)]
    assert [each.get("n", each["type"]) for each in got] == [2, 3, "gap", 9]
    assert asked == ["b-0", "b-3"]
    assert pauses == [2.5]
    assert said == ["the stream is cut: ReadError; connecting again in 2 s"]


def test_a_service_that_is_away_for_a_while_is_waited_for(pauses: list[float]) -> None:
    """503 in between is told, and it is tried again."""
    away = httpx.Response(503, json={"title": "Starting", "status": 503})
    client, _ = served(httpx.Response(200, text=HELLO + event(2)), away, httpx.Response(200, text=event(3)))
    said: list[str] = []
    reading = follow(client, said.append)
    assert [next(reading)["n"], next(reading)["n"]] == [2, 3]
    assert [each.split(";")[0] for each in said] == ["the service ended the stream", "503 Starting"]
    assert pauses == [2.5, 2.5]


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_look_any_more_is_told(status: int) -> None:
    """A key that was taken back ends it."""
    client, _ = served(
        httpx.Response(200, text=HELLO), httpx.Response(status, json={"title": "No", "status": status})
    )
    with pytest.raises(Failure) as caught:
        list(follow(client, lambda _: None))
    assert caught.value.code is ExitCode.REFUSED


def test_a_first_connection_that_fails_is_the_end() -> None:
    """There is nothing to go on with."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    client = AdminClient("http://it", None)
    client._http = httpx.Client(base_url="http://it/", transport=httpx.MockTransport(refuse))
    with pytest.raises(Failure) as caught:
        next(follow(client, lambda _: None))
    assert caught.value.code is ExitCode.UNREACHABLE
