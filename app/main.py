"""Main: the application put together: the admin API at the root, the demo of three tenants under /demo."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dependency_injector import providers
from fastapi import FastAPI

from app.demo import charging
from app.demo.application import create_demo
from app.demo.data import DataFolder
from app.demo.provider import PaymentProvider
from app.demo.resources import register_all
from app.demo.tenants import TENANTS
from app.demo.traffic import make_traffic
from app.settings import HOST, Settings
from containers import ApplicationContainer
from nebula_resource import Manager
from nebula_resource._aio import OwnedTasks
from nebula_resource.admin import create_admin
from nebula_resource.di import wired
from nebula_resource.metrics import EventLog
from nebula_resource.model.stats import PoolStats
from nebula_resource.service import CLEANUP, telemetry
from nebula_resource.service.http_metrics import HttpMetrics
from nebula_resource.workflow import WorkflowExecutor

__all__ = ["Service", "build", "create_app"]


@dataclass(frozen=True, slots=True)
class Service:
    """An application, the manager behind it, and what to call first when it is told to end."""

    app: FastAPI
    manager: Manager
    stop: Callable[[], None]


def create_app(settings: Settings) -> FastAPI:
    """Make the application for whoever brings a server of their own; its lifespan starts and ends everything."""
    data = DataFolder(settings.data, TENANTS)
    data.prepare()
    return build(settings, data).app


def build(settings: Settings, data: DataFolder) -> Service:
    """Put everything together; nothing is opened before the application's lifespan begins."""
    provider = PaymentProvider()
    setup = providers.Callable(register_all, data=data, provider=provider)
    container = ApplicationContainer(settings=settings, setup=setup)
    manager: Manager = container.manager()
    executor: WorkflowExecutor = container.workflows()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with provider.running(), opened(container), telemetry(manager):
            with wired(container, charging):
                admin.state.admin.mark_started()
                async with executor, running_traffic(settings):
                    yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    http = HttpMetrics(app)
    admin = create_admin(manager, started=False, more_metrics=http.text)
    app.mount("/demo", create_demo(manager, executor))
    app.mount("/", admin)
    app.state.nebula_manager = manager
    EventLog(stats=lambda id: stats_of(manager, id)).attach(manager.events)

    def stop() -> None:
        admin.state.admin.mark_stopping()
        admin.state.close_streams()

    return Service(app, manager, stop)


def stats_of(manager: Manager, public_id: str) -> PoolStats | None:
    """The numbers of a pool, if it is there."""
    registration = manager.registry.get(public_id)
    return None if registration is None else registration.pool.stats()


@asynccontextmanager
async def opened(container: ApplicationContainer) -> AsyncGenerator[None]:
    """Open what the container keeps for the time of a block, and then end it within `CLEANUP` seconds."""
    try:
        await container.init_resources()
        yield
    finally:
        # Nothing asks any more. Two thirds to clean up in good order, one third for what must be cancelled.
        await container.manager.shutdown(drain=0.5, cleanup=CLEANUP * 2 / 3, terminate=CLEANUP / 3)
        await container.shutdown_resources()


@asynccontextmanager
async def running_traffic(settings: Settings) -> AsyncGenerator[None]:
    """Make traffic for the time of a block, if it is wanted."""
    tasks = OwnedTasks("traffic")
    if settings.traffic:
        tasks.start(make_traffic(f"http://{HOST}:{settings.port}", TENANTS), name="customers")
    try:
        yield
    finally:
        await tasks.cancel_all()
