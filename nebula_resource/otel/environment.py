"""Telemetry: OpenTelemetry for a process, as its standard variables (OTEL_*) say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from nebula_resource.errors import ConfigurationError
from nebula_resource.manager import Manager
from nebula_resource.otel.connections import ConnectionMetrics
from nebula_resource.otel.spans import Spans
from nebula_resource.otel.times import WithPoolTimes

__all__ = ["Telemetry", "is_wanted"]


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether the variables ask for anything: an exporter, or an endpoint for one, and not OTEL_SDK_DISABLED."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true" and bool(
        _exporters("TRACES", environment) or _exporters("METRICS", environment)
    )


class Telemetry:
    """Providers and exporters as the variables say, and a manager that writes to them.

    OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER name exporters (``console``, ``otlp`` …, as installed packages offer
    them); where they are not set and an OTLP endpoint is, that is ``otlp``. Names, samplers, intervals, batches and
    propagators are read by OpenTelemetry itself. The connection metrics are opt-in: OTEL_SEMCONV_STABILITY_OPT_IN has
    to hold ``database`` or ``database/dup``. Where the process has a provider already (``opentelemetry-instrument``),
    that one is used and nothing is set up.

    Args:
        manager: whose operations. Make it inside the manager's event loop.
        environment: the variables.

    Raises:
        ConfigurationError: an exporter that no installed package offers; the message says which to install.
    """

    def __init__(self, manager: Manager, environment: Mapping[str, str] = os.environ) -> None:
        span_exporters = [_load("traces", name) for name in _exporters("TRACES", environment)]
        metric_exporters = [
            _load("metrics", name)
            for name in (_exporters("METRICS", environment) if _has_opted_in(environment) else ())
        ]
        self._shutdowns: list[Callable[[], object]] = []
        tracer = None
        if span_exporters and not _is_set(trace.get_tracer_provider()):
            tracing = TracerProvider(shutdown_on_exit=False)
            for exporter in span_exporters:
                tracing.add_span_processor(BatchSpanProcessor(exporter))
            self._shutdowns.append(tracing.shutdown)
            trace.set_tracer_provider(tracing)
            tracer = tracing.get_tracer("nebula_resource")
        self._detach = Spans(tracer).attach(manager)
        if metric_exporters and not _is_set(metrics.get_meter_provider()):
            readers = [_Late(exporter) for exporter in metric_exporters]
            metering = MeterProvider([each.reader for each in readers], shutdown_on_exit=False)
            connections = ConnectionMetrics(manager, metering.get_meter("nebula_resource"))
            for each in readers:
                each.exporter.connections = connections
            self._shutdowns.append(metering.shutdown)
            metrics.set_meter_provider(metering)
        elif _has_opted_in(environment):
            _ = ConnectionMetrics(manager)

    async def close(self) -> None:
        """Write no more, and send what was written; in a thread, since exporters wait."""
        self._detach()
        shutdowns, self._shutdowns = self._shutdowns, []
        for shutdown in shutdowns:
            await asyncio.to_thread(shutdown)


class _Late:
    """A reader whose exporter learns of the pools after the provider was made."""

    def __init__(self, exporter: Any) -> None:
        self.exporter = WithPoolTimes(exporter, None)
        self.reader = PeriodicExportingMetricReader(self.exporter)


def _is_set(provider: object) -> bool:
    """Whether somebody has set a provider: the stand-ins come from the API package."""
    return not type(provider).__module__.startswith("opentelemetry.trace") and not type(
        provider
    ).__module__.startswith("opentelemetry.metrics")


def _has_opted_in(environment: Mapping[str, str]) -> bool:
    chosen = {each.strip() for each in environment.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")}
    return bool(chosen & {"database", "database/dup"})


def _exporters(signal: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The exporters of ``TRACES`` or ``METRICS``, as the packages call them."""
    named = environment.get(f"OTEL_{signal}_EXPORTER", "").strip()
    has_endpoint = any(
        environment.get(name)
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )
    names = named.split(",") if named else ["otlp"] if has_endpoint else []
    protocol = environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    otlp = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    stripped = (each.strip() for each in names)
    return tuple(otlp if each == "otlp" else each for each in stripped if each and each != "none")


def _load(signal: str, name: str) -> Any:
    for found in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return found.load()()
    package = f"opentelemetry-exporter-{name.replace('_', '-')}"
    raise ConfigurationError(
        f"OTEL_{signal.upper()}_EXPORTER asks for an exporter that is not installed: install {package}"
        if name.startswith("otlp_")
        else f"OTEL_{signal.upper()}_EXPORTER names an exporter that no installed package offers"
    )
