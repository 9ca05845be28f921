"""Assembly: the application that is served: a user's or none, with the manager, the admin API and the file's life."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from nebula_resource._aio import OwnedTasks
from nebula_resource.admin import KeyFile, create_admin
from nebula_resource.fastapi import install
from nebula_resource.manager import Manager
from nebula_resource.metrics import EventLog
from nebula_resource.model.stats import PoolStats
from nebula_resource.service.admin_section import AdminSection
from nebula_resource.service.http_metrics import HttpMetrics
from nebula_resource.service.live_config import LiveConfig
from nebula_resource.service.telemetry import telemetry
from nebula_resource.service.watch import signature_of, watching

__all__ = ["Assembly", "assemble"]


@dataclass(frozen=True, slots=True)
class Assembly:
    """What is served, and what to call: ``stop`` first of all at the end, ``hang_up`` when the file is to be read."""

    app: FastAPI
    manager: Manager
    live: LiveConfig
    stop: Callable[[], None]
    tasks: OwnedTasks = field(repr=False)

    def hang_up(self) -> None:
        """SIGHUP came."""
        self.tasks.start(self.live.reload_or_log("SIGHUP"), name="reload")


def assemble(live: LiveConfig, manager: Manager, app: FastAPI | None = None) -> Assembly:
    """Put it together; nothing is opened before the application's lifespan begins.

    A user's application gets the manager (unless it brought one) and its own routes come first; the admin API is
    mounted behind them.
    """
    settings = live.declared.admin
    outer = FastAPI(openapi_url=None) if app is None else app
    if app is not None and getattr(app.state, "nebula_manager", None) is None:
        install(app, manager, shutdown=False)  # whoever serves shuts it down, in less time
    http = HttpMetrics(outer)
    admin = create_admin(
        manager,
        None if settings.keys_file is None else KeyFile(settings.keys_file),
        settings.for_admin(),
        started=False,
        declared=live,
        more_metrics=http.text,
    )
    outer.mount("" if settings.path == "/" else settings.path, admin)
    outer.state.nebula_manager = manager
    log = EventLog(stats=lambda id: _stats_of(manager, id))
    detach = log.attach(manager.events)

    def apply(changed: AdminSection) -> None:
        nonlocal detach
        logging.getLogger().setLevel(changed.log_level)
        detach()  # what is worth hearing follows from the level: uses are heard of for DEBUG alone
        detach = log.attach(manager.events)
        admin.state.admin.set_groups(changed.groups)

    live.on_settings = apply
    tasks = OwnedTasks("nebula service")
    _compose(outer, manager, live, tasks, started=admin.state.admin.mark_started)
    return Assembly(outer, manager, live, admin.state.stop, tasks)


def _compose(
    app: FastAPI, manager: Manager, live: LiveConfig, tasks: OwnedTasks, *, started: Callable[[], None]
) -> None:
    """Around the application's own lifespan: what the file declares is open before that begins."""
    inner: Any = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncGenerator[Any]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(telemetry(manager))
            known = await signature_of(
                live.files
            )  # opening takes its time, and the file may change meanwhile
            await live.start()
            stack.push_async_callback(live.close)
            stack.push_async_callback(tasks.cancel_all)
            state = await stack.enter_async_context(inner(running))
            if live.declared.source is not None:
                await stack.enter_async_context(
                    watching(
                        lambda: live.files, lambda: live.reload_or_log("the file has changed"), known=known
                    )
                )
            started()
            yield state

    app.router.lifespan_context = lifespan


def _stats_of(manager: Manager, public_id: str) -> PoolStats | None:
    """The numbers of a pool, if it is there."""
    registration = manager.registry.get(public_id)
    return None if registration is None else registration.pool.stats()
