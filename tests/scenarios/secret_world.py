"""SecretWorld: one random secret, a manager that is given it everywhere, and all that is ever said about it."""

import base64
import io
import json
import logging
import secrets
import traceback
import warnings
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from nebula_resource import HealthPolicy, Manager, QuarantinePolicy
from nebula_resource.events import Event
from nebula_resource.hooks import AuditHook, MetricsHook, SlowAcquireHook
from nebula_resource.model.config import Secret
from nebula_resource.model.credentials import StaticCredentials
from nebula_resource.otel.spans import Spans
from nebula_resource.quarantine import RecoveryBackoff
from nebula_resource.service.logs import LogFormat, configure_logs

__all__ = ["CANARY", "Said", "listening", "secret_manager", "spellings"]

CANARY = f"kanarie/{secrets.token_hex(8)}@ü+"


def spellings(secret: str) -> set[str]:
    """The secret as it is, as URLs and JSON write it, and as base64 does at each of its three alignments."""
    found = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
    raw = secret.encode()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        # The first and the last characters depend on what stands beside it.
        middle = whole[4 if shift else 0 : -4]
        found |= {middle, middle.replace("+", "-").replace("/", "_")}
    # Each piece that is random by itself: half a secret is no better.
    found.add(secret.partition("/")[2].partition("@")[0])
    return found


class Said:
    """Everything that was said, with where it was said; and which failures were forced."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, str]] = []
        self.modes: set[str] = set()

    def add(self, where: str, what: object) -> None:
        """Keep a text."""
        self.pieces.append((where, str(what)))

    @contextmanager
    def forced(self, mode: str, *, is_quoting: bool = False) -> Generator[None]:
        """Around what must fail in this way.

        ``is_quoting``: the user's own code puts the secret into the error it raises. That error stays what it is; one
        of ours around it repeats nothing of it.
        """
        try:
            yield
        except Exception as error:
            self.modes.add(mode)
            if not is_quoting:
                # SQLAlchemy's has the parameters of the statement as a field, for the program and in no text.
                fields = {name: held for name, held in vars(error).items() if name != "params"}
                self.add(f"error of {mode}", f"{error!s} {error!r} {fields!r}")
                self.add(f"traceback of {mode}", "".join(traceback.format_exception(error)))
            elif type(error).__module__.startswith("nebula_resource"):
                fields = {name: held for name, held in vars(error).items() if name != "cause"}
                self.add(f"error of {mode}", f"{error!s} {error!r} {fields!r}")
                self.add(f"traceback of {mode}", "".join(traceback.format_exception(error, chain=False)))

    def hits(self, secret: str) -> list[str]:
        """Where the secret is."""
        wanted = spellings(secret)
        return [
            f"{where}: {what[:300]}" for where, what in self.pieces if any(each in what for each in wanted)
        ]

    def places(self) -> set[str]:
        """The first words of where something was said."""
        return {where.split()[0] for where, _ in self.pieces}


class _Listener(logging.Handler):
    """Keeps every record of every logger: text, fields, exception."""

    def __init__(self, said: Said) -> None:
        super().__init__(logging.DEBUG)
        self._said = said
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self._said.add(f"log {record.name}", f"{self.format(record)} {vars(record)!r}")


@dataclass
class _Written:
    """What the service would have written, in one of its two formats."""

    form: str
    stream: io.StringIO
    handler: logging.Handler


def _service_handlers() -> list[_Written]:
    """The handlers that `nebula serve` logs by; the root logger is left as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    chatty = {name: logging.getLogger(name).level for name in list(logging.Logger.manager.loggerDict)}
    found = []
    forms: tuple[LogFormat, ...] = ("json", "console")
    for form in forms:
        stream = io.StringIO()
        configure_logs(form, "DEBUG", stream=stream)
        found.append(_Written(form, stream, root.handlers[0]))
    root.handlers[:] = before
    root.setLevel(level)
    for name, was in chatty.items():
        logging.getLogger(name).setLevel(was)
    return found


@contextmanager
def listening(said: Said) -> Generator[None]:
    """Hear every logger at DEBUG, ours and the drivers', and every warning."""
    written = _service_handlers()
    handlers = [_Listener(said), *(each.handler for each in written)]
    loggers = [
        logging.getLogger(name) for name in (None, "nebula_resource", "sqlalchemy", "httpx", "asyncio")
    ]
    levels = [logger.level for logger in loggers]
    for handler in handlers:
        loggers[0].addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    warned: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield
    finally:
        for handler in handlers:
            loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for each in written:
            said.add(f"log as {each.form}", each.stream.getvalue())
        for warning in warned:
            said.add("warning", warning.message)


@asynccontextmanager
async def secret_manager(said: Said) -> AsyncGenerator[Manager]:
    """A manager whose events, hooks and spans are all kept, and whose provider has the secret."""
    exporter = InMemorySpanExporter()
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    manager = Manager(
        # Nothing goes on by itself for long: a slow machine would do nothing else.
        health=HealthPolicy(interval=3600.0, timeout=0.5, failure_threshold=1, success_threshold=1),
        quarantine=QuarantinePolicy(
            backoff=RecoveryBackoff(base=0.1, max=0.2), max_attempts=2, on_exhausted="stop"
        ),
        credentials=StaticCredentials({"password": Secret(CANARY), "torn": Secret(f"{CANARY}\n")}),
    )

    def keep(event: Event) -> None:
        said.add(f"event {event.name}", f"{event!r} {json.dumps(event.to_json())}")

    manager.events.add_listener(keep, (Event,))
    metrics = MetricsHook()
    for hook in (AuditHook(full_scope=True), SlowAcquireHook(0.0), metrics):
        manager.hooks.add(hook)
    Spans(tracing.get_tracer("secrets"), min_seconds=0.0).attach(manager)
    try:
        async with manager:
            yield manager
    finally:
        said.add("hook counts", f"{metrics.counts} {metrics.durations}")
        for span in exporter.get_finished_spans():
            said.add("span", span.to_json())
        tracing.shutdown()
