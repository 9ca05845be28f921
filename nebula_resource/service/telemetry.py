"""Telemetry of the service: OpenTelemetry where its variables ask for it, and not a line of it imported elsewhere."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nebula_resource.manager import Manager

__all__ = ["is_traced", "telemetry", "with_trace_context"]

log = logging.getLogger("nebula_resource.service")

_ASKED_BY = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


def is_traced(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether OTEL_* asks for an exporter and the extra `otel` is installed; asked for without it, that is logged."""
    if not any(environment.get(name) for name in _ASKED_BY):
        return False
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        log.warning("OTEL_* asks for telemetry: install nebula-resource[otel]")
        return False
    from nebula_resource.otel import is_wanted

    return is_wanted(environment)


@asynccontextmanager
async def telemetry(manager: Manager, environment: Mapping[str, str] = os.environ) -> AsyncGenerator[None]:
    """Write spans, and metrics if opted in, for the time of a block; nothing where nothing is asked for.

    Raises:
        ConfigurationError: an exporter is asked for that is not installed.
    """
    if not is_traced(environment):
        yield
        return
    from nebula_resource.otel import Telemetry

    running = Telemetry(manager, environment)
    try:
        yield
    finally:
        await running.close()


def with_trace_context(app: Any, environment: Mapping[str, str] = os.environ) -> Any:
    """Return the ASGI application, taking over the ``traceparent`` of its requests where spans are written."""
    if not is_traced(environment):
        return app
    from nebula_resource.otel import TraceContext

    return TraceContext(app)
