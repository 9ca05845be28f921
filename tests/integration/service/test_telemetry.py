"""The service's telemetry: what the standard variables ask for, and the trace that a request came with."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider

from nebula_resource.errors import ConfigurationError
from nebula_resource.manager import Manager
from nebula_resource.otel import ConnectionMetrics, Telemetry, TraceContext, is_wanted, trace_headers
from nebula_resource.service import is_traced, telemetry, with_trace_context
from nebula_resource.testing.mock import MockResource
from tests.architecture.tree import ROOT

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "orders"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "True"}, False),
    ],
)  # fmt: skip  # a table
def test_the_variables_decide(environment: dict[str, str], wanted: bool) -> None:
    """An exporter or an endpoint is what asks; a name alone does not."""
    assert is_wanted(environment) is wanted
    assert is_traced(environment) is wanted


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "install opentelemetry-exporter-otlp-proto-http"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "install opentelemetry-exporter-otlp-proto-grpc",
        ),
        ({"OTEL_TRACES_EXPORTER": "nosuch"}, "no installed package offers"),
    ],
)
async def test_an_exporter_that_is_not_there_is_said(environment: dict[str, str], said: str) -> None:
    """With what to install; nothing is set up, and the manager is as it was."""
    async with Manager() as manager:
        with pytest.raises(ConfigurationError, match=said):
            Telemetry(manager, environment)
        assert manager.tracing is None


async def test_nothing_is_asked_nothing_is_done() -> None:
    """The manager is not traced, the application is not wrapped."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    async with Manager() as manager, telemetry(manager, {}):
        assert manager.tracing is None
    assert with_trace_context(app, {}) is app
    assert isinstance(with_trace_context(app, {"OTEL_TRACES_EXPORTER": "console"}), TraceContext)


def test_asked_for_without_the_extra_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The service runs without; a line says what to install."""
    monkeypatch.setattr(sys.modules["nebula_resource.service.telemetry"], "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert not is_traced({"OTEL_TRACES_EXPORTER": "console"})
    assert "nebula-resource[otel]" in caplog.text


async def test_a_requests_traceparent_is_taken_over_and_handed_on() -> None:
    """In by the header, out by `trace_headers`; a request without one begins nothing, and nothing stays behind."""
    app = FastAPI()

    @app.get("/")
    async def seen() -> dict[str, str]:
        return trace_headers()

    transport = httpx.ASGITransport(TraceContext(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://it") as client:
        answers = [
            (await client.get("/", headers=given)).json()
            for given in ({"traceparent": TRACE}, {}, {"traceparent": "\x7f"})
        ]
    assert answers == [{"traceparent": TRACE}, {}, {}]
    assert not trace.get_current_span().get_span_context().is_valid


async def test_metrics_are_read_in_the_loop_for_other_threads() -> None:
    """As a periodic reader asks."""
    async with Manager() as manager:
        connections = ConnectionMetrics(manager, MeterProvider(shutdown_on_exit=False).get_meter("test"))
        await manager.register(MockResource("db"), pool={"min_size": 1})
        pools = await asyncio.to_thread(connections.read)
    assert [each.size for each in pools["db"]] == [1]


SCRIPT = """
import asyncio, sys
from nebula_resource import Manager
from nebula_resource.service import telemetry
from nebula_resource.testing.mock import MockResource

async def main():
    async with Manager() as manager:
        async with telemetry(manager):
            await manager.register(MockResource("db"), pool={"min_size": 0})
            async with manager.acquire("db"):
                pass
        assert manager.tracing is None
asyncio.run(main())
print("otel" if "opentelemetry" in sys.modules else "none", file=sys.stderr)
"""


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own: providers are the process's."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_a_process_exports_as_the_variables_say() -> None:
    """Spans on the console with the service's name, and the metrics since they were opted in."""
    done = run(
        OTEL_TRACES_EXPORTER="console",
        OTEL_METRICS_EXPORTER="console",
        OTEL_SEMCONV_STABILITY_OPT_IN="http,database",
        OTEL_SERVICE_NAME="orders",
    )
    decoder, text, found = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    spans = [each for each in found if "context" in each]
    assert {each["name"] for each in spans} - {"resource.acquire"} == {"resource.create"}
    assert spans[0]["resource"]["attributes"]["service.name"] == "orders"
    metrics = [
        m["name"]
        for each in found
        for r in each.get("resource_metrics", [])
        for s in r["scope_metrics"]
        for m in s["metrics"]
    ]
    assert "db.client.connection.count" in metrics
    assert "db.client.connection.wait_time" in metrics


def test_a_process_without_them_never_imports_it() -> None:
    """No cost where nobody asked."""
    assert run().stderr.strip() == "none"
