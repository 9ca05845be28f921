"""Prober: a process that asks ``/health/live`` again and again, as an orchestrator would, and says how long it took."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.architecture.tree import ROOT

__all__ = ["Probes", "probing"]

PAUSE = 0.002


@dataclass
class Probes:
    """What it saw, once the block is left."""

    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """Seconds that one of a hundred answers takes longer than."""
        assert len(self.seconds) >= 20, "too few to say"
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


@contextmanager
def probing(port: int) -> Generator[Probes]:
    """Probe for the time of a block; its first answer is there when the block begins."""
    probes = Probes()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.app.prober", str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield probes
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        probes.seconds += json.loads(output)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _main(port: int) -> None:
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    seconds: list[float] = []
    while not ended.is_set():
        started = time.perf_counter()
        connection.request("GET", "/health/live")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"status":"up"}')
        seconds.append(time.perf_counter() - started)
        if len(seconds) == 1:
            print("ready", flush=True)
        time.sleep(PAUSE)
    print(json.dumps(seconds))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
