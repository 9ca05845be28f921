"""Listener: a callback that hears of events as they happen, kept from harming whoever publishes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from nebula_resource.events.event import Event
from nebula_resource.events.frames import frames

__all__ = ["Listener"]

_log = logging.getLogger("nebula_resource.events")


class Listener:
    """One callback; what it raises is counted, and logged the first time."""

    __slots__ = ("_callback", "errors")

    def __init__(self, callback: Callable[[Event], object]) -> None:
        self._callback = callback
        self.errors = 0

    def put(self, event: Event) -> None:
        """Call it."""
        try:
            self._callback(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # A callback that is no coroutine is neither cancelled nor closed: what says so is its own, not the publisher's.
            self.errors += 1
            if self.errors == 1:
                name = getattr(self._callback, "__qualname__", type(self._callback).__qualname__)
                _log.error(
                    "an event listener failed; it stays, and its further failures are only counted",
                    extra={
                        "listener": name,
                        "event.name": event.name,
                        "error": type(error).__name__,
                        "where": frames(error),
                    },
                )
