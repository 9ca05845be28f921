"""Headers: the trace that is under way, as it is handed on to another service."""

from __future__ import annotations

from opentelemetry import propagate

__all__ = ["trace_headers"]


def trace_headers() -> dict[str, str]:
    """Return what a request sent now should carry (``traceparent`` and whatever OTEL_PROPAGATORS adds); maybe nothing."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier
