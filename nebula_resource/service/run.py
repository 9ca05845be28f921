"""Run: the process behind ``nebula serve``: file, port, application, and one line for what stands in the way."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nebula_resource.errors import ConfigurationError, FieldViolation, ResourceError, ValidationFailed
from nebula_resource.manager import Manager, ShutdownReport
from nebula_resource.service.assembly import Assembly, assemble
from nebula_resource.service.declaration import Declaration, Source, declare, load
from nebula_resource.service.listener import Listener, claim
from nebula_resource.service.live_config import LiveConfig
from nebula_resource.service.logs import configure_logs
from nebula_resource.service.server import Server, ShutdownOverdue, serve
from nebula_resource.service.signals import on_hangup
from nebula_resource.service.telemetry import with_trace_context
from nebula_resource.service.transaction import OPENABLE
from nebula_resource.service.user_app import app_raised, load_app

__all__ = ["CONFIG", "NOT_WELL", "WRONG", "Options", "run"]

log = logging.getLogger("nebula_resource.service")

CONFIG = Path("nebula.toml")
"""The file that is read where none is named."""
WRONG = 2
"""Exit code: usage or configuration do not allow a start (SPEC §24)."""
NOT_WELL = 1
"""Exit code: a required resource could not be opened, or cleaning up did not end in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says; None: nothing."""

    config: Path | None = None
    app: str | None = None
    host: str | None = None
    port: int | None = None

    @property
    def admin(self) -> dict[str, object]:
        """The settings of ``[admin]`` among them."""
        return {"host": self.host, "port": self.port}


def run(options: Options, environment: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal ends it; returns the exit code. What stands in the way is said on standard error."""
    if options.app is None and environment.get("NEBULA_APP"):
        options = replace(options, app=environment["NEBULA_APP"])
    try:
        declared = read(options, environment)
        configure_logs(declared.admin.log_format, declared.admin.log_level)
        app = None if options.app is None else load_app(options.app)
        listener = claim(declared.admin.host, declared.admin.port)
    except ConfigurationError as error:
        return _refuse(WRONG, error)
    began = asyncio.Event()
    try:
        manager = Manager() if app is None else getattr(app.state, "nebula_manager", None) or Manager()
        live = LiveConfig(manager, declared, environment=environment, options=options.admin)
        report = asyncio.run(_serve(assemble(live, manager, app), listener, began))
    except ConfigurationError as error:
        return _refuse(NOT_WELL if isinstance(error, ValidationFailed) else WRONG, error)
    except ResourceError as error:
        return _refuse(NOT_WELL, error)
    except Exception as error:
        if app is None:
            raise  # a mistake of ours: its traceback is what we want to be sent
        failed = app_raised("the application's lifespan", error)
        failed.__cause__ = error
        return _refuse(NOT_WELL, failed, what="did not end well" if began.is_set() else "cannot start")
    finally:
        listener.close()
    print(f"shut down: {report}", flush=True)  # noqa: T201  # what the process has to report
    return 0


def read(options: Options, environment: Mapping[str, str]) -> Declaration:
    """What file, environment and command line declare. Raises `ConfigurationError`, `ValidationFailed`."""
    path = options.config or (
        Path(environment["NEBULA_CONFIG"]) if environment.get("NEBULA_CONFIG") else None
    )
    if path is None and not CONFIG.exists():
        if options.app is None:
            raise ConfigurationError(f"there is no {CONFIG} here: name a file with --config")
        return declare(Source(), environment=environment, options=options.admin)
    return load(path or CONFIG, environment=environment, options=options.admin)


async def _serve(assembly: Assembly, listener: Listener, began: asyncio.Event) -> ShutdownReport:
    def started(server: Server) -> None:
        began.set()
        # What is there by now stays for as long as this serves: a full collection would walk through all of it, and
        # nothing else runs meanwhile (a quarter of a second with 1,000 pools).
        gc.collect()
        gc.freeze()
        print(_banner(assembly, listener), flush=True)  # noqa: T201  # for the person who started it

    with on_hangup(assembly.hang_up):
        try:
            return await serve(
                with_trace_context(assembly.app),
                manager=assembly.manager,
                listener=listener,
                on_started=started,
                on_stopping=assembly.stop,
            )
        except ShutdownOverdue as error:
            # What still runs was cancelled and did not mind: the end of the event loop would wait for it.
            print(f"shut down by force: {error}", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(NOT_WELL)
        finally:
            gc.unfreeze()


def _banner(assembly: Assembly, listener: Listener) -> str:
    declared = assembly.live.declared
    names = ", ".join(each.name for each in declared.resources) or "none"
    where = listener.url + declared.admin.path.rstrip("/")
    keys = "keys" if declared.admin.keys_file is not None else "this machine only, no keys"
    return "\n".join(
        (
            f"nebula is running on {listener.url}",
            f"  admin      {where}/  ({keys})",
            f"  config     {declared.source or 'none'}",
            f"  resources  {names}",
            "Ctrl-C ends it in good order; twice, at once.",
        )
    )


def _refuse(code: int, error: ResourceError, *, what: str = "cannot start") -> int:
    """Say why in one line, or in one for each thing that is wrong."""
    if isinstance(error, ValidationFailed):
        lines = [_told(each) for each in error.violations]
        text = lines[0] if len(lines) == 1 else "\n  ".join((f"{len(lines)} things are wrong", *lines))
    else:
        text = " ".join(error.message.split())
    print(f"{what}: {text}", file=sys.stderr, flush=True)  # noqa: T201  # what the process has to report
    if error.__cause__ is not None:
        log.debug("what stood in the way", exc_info=error.__cause__)
    return code


def _told(violation: FieldViolation) -> str:
    if violation.constraint == OPENABLE:
        return f"{violation.field} cannot be opened: {violation.actual}"
    return str(violation)
