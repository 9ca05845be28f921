"""The service as a process: what it prints, whom it serves, how it ends and how it refuses to start."""

import asyncio
import json
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.architecture.tree import ROOT
from tests.scenarios.curl import run_line, run_script
from tests.scenarios.process import ServiceProcess, start_and_fail

TENANTS = ("acme", "globex", "initech")
CANARY = "hunter2-do-not-repeat-me"


def as_tenant(tenant: str) -> dict[str, str]:
    """The header that shows a tenant's token."""
    return {"Authorization": f"Bearer demo-{tenant}"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for the tests that do not end it."""
    with ServiceProcess(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


# ── what it says ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_curl_lines_it_prints_work(service: ServiceProcess) -> None:
    """Three lines, to be pasted as they are; the data folder is named."""
    lines = [line.strip() for line in service.banner if line.strip().startswith("curl")]
    assert len(lines) == 3
    results = [run_line(line) for line in lines]
    assert [status for status, _ in results] == [201, 200, 200]
    assert len(json.loads(results[0][1])["id"]) == 32
    assert json.loads(results[1][1])[0]["item"] == "anvil"
    data = next(line.split()[-1] for line in service.banner if line.strip().startswith("data"))
    assert (Path(data) / "acme.db").is_file()


def test_the_curl_lines_of_the_readme_work(service: ServiceProcess) -> None:
    """Every curl line of the README, in order, pasted one after the other, against the port this service has."""
    lines = re.findall(r"^curl .*$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        status, body = run_line(line.replace("http://127.0.0.1:8000", service.url))
        assert 200 <= status < 300, (line, status, body)


def test_the_shell_lines_of_the_quickstart_work(service: ServiceProcess, tmp_path: Path) -> None:
    """Order and charge; quarantine and release: the page's blocks, pasted into a shell as they are."""
    page = (ROOT / "docs" / "quickstart.md").read_text()
    first, second = re.findall(r"^```sh\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    [charged] = run_script(first.replace("http://127.0.0.1:8000", service.url), tmp_path)
    assert json.loads(charged)["status"] == "charged"
    entered, released = run_script(second.replace("http://127.0.0.1:8000", service.url), tmp_path)
    assert json.loads(entered)["resource_id"] == "payments"
    assert json.loads(released)["released"] is True


# ── whom it serves ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_two_hundred_requests_of_three_tenants_never_meet(service: ServiceProcess) -> None:
    """Orders, lists and charges of three tenants side by side: nobody ever sees a row of another."""
    orders: dict[str, set[str]] = {tenant: set() for tenant in TENANTS}
    limits = httpx.Limits(max_connections=200)

    async with httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits, trust_env=False) as http:

        async def order(number: int) -> None:
            tenant = TENANTS[number % 3]
            new = {"item": f"of {tenant}", "quantity": 1}
            made = await http.post("/demo/orders", json=new, headers=as_tenant(tenant))
            assert made.status_code == 201, made.text
            orders[tenant].add(made.json()["id"])

        async def look(number: int) -> None:
            tenant = TENANTS[number % 3]
            seen = await http.get("/demo/orders?limit=100", headers=as_tenant(tenant))
            assert seen.status_code == 200, seen.text
            assert {each["item"] for each in seen.json()} <= {f"of {tenant}", "anvil"}

        async with asyncio.TaskGroup() as together:
            for number in range(120):
                together.create_task(order(number))
            for number in range(80):
                together.create_task(look(number))

        for tenant in TENANTS:
            seen = (await http.get("/demo/orders?limit=100", headers=as_tenant(tenant))).json()
            mine = {each["id"] for each in seen if each["item"] == f"of {tenant}"}
            assert mine == orders[tenant]
            assert len(mine) == 40
        for tenant in TENANTS:
            other = next(each for each in TENANTS if each != tenant)
            foreign = next(iter(orders[other]))
            answer = await http.post(f"/demo/orders/{foreign}/charge", headers=as_tenant(tenant))
            assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status"),
    [
        ("GET", "/demo/orders", {}, None, 401),
        ("GET", "/demo/orders", {"Authorization": "Bearer " + "x" * 5000}, None, 401),
        ("GET", "/demo/orders", {"Authorization": f"Bearer {CANARY}"}, None, 401),
        ("POST", "/demo/orders", as_tenant("acme"), f'{{"item": "a", "quantity": "{CANARY}"}}', 422),
        ("POST", "/demo/orders", as_tenant("acme"), f'{{"item": "a", "quantity": 1, "{CANARY}": 1}}', 422),
        ("POST", "/demo/orders", as_tenant("acme"), "{", 422),
        ("POST", "/demo/orders/" + "f" * 5000 + "/charge", as_tenant("acme"), None, 404),
        ("POST", "/quarantine", {}, f'{{"resource_id": "{CANARY}", "reason": "x"}}', 404),
        ("POST", "/quarantine", {}, f'{{"resource_id": 5, "reason": "x", "password": "{CANARY}"}}', 422),
        ("POST", "/quarantine", {}, f'{{"resource_id": "db", "{CANARY}', 422),
        ("POST", "/quarantine/payments/release", {}, "{}", 404),
        ("POST", f"/quarantine/{CANARY}/release", {}, "{}", 404),
        ("GET", f"/pools/{CANARY}", {}, None, 404),
        ("GET", f"/{CANARY}", {}, None, 404),
    ],
)
def test_bad_input_is_a_problem_that_repeats_nothing(
    service: ServiceProcess, method: str, path: str, headers: dict[str, str], content: str | None, status: int
) -> None:
    """Unknown tenants and resources, wrong types, secrets in wrong places, long tokens: a clear answer, no echo."""
    if content is not None:
        headers = {**headers, "Content-Type": "application/json"}
    with httpx.Client(base_url=service.url, trust_env=False) as http:
        answer = http.request(method, path, headers=headers, content=content)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert CANARY not in answer.text
        assert "xxxx" not in answer.text
        assert http.get("/health/live").status_code == 200
    assert CANARY not in service.errors.read_text()


def test_a_stream_id_that_was_tampered_with_is_met(service: ServiceProcess) -> None:
    """A `Last-Event-ID` nobody gave out: the stream begins, tells of the gap, and does not repeat it."""
    for given in (CANARY, "0" * 5000, "deadbeef-999999999", "-1-tampered"):
        with (
            httpx.Client(base_url=service.url, trust_env=False, timeout=10) as http,
            http.stream(
                "GET", "/events", headers={"Accept": "text/event-stream", "Last-Event-ID": given}
            ) as stream,
        ):
            assert stream.status_code == 200
            told = ""
            for line in stream.iter_lines():
                told += line + "\n"
                if "event: snapshot" in line:
                    break
            assert "event: hello" in told
            assert "event: gap" in told
            assert given not in told


# ── how it ends ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sigterm_under_load_loses_no_request(tmp_path: Path) -> None:
    """Clients of three tenants see answers and then a closed port, streams end with `bye`, the report is printed."""
    answers: Counter[int] = Counter()
    other: list[str] = []
    with ServiceProcess(tmp_path / "data") as service:

        async def customer(number: int) -> None:
            tenant = TENANTS[number % 3]
            async with httpx.AsyncClient(
                base_url=service.url, timeout=30, headers=as_tenant(tenant), trust_env=False
            ) as http:
                for turn in range(10_000):
                    try:
                        if turn % 3 == 2:
                            answer = await http.get("/demo/orders?limit=3")
                        else:
                            answer = await http.post("/demo/orders", json={"item": "a", "quantity": 1})
                        answers[answer.status_code] += 1
                        if answer.status_code == 201:
                            charged = await http.post(f"/demo/orders/{answer.json()['id']}/charge")
                            answers[charged.status_code] += 1
                    except httpx.ConnectError:
                        return
                    except httpx.HTTPError as error:
                        other.append(repr(error))
                        return

        async def reader() -> str:
            told: list[str] = []
            async with (
                httpx.AsyncClient(base_url=service.url, timeout=30, trust_env=False) as http,
                http.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream,
            ):
                listening.set()
                async for line in stream.aiter_lines():
                    told.append(line)
            return "\n".join(told)

        listening = asyncio.Event()
        reading = asyncio.create_task(reader())
        await listening.wait()
        customers = [asyncio.create_task(customer(number)) for number in range(12)]
        while answers.total() < 100:  # noqa: ASYNC110  # counted by twelve clients; the test's time limit bounds it
            await asyncio.sleep(0.01)
        sent = service.signal(signal.SIGTERM)
        await asyncio.gather(*customers)
        code, output = await asyncio.to_thread(service.wait)
        took = time.monotonic() - sent
        told = await reading
        assert "event: bye" in told.split("\n\n")[-1] or "event: bye" in told[-200:]
    assert other == []
    assert set(answers) <= {200, 201}, answers
    assert code == 0
    assert took < 5.0
    assert re.fullmatch(
        r"shut down: 4 drained, 0 handles forced, 0 cleanups failed, 0 left behind, .* s\n", output
    )
    # A machine that is busy with other things may stop the loop for a moment; that is no error of the service.
    lines = [line for line in service.errors.read_text().splitlines() if "loop.blocked" not in line]
    assert lines == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_that_never_ends_is_cut_off(tmp_path: Path, number: signal.Signals) -> None:
    """With a client that never finishes its request, it still ends in good order within five seconds."""
    with ServiceProcess(tmp_path / "data", TRAFFIC="1") as service, _half_a_request(service):
        sent = service.signal(number)
        code, output = service.wait()
        assert time.monotonic() - sent < 5.0
        assert code == 0
        assert output.startswith("shut down: ")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """While it waits for a request that does not end, a second signal ends the process there and then."""
    with ServiceProcess(tmp_path / "data") as service, _half_a_request(service):
        service.signal(signal.SIGTERM)
        with httpx.Client(base_url=service.url, trust_env=False) as http:
            while _is_ready(http):
                pass
        again = service.signal(signal.SIGTERM)
        code, output = service.wait()
        assert time.monotonic() - again < 1.0
        assert (code, output) == (-signal.SIGTERM, "")


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _half_a_request(service: ServiceProcess) -> socket.socket:
    """A request whose body never comes; it is in progress when this returns."""
    url = httpx.URL(service.url)
    connection = socket.create_connection((url.host, url.port))
    connection.sendall(
        b"POST /demo/orders HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer demo-acme\r\nExpect: 100-continue\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    )
    assert connection.recv(100).startswith(b"HTTP/1.1 100")
    return connection


# ── how it refuses to start ───────────────────────────────────────────────────────────────────────────────────────


def refused(code: int, output: str, errors: str) -> str:
    """The one line of a start that was refused."""
    assert (code, output) == (2, "")
    assert errors.startswith("cannot start: ")
    assert errors.count("\n") == 1
    return errors


def test_a_port_in_use_is_refused(service: ServiceProcess, tmp_path: Path) -> None:
    """A second service on the port: one line, exit code 2, no folder made; the first serves on."""
    port = service.url.rpartition(":")[2]
    line = refused(*start_and_fail(tmp_path / "data", PORT=port))
    assert f"cannot listen on 127.0.0.1:{port}: it is in use" in line
    assert list(tmp_path.iterdir()) == []
    assert httpx.get(f"{service.url}/health/live", trust_env=False).status_code == 200


def test_a_database_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    """One line that names it, exit code 2, and no other file is made."""
    (tmp_path / "data" / "globex.db").mkdir(parents=True)
    line = refused(*start_and_fail(tmp_path / "data"))
    assert f"cannot use {tmp_path}/data/globex.db as the database of globex: it is a folder" in line
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["globex.db"]


def test_a_broken_database_is_refused(tmp_path: Path) -> None:
    """One that only looks like a database: it stays as it is, and no other file is made."""
    data = tmp_path / "data"
    data.mkdir()
    broken = b"SQLite format 3\0" + b"\xff" * 4080
    (data / "initech.db").write_bytes(broken)
    line = refused(*start_and_fail(data))
    assert f"cannot use {data}/initech.db as the database of initech: " in line
    assert [each.name for each in data.iterdir()] == ["initech.db"]
    assert (data / "initech.db").read_bytes() == broken


def test_a_data_folder_that_cannot_be_written_is_refused() -> None:
    """One line that names it, exit code 2."""
    line = refused(*start_and_fail("/proc/nebula/data"))
    assert "cannot write in the data folder /proc/nebula/data" in line


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    """All of them in one line, exit code 2, no value repeated."""
    line = refused(*start_and_fail(tmp_path / "data", PORT=CANARY, TRAFFIC=CANARY))
    assert "PORT" in line
    assert "TRAFFIC" in line
    assert CANARY not in line
