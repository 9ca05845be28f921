"""The service as a process: how it ends."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.architecture.tree import ROOT
from tests.scenarios.process import ServiceProcess, as_tenant

pytestmark = pytest.mark.alone

TENANTS = ("acme", "globex", "initech")


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


@pytest.mark.parametrize("entry", ["app", "nebula_resource.cli"])
def test_the_interpreter_ends_quickly(entry: str) -> None:
    """When all is done it does not look through everything that was imported: seconds, on a busy machine."""
    told = "import atexit, gc, runpy; atexit.register(lambda: print(gc.get_freeze_count() > 10_000)); "
    done = subprocess.run(
        [sys.executable, "-c", f"{told} runpy.run_module({entry!r}, run_name='__main__')"],
        cwd=ROOT, env=os.environ | {"PORT": "none"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip  # one call
    assert (done.returncode, done.stdout.split()[-1]) == (2, "True"), done.stderr


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
