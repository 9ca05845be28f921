"""Nebula: the command line as a user runs it: processes, their output and their exit codes."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from nebula_resource.cli.commands import run
from tests.architecture.tree import ROOT

__all__ = ["Served", "nebula", "nebula_here", "started"]

PATIENCE = 60.0  # seconds; a busy machine takes two to import what is needed


def nebula(*arguments: str, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "nebula_resource.cli", *arguments],
        cwd=cwd,
        env=_clean(environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def nebula_here(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The same in this process, a second quicker; not for what serves."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, _clean(environment), clear=True),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        code = run(list(arguments))
    return subprocess.CompletedProcess(list(arguments), code, output.getvalue(), errors.getvalue())


@dataclass
class Served:
    """``nebula serve``, running."""

    process: "subprocess.Popen[str]"
    url: str

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> tuple[int, str, str]:
        """Wait for its end; returns exit code, output and errors."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors


@contextmanager
def started(*arguments: str, cwd: Path, **environment: str) -> Generator[Served]:
    """Start ``nebula serve`` and wait until it says where it is; whatever happens, it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nebula_resource.cli", "serve", *arguments],
        cwd=cwd,
        env=_clean(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            raise AssertionError(f"it did not start: {process.communicate()}")
        for line in process.stdout:
            if line.startswith("Ctrl-C ends it"):
                break
        yield Served(process, first.split()[-1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _clean(environment: dict[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NEBULA_", "PYTHON"))}
    return kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"} | environment
