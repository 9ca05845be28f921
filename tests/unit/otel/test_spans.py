"""Spans, read back from OpenTelemetry's in-memory exporter."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Generator
from typing import Any

import opentelemetry.sdk.trace
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from nebula_resource import (
    OFF,
    AcquireTimeout,
    HealthStatus,
    Manager,
    Resource,
    ResourceContext,
    Scope,
    Unavailable,
)
from nebula_resource.model.health import HealthCheckable
from nebula_resource.otel import Spans, trace_headers


class Thing:
    """An instance."""


class Things(Resource[Any, Thing], HealthCheckable):
    """Takes time, and tells which span was current in each step."""

    id = "thing"

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.recycling = 0.0
        self.error: Exception | None = None

    async def create(self, config: Any, context: ResourceContext) -> Thing:
        self.seen["create"] = trace.get_current_span().get_span_context()
        self.seen["headers"] = trace_headers()
        await asyncio.sleep(0.5)
        if self.error is not None:
            raise self.error
        return Thing()

    async def recycle(self, instance: Thing) -> None:
        await asyncio.sleep(self.recycling)

    async def health_check(self, instance: Thing, context: ResourceContext) -> HealthStatus:
        self.seen["check"] = trace.get_current_span().get_span_context()
        return HealthStatus.unhealthy("ill")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where spans end."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Generator[Tracer]:
    """A tracer of the test's own."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("test")
    provider.shutdown()


Read = Callable[[str], list[ReadableSpan]]


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Read:
    """The finished spans of one name."""
    return lambda name: [each for each in exporter.get_finished_spans() if each.name == name]


async def test_a_clock_that_is_set_back_makes_no_span_end_before_it_began(
    tracer: Tracer, spans: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour back while an instance is made and while it is checked."""
    real = time.time_ns
    hours = itertools.count()
    for module in (time, opentelemetry.sdk.trace):
        monkeypatch.setattr(module, "time_ns", lambda: real() - next(hours) * 3_600_000_000_000)
    async with Manager() as manager:
        Spans(tracer).attach(manager)
        await manager.register(Things(), pool=POOL)
        await manager.check("thing")
    for name in ("resource.create", "resource.health_check"):
        for each in spans(name):
            assert each.start_time is not None
            assert each.end_time is not None
            assert 0 <= each.end_time - each.start_time < 60_000_000_000
    assert spans("resource.health_check")


POOL = {"min_size": 0, "max_size": 1, "warm_on_register": False}


async def test_an_acquire_that_waits_stands_under_the_callers_span(tracer: Tracer, spans: Read) -> None:
    """It is the caller's child, lasts as long as the wait, and says whose it was and for which level of scope."""
    things = Things()
    async with Manager() as manager:
        Spans(tracer).attach(manager)
        await manager.register(
            things,
            pool=POOL,
        )
        with tracer.start_as_current_span("request") as request:
            async with manager.scope(tenant="acme", execution="e1"), manager.acquire("thing"):
                pass
    [acquire] = spans("resource.acquire")
    assert acquire.parent is not None
    assert acquire.parent.span_id == request.get_span_context().span_id
    assert acquire.start_time is not None
    assert acquire.end_time is not None
    assert (acquire.end_time - acquire.start_time) / 1e9 == pytest.approx(0.5)
    assert dict(acquire.attributes or {}) == {
        "nebula.resource.id": "thing",
        "nebula.resource.public_id": "thing",
        "nebula.scope.level": "execution",
        "db.client.connection.pool.name": "thing",
    }
    assert acquire.status.status_code is StatusCode.UNSET


async def test_a_hit_has_no_span_and_goes_the_short_way(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """What finds an idle instance is not slowed: the registration stays plain."""

    class Quick(Resource[Any, Thing]):
        id = "quick"

        async def create(self, config: Any, context: ResourceContext) -> Thing:
            return Thing()

    async with Manager() as manager:
        Spans(tracer).attach(manager)
        registration = await manager.register(Quick(), pool={"min_size": 1})
        exporter.clear()
        for _ in range(200):
            async with manager.acquire("quick"):
                pass
        await (await manager.acquire("quick")).release()
        assert registration.is_plain
        assert exporter.get_finished_spans() == ()


async def test_a_create_begins_a_trace_of_its_own(tracer: Tracer, spans: Read) -> None:
    """Whoever caused it: it may serve another tenant; what the driver calls meanwhile carries its traceparent."""
    things = Things()
    async with Manager() as manager:
        Spans(tracer).attach(manager)
        await manager.register(things, pool=POOL)
        with tracer.start_as_current_span("request"):
            async with manager.acquire("thing"):
                assert trace.get_current_span().get_span_context() != things.seen["create"]
    [create] = spans("resource.create")
    assert create.parent is None
    context = create.context
    assert context is not None
    assert things.seen["create"] == context
    assert (
        things.seen["headers"]["traceparent"]
        == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )


async def test_a_failed_create_says_its_type_and_not_its_words(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """Both the create and the acquire are errors; a driver's wording, which may hold a secret, is nowhere."""
    things = Things()
    things.error = ConnectionRefusedError("password=hunter2")
    async with Manager() as manager:
        Spans(tracer).attach(manager)
        await manager.register(things, pool=POOL)
        with pytest.raises(Exception, match="ConnectionRefusedError"):
            async with manager.acquire("thing"):
                pass
    written = {each.name: each for each in exporter.get_finished_spans()}
    create, acquire = written["resource.create"], written["resource.acquire"]
    assert (create.attributes or {})["error.type"] == "ConnectionRefusedError"
    assert (acquire.attributes or {})["error.type"] == "create_failed"
    assert {create.status.status_code, acquire.status.status_code} == {StatusCode.ERROR}
    assert "hunter2" not in "".join(each.to_json() for each in exporter.get_finished_spans())


@pytest.mark.parametrize("way", ["quick", "general", "handle"])
async def test_failures_have_a_span_however_short(way: str, tracer: Tracer, spans: Read) -> None:
    """A timeout, and a refusal at once, on each way in."""

    def ask(manager: Manager) -> Any:
        return manager.acquire("thing") if way == "quick" else manager.acquire("thing", timeout=1.0)

    async def take(acquisition: Any) -> None:
        if way == "handle":
            await (await acquisition).release()
        else:
            async with acquisition:
                pass

    async with Manager() as manager:
        Spans(tracer).attach(manager)
        await manager.register(Things(), pool={**POOL, "acquire_timeout": 1.0})
        async with manager.acquire("thing"):
            with pytest.raises(AcquireTimeout):
                await take(ask(manager))
        manager.quarantine("thing", reason="a look")
        with pytest.raises(Unavailable):
            await take(ask(manager))
    codes = [(each.attributes or {}).get("error.type") for each in spans("resource.acquire")]
    assert codes[1:] == ["acquire_timeout", "unavailable"]


async def test_a_cancelled_wait_is_no_error(tracer: Tracer, spans: Read) -> None:
    """It says that it was cancelled, and its status stays unset."""
    async with Manager() as manager:
        Spans(tracer).attach(manager)
        await manager.register(Things(), pool=POOL)
        async with manager.acquire("thing"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.25):
                    await manager.acquire("thing", timeout=5)
    _, cancelled = spans("resource.acquire")
    assert (cancelled.attributes or {})["nebula.outcome"] == "cancelled"
    assert cancelled.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("way", ["block", "handle"])
async def test_a_release_that_takes_time_has_a_span(way: str, tracer: Tracer, spans: Read) -> None:
    """A recycle that waits is seen; one that does not is not."""
    things = Things()
    async with Manager() as manager:
        Spans(tracer, min_seconds=0.01).attach(manager)
        await manager.register(things, pool=POOL)
        for things.recycling in (0.0, 0.25):
            if way == "block":
                async with manager.acquire("thing"):
                    pass
            else:
                await (await manager.acquire("thing")).release()
    [release] = spans("resource.release")
    assert release.start_time is not None
    assert release.end_time is not None
    assert (release.end_time - release.start_time) / 1e9 == pytest.approx(0.25)


async def test_a_check_is_a_span_with_what_it_found(tracer: Tracer, spans: Read) -> None:
    """It is current while the resource checks, belongs to nobody's trace, and says the state."""
    things = Things()
    async with Manager(quarantine=OFF) as manager:
        Spans(tracer).attach(manager)
        await manager.register(things, pool=POOL)
        with tracer.start_as_current_span("operator"):
            await manager.check("thing")
    [check] = spans("resource.health_check")
    assert check.parent is None
    assert check.context == things.seen["check"]
    assert (check.attributes or {})["nebula.health.state"] == "unhealthy"


async def test_a_tenant_is_named_only_where_it_may_be(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """The scope's level stands in every span, the scope only for allowed tenants."""
    async with Manager() as manager:
        Spans(tracer, tenants=("acme",)).attach(manager)
        for tenant in ("acme", "globex"):
            await manager.register(Things(), pool=POOL, scope=Scope.tenant(tenant))
            async with manager.scope(tenant=tenant), manager.acquire("thing"):
                pass
    written = "".join(each.to_json() for each in exporter.get_finished_spans())
    assert "tenant:acme" in written
    assert "globex" not in written


async def test_detached_it_is_gone(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """Afterwards nothing is written."""
    async with Manager() as manager:
        detach = Spans(tracer).attach(manager)
        await manager.register(Things(), pool=POOL)
        detach()
        async with manager.acquire("thing"):
            pass
    assert exporter.get_finished_spans() == ()
