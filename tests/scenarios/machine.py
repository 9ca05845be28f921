"""machine: what a measured time owes to the machine and to nobody in it."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["Waits", "Watcher", "tree", "watched"]

_WATCHER = """
import mmap, struct, sys, time

def waited():
    with open("/proc/self/schedstat") as found:
        return int(found.read().split()[1]) / 1e9

still, looks, before = 0.0, 0, waited()
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 16) as told:
    while True:
        went = time.monotonic()
        time.sleep(0.005)
        late = time.monotonic() - went - 0.005
        last, before = before, waited()
        if late > 0.01:
            still += max(0.0, late - (before - last))
        looks += 1
        told[:] = struct.pack("dQ", still, looks)
"""


class Waits:
    """What the machine kept from our own threads, and from those of a server.

    Two things, of which the longer counts, since one may hide in the other:

    - a thread was ready to run and waited for a processor. The kernel counts that for each (``schedstat``);
    - the whole machine stood still, as a virtual one does for which the host has no time: a process that does nothing
      but sleep slept too long, and did not wait for a processor meanwhile (`watched`).

    Neither is ever our doing: what sleeps, blocks or computes does not wait for a processor, and holds up no other process.
    """

    _watcher: Watcher | None = None

    def __init__(self, server: int | None = None) -> None:
        self._server = server
        self._last = self._read()
        self._stood = self._stood_still()

    def take(self) -> float:
        """Seconds since the last time this was asked: those of all these threads together, or those of the machine."""
        last, self._last = self._last, self._read()
        stood, self._stood = self._stood, self._stood_still()
        waited = sum(now - last.get(task, 0) for task, now in self._last.items()) / 1e9
        return max(waited, self._stood - stood)

    def _read(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for pid in (os.getpid(), *(() if self._server is None else tree(self._server))):
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    found[task] = int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended between the two looks
        return found

    def _stood_still(self) -> float:
        assert Waits._watcher is not None, "the machine is watched"
        return Waits._watcher.seconds


class Watcher:
    """A process that does nothing but sleep, and what it tells."""

    def __init__(self, pid: int, told: mmap.mmap) -> None:
        self.pid = pid
        self._told = told

    @property
    def seconds(self) -> float:
        """By which it slept too long so far."""
        seconds: float = struct.unpack("dQ", self._told[:])[0]
        return seconds

    def looks_again(self) -> None:
        """Wait until it has told something that began after now."""
        looks = self._looks()
        while self._looks() < looks + 2:
            time.sleep(0.001)

    def _looks(self) -> int:
        looks: int = struct.unpack("dQ", self._told[:])[1]
        return looks


@contextmanager
def watched() -> Generator[Watcher]:
    """A process beside us watches the machine for as long as the block runs."""
    with TemporaryDirectory() as folder:
        told = Path(folder, "stood-still")
        told.write_bytes(bytes(16))
        process = subprocess.Popen([sys.executable, "-S", "-c", _WATCHER, str(told)])
        try:
            with told.open("r+b") as file, mmap.mmap(file.fileno(), 16) as shared:
                Waits._watcher = Watcher(process.pid, shared)
                Waits._watcher.looks_again()
                yield Waits._watcher
        finally:
            Waits._watcher = None
            process.kill()
            process.wait()


def tree(pid: int) -> list[int]:
    """A process and its children, the parent first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(each for child in children for each in tree(int(child)))]
