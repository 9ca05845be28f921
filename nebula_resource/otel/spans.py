"""Spans: what takes time in a manager, as spans of OpenTelemetry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from nebula_resource.errors import AcquireCancelled, ResourceError
from nebula_resource.manager import Manager
from nebula_resource.model.health import Postponed
from nebula_resource.model.printable import printable
from nebula_resource.model.scope import Scope
from nebula_resource.otel.conventions import POOL_NAME

__all__ = ["Spans"]

Note = Callable[[str, "str | float"], None]

_OF_CALLERS = frozenset({"acquire", "release"})
_OF_POOLS = frozenset({"create", "health_check"})
_CALLED_OFF = (asyncio.CancelledError, AcquireCancelled, GeneratorExit)


class Spans:
    """Writes ``resource.acquire``, ``resource.release``, ``resource.create`` and ``resource.health_check``.

    An acquire that finds an idle instance has no span and costs nothing. One that waits, and a release that has to
    wait (a commit, a recycle), has one under the caller's current span when it took ``min_seconds`` or failed; it is
    written when it has ended. A create or a health check is the pool's own work, whoever caused it: it begins a trace
    of its own and is the current span while it runs, so that calls which a driver makes belong to it.

    Attributes: ``nebula.resource.id``, ``nebula.resource.public_id``, ``nebula.scope.level``,
    ``db.client.connection.pool.name``, ``error.type`` (a ``ResourceError.code``, else a type's name), and for checks
    ``nebula.health.state``. The wording of an error is never written.

    Args:
        tracer: None: the global provider's, ``nebula_resource``.
        min_seconds: the least that an acquire or a release takes to have a span, unless it fails; 0: every one that
            does not go the short way.
        tenants: tenant ids whose scopes may stand in ``nebula.scope``; "all" for every one.
    """

    def __init__(
        self,
        tracer: Tracer | None = None,
        *,
        min_seconds: float = 0.001,
        tenants: Collection[str] = (),
    ) -> None:
        self._tracer = trace.get_tracer("nebula_resource") if tracer is None else tracer
        self._min_seconds = min_seconds
        self._all_tenants = tenants == "all"
        self._tenants = frozenset(() if self._all_tenants else tenants)

    def attach(self, manager: Manager) -> Callable[[], None]:
        """Stand around this manager's operations from now on; return what ends that."""
        manager.tracing = self

        def detach() -> None:
            if manager.tracing is self:
                manager.tracing = None

        return detach

    def around(
        self, operation: str, resource_id: str, public_id: str, scope: Scope
    ) -> AbstractContextManager[Note | None]:
        """See `Tracing.around`; steps without a span of their own run as they are."""
        if operation in _OF_CALLERS:
            attributes = self._attributes(resource_id, public_id, scope)
            return _AfterTheFact(self._tracer, f"resource.{operation}", attributes, self._min_seconds)
        if operation in _OF_POOLS:
            attributes = self._attributes(resource_id, public_id, scope)
            return _Current(self._tracer, f"resource.{operation}", attributes)
        return nullcontext()

    def _attributes(self, resource_id: str, public_id: str, scope: Scope) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {
            "nebula.resource.id": resource_id,
            "nebula.resource.public_id": public_id,
            "nebula.scope.level": scope.level.name.lower(),
            POOL_NAME: resource_id,
        }
        if self._all_tenants or scope.tenant_id in self._tenants:
            attributes["nebula.scope"] = str(printable(str(scope)))
        return attributes


class _AfterTheFact:
    """A span that is written when its operation has ended, if it is worth one."""

    __slots__ = ("_attributes", "_began", "_least", "_name", "_tracer")

    _began: float

    def __init__(
        self, tracer: Tracer, name: str, attributes: dict[str, AttributeValue], least: float
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._attributes = attributes
        self._least = least

    def __enter__(self) -> None:
        self._began = asyncio.get_running_loop().time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GeneratorExit):
            return  # the loop may have ended, and its clock with it
        took = asyncio.get_running_loop().time() - self._began
        if error is None and took < self._least:
            return
        ended = time.time_ns()
        span = self._tracer.start_span(
            self._name, attributes=self._attributes, start_time=ended - round(took * 1e9)
        )
        _judge(span, error)
        span.end(ended)


class _Current:
    """A span that begins a trace and is the current one while its operation runs."""

    __slots__ = ("_attributes", "_began", "_name", "_span", "_started", "_token", "_tracer")

    def __init__(self, tracer: Tracer, name: str, attributes: dict[str, AttributeValue]) -> None:
        self._tracer = tracer
        self._name = name
        self._attributes = attributes

    def __enter__(self) -> Note:
        self._started, self._began = time.time_ns(), time.monotonic_ns()
        self._span = self._tracer.start_span(
            self._name, context=Context(), attributes=self._attributes, start_time=self._started
        )
        self._token = attach(trace.set_span_in_context(self._span, Context()))
        return self._note

    def _note(self, name: str, value: str | float) -> None:
        self._span.set_attribute(name, value)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _judge(self._span, error)
        # By the clock that nobody sets: a span that ended before it began is thrown away by whoever reads it.
        self._span.end(self._started + time.monotonic_ns() - self._began)
        if not isinstance(error, GeneratorExit):  # closed from outside: the variable is not this context's
            detach(self._token)


def _judge(span: Span, error: BaseException | None) -> None:
    """Say how it ended; what was called off, or had nothing to check with, is no error."""
    if error is None:
        return
    if isinstance(error, _CALLED_OFF):
        span.set_attribute("nebula.outcome", "cancelled")
    elif isinstance(error, Postponed):
        span.set_attribute("nebula.outcome", "postponed")
    else:
        code = error.code if isinstance(error, ResourceError) else type(error).__name__
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR))
