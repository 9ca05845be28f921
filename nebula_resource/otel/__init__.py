"""OpenTelemetry, behind the extra `otel`: spans of acquires, releases, creates and checks, and connection metrics."""

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "otel"):
    from nebula_resource.otel.asgi import TraceContext
    from nebula_resource.otel.connections import ConnectionMetrics
    from nebula_resource.otel.conventions import CONVENTIONS, Convention
    from nebula_resource.otel.environment import Telemetry, is_wanted
    from nebula_resource.otel.headers import trace_headers
    from nebula_resource.otel.spans import Spans
    from nebula_resource.otel.times import WithPoolTimes

__all__ = [
    "CONVENTIONS",
    "ConnectionMetrics",
    "Convention",
    "Spans",
    "Telemetry",
    "TraceContext",
    "WithPoolTimes",
    "is_wanted",
    "trace_headers",
]
