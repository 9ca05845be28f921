"""ServiceProcess: ``python -m app`` as a user starts it, ended by its pid."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from tests.architecture.tree import ROOT

__all__ = ["ServiceProcess", "as_tenant", "start_and_fail"]

LAST_LINE = "Ctrl-C ends it"


def _environment(data: Path | str, **more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LOG_", "PYTHON"))}
    return clean | {"PORT": "0", "TRAFFIC": "0", "DATA": str(data)} | more


class ServiceProcess:
    """A running service: ``with ServiceProcess(data) as service``; whatever happens, it is gone afterwards.

    Standard output is read up to the end of the banner; standard error goes to a file beside the data folder.
    """

    def __init__(self, data: Path, **environment: str) -> None:
        self.errors = data.with_suffix(".stderr")
        with self.errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app"],
                cwd=ROOT,
                env=_environment(data, **environment),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.pid = self._process.pid
        self.banner: list[str] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.banner.append(line.rstrip("\n"))
            if line.startswith(LAST_LINE):
                break
        else:
            self.end()
            raise AssertionError(f"it did not start: {self.errors.read_text()}")
        self.url = self.banner[0].split()[-1]

    def signal(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send a signal; returns when it was sent."""
        self._process.send_signal(number)
        return time.monotonic()

    def wait(self, seconds: float = 20.0) -> tuple[int, str]:
        """Wait for its end; returns the exit code and what it printed after the banner."""
        output, _ = self._process.communicate(timeout=seconds)
        return self._process.returncode, output

    def end(self) -> None:
        """End it at once, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> "ServiceProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def start_and_fail(data: Path | str, **environment: str) -> tuple[int, str, str]:
    """Start a service that cannot start; returns its exit code, what it printed, and its errors."""
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env=_environment(data, **environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def as_tenant(tenant: str) -> dict[str, str]:
    """The header that shows a tenant's token."""
    return {"Authorization": f"Bearer demo-{tenant}"}
