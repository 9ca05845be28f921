"""AdminProcess: an admin application in a process of its own, over our server, told by lines what to do."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nebula_resource.admin import AdminSettings, create_admin
from nebula_resource.admin.sse import MAX_STREAMS
from nebula_resource.events import WorkflowProgress
from nebula_resource.manager import Manager
from nebula_resource.model.scope import Scope
from nebula_resource.service import Server, serve
from tests.app.admin_world import QUIET, Thing, ThingConfig
from tests.architecture.tree import ROOT

__all__ = ["AdminProcess", "admin_process"]


@dataclass
class AdminProcess:
    """The process, from outside."""

    process: "subprocess.Popen[str]"
    port: int

    def ask(self, **order: Any) -> Any:
        """Tell it something; returns what it says when that is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    @property
    def streams(self) -> int:
        """How many readers have a place."""
        return int(self.ask(do="streams"))

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return int(self.ask(do="connections"))

    def freeze(self) -> None:
        """From now on no probe ends."""
        assert self.ask(do="freeze") is True

    def publish(self, start: int, stop: int) -> None:
        """Let it tell these numbers."""
        assert self.ask(do="publish", start=start, stop=stop) == stop

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def memory(self) -> int:
        """Bytes it occupies."""
        return self._size("VmRSS")

    @property
    def peak(self) -> int:
        """The most bytes it has ever occupied."""
        return self._size("VmHWM")

    def _size(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])

    def kill(self) -> None:
        """End it without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def admin_process(
    port: int = 0, max_streams: int = MAX_STREAMS, audit_file: Path | None = None
) -> Generator[AdminProcess]:
    """Start one; whatever happens, it is gone afterwards."""
    options = [str(port), str(max_streams), *([str(audit_file)] if audit_file else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.app.admin_process", *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, "it did not start"
        yield AdminProcess(process, int(first))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


# ── inside ──


class FreezingThing(Thing):
    """A thing whose probes may never end."""

    frozen = False

    async def is_valid(self, instance: object) -> bool:
        if self.frozen:
            await asyncio.get_running_loop().create_future()
        return await super().is_valid(instance)


async def _main(port: int, max_streams: int, audit_file: Path | None = None) -> None:
    async with Manager(health=QUIET) as manager:
        await manager.register(FreezingThing("db"), ThingConfig(), pool={"min_size": 0})
        app = create_admin(manager, None, AdminSettings(max_streams=max_streams, audit_file=audit_file))
        orders = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        served: asyncio.Future[Server] = loop.create_future()

        def started(server: Server) -> None:
            served.set_result(server)
            _say(server.listener.port)

        async def obey() -> None:
            while line := await orders.readline():
                _say(await _do(json.loads(line), manager, app.state.admin.hub, await served))
            (await served).stop()

        obeying = asyncio.create_task(obey())
        await serve(app, manager=manager, port=port, on_started=started, on_stopping=app.state.stop)
        obeying.cancel()


async def _do(order: dict[str, Any], manager: Manager, hub: Any, server: Server) -> Any:
    match order:
        case {"do": "streams"}:
            return len(hub)
        case {"do": "connections"}:
            return len(server.server_state.connections)
        case {"do": "freeze"}:
            FreezingThing.frozen = True
            return True
        case {"do": "publish", "start": start, "stop": stop}:
            for number in range(start, stop):
                manager.events.publish(
                    WorkflowProgress, None, Scope.GLOBAL, workflow="w", execution=str(number), status="failed"
                )
                if number % 10 == 0:
                    await asyncio.sleep(0)
            return stop
        case _:
            raise AssertionError(order)


def _say(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:])))
