"""The service as a process: what it prints, and whom it serves."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.architecture.tree import ROOT
from tests.scenarios.curl import run_line, run_script
from tests.scenarios.process import ServiceProcess, as_tenant

TENANTS = ("acme", "globex", "initech")
CANARY = "hunter2-do-not-repeat-me"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for the tests that do not end it."""
    with ServiceProcess(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


# ── what it says ──


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
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    first, second = (block for block in blocks if "curl" in block)  # the others install it elsewhere
    [charged] = run_script(first.replace("http://127.0.0.1:8000", service.url), tmp_path)
    assert json.loads(charged)["status"] == "charged"
    entered, released = run_script(second.replace("http://127.0.0.1:8000", service.url), tmp_path)
    assert json.loads(entered)["resource_id"] == "payments"
    assert json.loads(released)["released"] is True


# ── whom it serves ──


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
