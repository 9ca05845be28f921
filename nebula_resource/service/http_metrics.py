"""HttpMetrics: how the service itself is used over HTTP, counted by prometheus-fastapi-instrumentator."""

from __future__ import annotations

from collections.abc import Callable

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "service"):
    from fastapi import FastAPI
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.openmetrics import exposition
    from prometheus_fastapi_instrumentator import Instrumentator
    from starlette.types import ASGIApp, Receive, Scope, Send

from nebula_resource.fastapi import problem_response
from nebula_resource.model.problems import problem_of_status

__all__ = ["HttpMetrics", "KnownMethods"]

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_EOF = b"# EOF\n"
generate_openmetrics: Callable[[CollectorRegistry], bytes] = exposition.generate_latest  # it has no types


class HttpMetrics:
    """Counts requests and their times by route template, method and class of status; and the process's own numbers.

    It has a registry of its own, so that two applications in one process, in tests say, do not meet.

    Args:
        app: the outermost application; what is mounted in it is counted by its full path.
    """

    def __init__(self, app: FastAPI) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Instrumentator(
            # An event stream lasts for minutes: what counts is how soon it begins.
            should_exclude_streaming_duration=True,
            registry=self._registry,
        ).instrument(app)
        app.add_middleware(KnownMethods)  # outside of the counting

    def text(self, openmetrics: bool) -> bytes:
        """The numbers as Prometheus text, or as OpenMetrics without its last line: others' numbers may follow."""
        if openmetrics:
            whole: bytes = generate_openmetrics(self._registry)
            return whole.removesuffix(_EOF)
        return generate_latest(self._registry)


class KnownMethods:
    """Refuses methods nobody has heard of: each would be a label of its own, and clients can make up any number."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] not in METHODS:
            await problem_response(problem_of_status(501))(scope, receive, send)
            return
        await self._app(scope, receive, send)
