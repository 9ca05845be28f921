"""Guard in virtual time: a body that never comes is given up; patience with wrong keys and checks runs out and returns."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from nebula_resource.admin.auth.authority import MAX_ADDRESSES, MAX_LOGGED, KeyAuthority
from nebula_resource.admin.auth.key import Key
from nebula_resource.admin.auth.key_source import KeyList
from nebula_resource.admin.auth.sessions import MOST, MOST_OF_A_KEY, Sessions
from nebula_resource.admin.check_rate import CheckRate
from nebula_resource.admin.guard import Guard
from nebula_resource.admin.problems import AdminProblem

POST: Scope = {
    "type": "http", "method": "POST", "path": "/", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
}  # fmt: skip


async def answered(app: Any, scope: Scope, receive: Receive) -> list[Message]:
    """What comes out of the guard around an application."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await Guard(app)(scope, receive, send)
    return sent


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is not reached."""
    raise AssertionError("the guard answers itself")


async def test_a_body_that_never_comes_is_given_up() -> None:
    """408 after ten seconds, however slowly it drips."""

    async def drip() -> Message:
        await asyncio.sleep(1)
        return {"type": "http.request", "body": b" ", "more_body": True}

    start, body = await answered(never, POST, drip)
    assert start["status"] == 408
    assert asyncio.get_running_loop().time() == 10
    assert json.loads(body["body"])["code"] == "body_timeout"


async def test_half_a_body_is_no_order() -> None:
    """A client that goes away in the middle of its body has asked for nothing, even if what came can be read."""
    parts: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"{}", "more_body": True},
    ]

    async def receive() -> Message:
        return parts.pop()

    assert await answered(never, POST, receive) == []


@pytest.mark.parametrize("came", [True, False])
async def test_a_length_over_the_limit_is_refused_at_once(came: bool) -> None:
    """413: what came with the head is taken, once, so that the server does not keep it; nothing more is waited for."""
    taken: list[Message] = []

    async def receive() -> Message:
        if taken or not came:
            await asyncio.Event().wait()
        taken.append({"type": "http.request", "body": b"x" * 1000, "more_body": True})
        return taken[-1]

    started = asyncio.get_running_loop().time()
    scope = {**POST, "headers": [*POST["headers"], (b"content-length", b"9" * 400)]}
    start, _ = await answered(never, scope, receive)
    assert start["status"] == 413
    assert len(taken) == came
    assert asyncio.get_running_loop().time() == started


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_body_of_two_lengths_is_refused(method: str) -> None:
    """400, and the connection ends: whoever stood in between may have gone by the other, and sent two requests on."""
    lengths = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    scope = {**POST, "method": method, "headers": [*POST["headers"], *lengths]}
    start, body = await answered(never, scope, never)  # type: ignore[arg-type]  # nothing is received
    assert (start["status"], json.loads(body["body"])["code"]) == (400, "two_lengths")
    assert (b"connection", b"close") in start["headers"]


async def test_an_error_after_the_start_is_raised() -> None:
    """An answer that has begun cannot become a problem: the server ends the connection."""

    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("half")

    with pytest.raises(RuntimeError):
        await answered(half, {**POST, "method": "GET"}, never)  # type: ignore[arg-type]  # nothing is received


async def test_a_lifespan_passes() -> None:
    """What is no request is none of the guard's business."""
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    await answered(app, {"type": "lifespan"}, never)  # type: ignore[arg-type]  # nothing is received
    assert passed == ["lifespan"]


def from_address(host: str) -> HTTPConnection:
    """A request, as far as patience looks at it."""
    return cast("HTTPConnection", SimpleNamespace(client=SimpleNamespace(host=host)))


async def test_patience_returns() -> None:
    """Five wrong keys in a second, and the next is told to wait until the second is over; another address is not."""
    _, key = Key.mint("viewer")
    authority = KeyAuthority(KeyList([key]))
    guesser = from_address("192.0.2.1")
    for _ in range(5):
        authority.count_failure(guesser, "x")
    for _ in range(20):
        with pytest.raises(AdminProblem):
            authority.count_failure(guesser, "x")
    authority.count_failure(from_address("192.0.2.2"), "x")
    await asyncio.sleep(1)
    authority.count_failure(guesser, "x")


async def test_addresses_are_not_remembered_without_end() -> None:
    """However many guess, what is remembered of them is bounded."""
    _, key = Key.mint("viewer")
    authority = KeyAuthority(KeyList([key]))
    for number in range(MAX_ADDRESSES + 500):
        authority.count_failure(from_address(str(number)), "x")
    assert len(authority._failures) == MAX_ADDRESSES


async def test_wrong_keys_are_logged_by_address(caplog: pytest.LogCaptureFixture) -> None:
    """Once a second for each address, with the id of a key and never its secret; of a flood the first few."""
    text, key = Key.mint("viewer")
    authority = KeyAuthority(KeyList([key]))
    rolled, _ = Key.mint("viewer")

    def told() -> list[tuple[str, str | None]]:
        records, caplog.records[:] = list(caplog.records), []
        assert {each.getMessage() for each in records} <= {"wrong key"}
        assert all(rolled.split("_", 2)[2] not in str(vars(each)) for each in records)
        return [(vars(each)["address"], vars(each)["key"]) for each in records]

    for _ in range(3):
        authority.count_failure(from_address("192.0.2.1"), rolled)
    authority.count_failure(from_address("192.0.2.2\nadmin"), "nonsense\n" + text)
    assert told() == [("192.0.2.1", rolled.split("_")[1]), ("192.0.2.2\\nadmin", None)]
    await asyncio.sleep(1)
    authority.count_failure(from_address("192.0.2.1"), rolled)
    assert len(told()) == 1
    for number in range(1000):
        authority.count_failure(from_address(str(number)), rolled)
    assert len(told()) == MAX_LOGGED - 1


async def test_sessions_end() -> None:
    """After half an hour without use, after half a day whatever happens; the oldest goes when there are too many."""
    sessions = Sessions()
    idle, _ = sessions.begin("k")
    used, _ = sessions.begin("k")
    await asyncio.sleep(1799)
    assert sessions.get(used, touch=True) is not None
    await asyncio.sleep(1)
    assert sessions.get(idle, touch=True) is None
    alive = True
    for _ in range(30):
        await asyncio.sleep(1500)
        alive = sessions.get(used, touch=True) is not None
    assert not alive
    tokens = [sessions.begin(str(number))[0] for number in range(MOST + 1)]
    assert len(sessions) == MOST
    assert sessions.get(tokens[-1], touch=False) is not None
    sessions.end(tokens[-1])
    assert sessions.get(tokens[-1], touch=False) is None


async def test_who_signs_in_again_and_again_signs_nobody_else_out() -> None:
    """A key has so many sessions; what is one too many ends its own that was unused longest."""
    sessions = Sessions()
    other, _ = sessions.begin("other")
    await asyncio.sleep(1)
    tokens = []
    for _ in range(2 * MOST):
        tokens.append(sessions.begin("k")[0])
        await asyncio.sleep(0.1)
    assert len(sessions) == MOST_OF_A_KEY + 1
    assert sessions.get(other, touch=False) is not None
    alive = [token for token in tokens if sessions.get(token, touch=False) is not None]
    assert alive == tokens[-MOST_OF_A_KEY:]


async def test_a_resource_is_checked_once_a_second() -> None:
    """Whoever asks again within the second is told to wait; what is remembered is forgotten when it is over."""
    rate = CheckRate()
    assert rate.ask("db") is None
    await asyncio.sleep(0.4)
    assert rate.ask("db") == pytest.approx(0.6)
    assert rate.ask("cache") is None
    await asyncio.sleep(0.6)
    assert rate.ask("db") is None
    for number in range(10_000):
        rate.ask(str(number))
    await asyncio.sleep(1)
    rate.ask("last")
    assert len(rate) == 1
