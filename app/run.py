"""Run: the process of the service: settings, port, data, application, and one line for what goes wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import replace

from app.banner import banner
from app.demo.data import DataFolder
from app.demo.tenants import TENANTS
from app.main import build
from app.settings import HOST, Settings
from nebula_resource.errors import ResourceError
from nebula_resource.manager import ShutdownReport
from nebula_resource.service import Listener, Server, ShutdownOverdue, claim, serve, with_trace_context
from nebula_resource.service.logs import configure_logs

__all__ = ["CANNOT_START", "OVERDUE", "run"]

CANNOT_START = 2
"""Exit code where settings, port or data do not allow a start (SPEC §24: usage or configuration)."""
OVERDUE = 1
"""Exit code where cleaning up did not end in time."""


def run(environment: Mapping[str, str] = os.environ) -> int:
    """Run the service until a signal ends it; returns the exit code.

    What stands in the way of a start is said in one line on standard error, and nothing is left behind.
    """
    try:
        settings = Settings.from_environment(environment)
        configure_logs(settings.log_format, settings.log_level)
        listener = claim(HOST, settings.port)
        try:
            report = asyncio.run(_serve(replace(settings, port=listener.port), listener))
        finally:
            listener.close()
    except ResourceError as error:
        print(f"cannot start: {_in_a_line(error)}", file=sys.stderr)
        return CANNOT_START
    print(f"shut down: {report}", flush=True)
    return 0


async def _serve(settings: Settings, listener: Listener) -> ShutdownReport:
    data = DataFolder(settings.data, TENANTS)
    data.prepare()
    try:
        service = build(settings, data)

        def say_what_to_open(server: Server) -> None:
            print(banner(listener.url, data.path, traffic=settings.traffic), flush=True)

        return await serve(
            with_trace_context(service.app),
            manager=service.manager,
            listener=listener,
            on_started=say_what_to_open,
            on_stopping=service.stop,
        )
    except ResourceError:
        data.undo()
        raise
    except ShutdownOverdue as error:
        # What still runs was cancelled and did not mind: the end of the event loop would wait for it.
        print(f"shut down by force: {error}", file=sys.stderr, flush=True)
        os._exit(OVERDUE)


def _in_a_line(error: ResourceError) -> str:
    return " ".join(error.message.split())
