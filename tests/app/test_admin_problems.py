"""Problems: every error is RFC 9457, declared, and repeats nothing of the request; who may knock at all."""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from fastapi.routing import APIRoute
from hypothesis import given, settings
from hypothesis import strategies as st

from nebula_resource.admin.guard import MAX_BODY, Guard
from nebula_resource.admin.sse.ring import Ring
from nebula_resource.errors import InternalError
from nebula_resource.events import Quarantined
from tests.app.admin_world import CANARY, World, admin_world

ECHO = "e5cho-m4rker"


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    """One pool."""
    async with admin_world() as made:
        await made.add("db")
        yield made


# ── what is asked for is not there, or not so ──


@pytest.mark.parametrize(
    "path",
    [f"/{ECHO}", f"/pools/{ECHO}", f"/quarantine/{ECHO}", f"/ui/{ECHO}", f"/pools/db/{ECHO}", "/pools/"],
)
async def test_unknown_paths_and_ids_are_not_found(world: World, path: str) -> None:
    """404, without the path in it."""
    response = await world.send("GET", path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert ECHO not in response.text + str(response.headers)


async def test_a_method_that_is_not_known_names_those_that_are(world: World) -> None:
    """405 with Allow."""
    response = await world.send("PUT", "/pools/db", json={"x": ECHO})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert ECHO not in response.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"resource_id": "e5cho-m4rker"', "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b'{"resource_id": 1e999, "reason": "e5cho-m4rker"}', "application/json", 422),
        (b"resource_id=e5cho-m4rker", "application/x-www-form-urlencoded", 415),
        (b'{"reason":"e5cho-m4rker"}', "text/plain", 415),
        (b'{"reason":"e5cho-m4rker"}', None, 415),
        (b"e" * (MAX_BODY + 1), "application/json", 413),
        (
            b'{"e5cho-m4rker": 1, "reason": ["e5cho-m4rker"], "resource_id": {"e5cho-m4rker": 2}}',
            "application/json",
            422,
        ),
        (b"[" * 30_000, "application/json", 400),
    ],
)
async def test_bodies_that_cannot_be_read(
    world: World, content: bytes, kind: str | None, status: int
) -> None:
    """400, 413, 415 or 422, and nothing of the body comes back."""
    headers = {} if kind is None else {"Content-Type": kind}
    response = await world.send("POST", "/quarantine", content=content, headers=headers)
    assert response.status_code == status, response.text
    assert ECHO not in response.text


async def test_a_body_without_a_length_is_counted_as_it_comes(world: World) -> None:
    """One byte over 64 KiB in chunks: 413; 64 KiB are read."""

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1024):
            yield b" " * 1024
        yield b" " * (size % 1024)

    headers = {"Content-Type": "application/json"}
    over = await world.send("POST", "/quarantine", content=chunks(MAX_BODY + 1), headers=headers)
    assert over.status_code == 413
    full = await world.send("POST", "/quarantine", content=chunks(MAX_BODY), headers=headers)
    assert full.status_code == 422


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("reason", "", "must have at least 1 characters"),
        ("reason", "x" * 501, "must have at most 500 characters"),
        ("reason", 3, "must be a text"),
        ("expires_in", "soon", "must be a number"),
        ("expires_in", 0, "must be more than 0"),
        ("dry_run", "perhaps", "must be true or false"),
        ("more", 1, "holds a name that is not known here"),
    ],
)
async def test_a_rule_is_told_in_words(world: World, field: str, given: object, said: str) -> None:
    """What must be, with the limit, and never what was sent."""
    body = {"resource_id": "db", "reason": "x", field: given}
    told = await world.post("/quarantine", body, status=422)
    assert [each["message"] for each in told["errors"]] == [said]


async def test_a_secret_in_a_wrong_field_is_not_told(world: World) -> None:
    """A DSN where a number belongs comes back neither in the body nor in the log."""
    dsn = f"postgresql://app:{CANARY}@db/orders"
    await world.post("/quarantine", {"resource_id": "db", "reason": "x", "expires_in": dsn}, status=422)
    await world.post("/quarantine", {"resource_id": [dsn], "reason": {dsn: dsn}}, status=422)
    await world.get("/pools", status=400, params={"limit": dsn, dsn: "1"})


@pytest.mark.parametrize("kind", [RuntimeError, InternalError])
async def test_an_error_of_ours_tells_only_its_number(
    world: World, kind: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 without the error's text; the log has the same number, the type, the place, and no text either."""

    def fail() -> None:
        raise kind(f"lost {CANARY}")

    monkeypatch.setattr(world.manager, "pools", fail)
    with caplog.at_level(logging.ERROR, logger="nebula_resource.admin"):
        problem = await world.get("/pools", status=500)
    (record,) = [each for each in caplog.records if each.message == "admin request failed"]
    assert record.__dict__["request"] == problem["instance"]
    assert (record.__dict__["error"], record.__dict__["route"]) == (kind.__name__, "/pools")
    assert set(problem) == {"type", "title", "status", "code", "instance"}
    assert CANARY not in str(record.__dict__)
    assert CANARY not in caplog.text


async def test_an_error_of_a_resource_is_not_told(world: World) -> None:
    """A probe that fails with a secret in its text says what kind of error it was."""
    await world.post("/quarantine", {"resource_id": "db", "reason": "x"}, status=201)
    world.things["db"].broken = True
    await world.post("/quarantine/db/release", {}, status=409)
    await world.get("/events")
    await world.get("/resources/db")


# ── hostile texts ──

TEXTS = st.text(min_size=1, max_size=80) | st.sampled_from(
    [
        "\r\n\r\nevent: x\ndata: 1",
        "\u2028\u2029\x85\x0b\x0c",
        "<img src=x onerror=alert(1)>",
        "\x1b[31m",
        "\u202e",
        "\ud800",
    ]
)


@settings(max_examples=300)
@given(text=TEXTS)
def test_hostile_reasons_are_one_event_each(text: str) -> None:
    """Whatever a reason holds, its event is one SSE event of one line of data, and the text comes back unharmed."""
    ring = Ring()
    ring.put(Quarantined(seq=1, at=datetime.now(UTC), resource_id="db", reason="manual", detail=text))
    wire = ring.joined(0, 1)
    assert wire.count(b"\n\n") == 1
    assert wire.endswith(b"\n\n")
    head, name, data = wire.rstrip(b"\n").split(b"\n")
    assert (head, name) == (f"id: {ring.boot}-1".encode(), b"event: quarantine.entered")
    assert json.loads(data.removeprefix(b"data: "))["data"]["detail"] == text


@pytest.mark.parametrize(
    "path",
    ["/pools/{}", "/quarantine/{}", "/resources/{}", "/operations/{}", "/ui/{}", "/pools/{}/instances"],
)
@pytest.mark.parametrize(
    "id",
    [
        "%00",
        "%0d%0a",
        "..%2f..%2fetc",
        "%F0%9F%92%A9",
        "%ff%fe",
        "a" * 5000,
        "%3Cscript%3E",
        "db%00",
        "DB",
        "*",
        "%25s",
    ],
)
async def test_hostile_ids_are_not_found(world: World, path: str, id: str) -> None:
    """404 for whatever is no id of ours."""
    response = await world.send("GET", path.format(id))
    assert response.status_code == 404
    assert "a" * 100 not in response.text


# ── who may knock ──


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "localhost:80:80", "[::2]", "a b"],
)
async def test_other_hosts_are_refused(world: World, host: str) -> None:
    """A Host that is not ours is 400: a page that rebinds its name to this machine gets nothing."""
    problem = await world.get("/pools", status=400, headers={"Host": host})
    assert problem["code"] == "unknown_host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000"])
async def test_loopback_hosts_are_ours(world: World, host: str) -> None:
    """Whatever the port."""
    await world.get("/health/live", headers={"Host": host})


async def test_further_hosts_are_configured() -> None:
    """Exactly those that are named."""
    async with admin_world(hosts=["ops.example"]) as world:
        await world.get("/pools", headers={"Host": "ops.example"})
        await world.get("/pools", status=400, headers={"Host": "www.ops.example"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "file://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://["},
        {"Origin": "//localhost"},
    ],
)
async def test_other_origins_change_nothing(world: World, headers: dict[str, str]) -> None:
    """403, and nothing is isolated."""
    body = {"resource_id": "db", "reason": "x"}
    problem = await world.post("/quarantine", body, status=403, headers=headers)
    assert problem["code"] == "cross_origin"
    assert (await world.get("/quarantine"))["items"] == []


async def test_a_request_of_two_hosts_is_refused(world: World) -> None:
    """Even where both are ours: whoever stood in between may have gone by the other."""
    headers = [("Host", "localhost"), ("Host", "localhost")]
    assert (await world.send("GET", "/pools", headers=headers)).json()["code"] == "unknown_host"


async def test_a_request_of_two_origins_is_refused(world: World) -> None:
    """Even where both are ours: a browser sends one."""
    headers = [("Origin", "http://localhost"), ("Origin", "http://localhost")]
    body = {"resource_id": "db", "reason": "x"}
    response = await world.send("POST", "/quarantine", json=body, headers=headers)
    assert response.json()["code"] == "cross_origin"


async def test_no_answer_is_kept_by_what_stands_in_between(world: World) -> None:
    """Neither what was asked for nor what went wrong."""
    for path in ("/pools", "/pools/db", "/whoami", "/metrics", "/health", "/nothing"):
        assert (await world.send("GET", path)).headers["cache-control"] == "no-store", path


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Origin": "https://localhost"},  # whoever stands before us speaks TLS
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_our_own_origin_may(world: World, headers: dict[str, str]) -> None:
    """Our page, and what is no browser."""
    await world.post("/quarantine", {"resource_id": "db", "reason": "x"}, status=201, headers=headers)


@pytest.mark.parametrize(
    "client", [("192.0.2.7", 1), ("::ffff:192.0.2.7", 1), ("10.0.0.1", 1), ("nonsense", 1), None]
)
async def test_without_keys_only_this_machine_is_served(world: World, client: tuple[str, int] | None) -> None:
    """403 for every other peer, live and page included."""
    transport = httpx.ASGITransport(world.app, client=client)  # type: ignore[arg-type]  # a server may know no peer
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for path in ("/pools", "/health/live", "/"):
            response = await http.get(path)
            assert response.status_code == 403
            assert response.json()["code"] == "loopback_only"


@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("127.9.9.9", 1), ("::1", 1), ("::ffff:127.0.0.1", 1)])
async def test_every_loopback_address_is_this_machine(world: World, client: tuple[str, int]) -> None:
    """Also written as IPv6."""
    transport = httpx.ASGITransport(world.app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/pools")).status_code == 200


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
async def test_proxied_requests_are_refused_without_keys(world: World, name: str) -> None:
    """Behind a proxy everybody looks local: 403."""
    problem = await world.get("/pools", status=403, headers={name: "for=192.0.2.7"})
    assert problem["code"] == "forwarded"


async def test_websockets_are_closed() -> None:
    """There are none here."""
    sent: list[object] = []

    async def nobody(*_: object) -> None:
        raise AssertionError("the guard answers")

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    await Guard(nobody)({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


# ── OpenAPI ──


async def test_the_description_is_complete(world: World) -> None:
    """Every route stands in it with every status it declares, problems with their media type."""
    document = await world.get("/openapi.json")
    routes = [route for route in world.app.routes if isinstance(route, APIRoute) and route.include_in_schema]
    assert len(routes) >= 25
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"][route.path][method.lower()]
            declared = {str(status) for status in route.responses} | {str(route.status_code or 200)}
            assert set(operation["responses"]) == declared, route.path
            assert {"400", "401", "403", "404", "405", "500"} <= declared
            for status, response in operation["responses"].items():
                if status >= "400" and not (route.path.startswith("/health") and status == "503"):
                    assert "application/problem+json" in response["content"]
            if method != "GET":  # a body is read, wanted or not
                assert {"408", "413", "415"} <= declared, (method, route.path)
            if "requestBody" in operation:
                assert "422" in declared


async def test_requests_are_counted(world: World) -> None:
    """By route template, never by path; what is refused is counted by why."""
    await world.get(f"/pools/{ECHO}", status=404)
    await world.get(f"/{ECHO}", status=404)
    await world.get("/pools", status=400, headers={"Host": "evil.example"})
    await world.post("/quarantine", {}, status=403, headers={"Origin": "https://evil.example"})
    text = (await world.send("GET", "/metrics")).text
    assert (
        'nebula_resource_admin_requests_total{method="GET",route="/pools/{id}",status_class="4xx"} 1' in text
    )
    assert 'nebula_resource_admin_requests_total{method="GET",route="_other",status_class="4xx"} 2' in text
    assert 'nebula_resource_admin_auth_failures_total{reason="unknown_host"} 1' in text
    assert 'nebula_resource_admin_auth_failures_total{reason="cross_origin"} 1' in text
    assert ECHO not in text
