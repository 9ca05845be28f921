"""Logs: everything that writes to `logging`, as lines for people or as JSON for machines, by structlog."""

from __future__ import annotations

import io
import logging
import sys
from typing import IO, Any, Literal

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "service"):
    import structlog
    from structlog.typing import EventDict, ExcInfo, Processor

from nebula_resource.model.printable import printable

__all__ = ["LogFormat", "configure_logs"]

LogFormat = Literal["console", "json"]


def configure_logs(
    form: LogFormat = "console", level: str = "INFO", *, stream: IO[str] | None = None
) -> None:
    """Send every log line of this process to one stream (default: standard error), in one format.

    The library, uvicorn and users write to `logging`; a line keeps its message constant and its fields beside it.
    One record is one line, whatever texts it was given: what is not printable in them is written as an escape, and the
    lines of a traceback (console) are indented, so that none can be taken for a record. Tracebacks show frames, never
    the values in them. Called once, by whoever owns the process.

    Args:
        form: ``console`` or ``json``.
        level: the least level that is written, by its name.
        stream: where to.
    """
    target = sys.stderr if stream is None else stream
    renderer: list[Processor]
    if form == "json":
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(),
                exception_formatter=_indented,  # the default one prints local variables
            )
        ]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _harmless, *renderer],
        )
    )
    root = logging.getLogger()
    for each in list(root.handlers):
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(level)
    # Theirs tell of every request and every start; what matters of it is said by the service itself.
    for chatty in ("uvicorn.error", "httpx", "httpcore", "aiosqlite", "asyncio", "watchfiles.main"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


_RAW = frozenset({"exc_info"})
"""Fields that a renderer reads as they are."""


def _harmless(_logger: Any, _method: str, fields: EventDict) -> EventDict:
    """Write as an escape what is not printable in the message, in names and in values."""
    return {str(printable(name)): held if name in _RAW else printable(held) for name, held in fields.items()}


def _indented(target: Any, exc_info: ExcInfo) -> None:
    """Write a traceback of which no line begins like a record."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    # split at "\n" alone: whatever else breaks lines comes from a text, and becomes an escape
    for line in plain.getvalue().strip("\n").split("\n"):
        target.write(f"\n    {printable(line)}")
