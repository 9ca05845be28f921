"""Service: what runs an application: its port, its signals, its end in good order."""

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "service"):
    from nebula_resource.service.lifespan import Lifespan
    from nebula_resource.service.listener import Listener, PortNotAvailable, claim
    from nebula_resource.service.server import CLEANUP, DRAIN, Server, ShutdownOverdue, serve
    from nebula_resource.service.signals import stop_on_signal
    from nebula_resource.service.telemetry import is_traced, telemetry, with_trace_context

__all__ = [
    "CLEANUP",
    "DRAIN",
    "Lifespan",
    "Listener",
    "PortNotAvailable",
    "Server",
    "ShutdownOverdue",
    "claim",
    "is_traced",
    "serve",
    "stop_on_signal",
    "telemetry",
    "with_trace_context",
]
