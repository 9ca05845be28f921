"""Signals: the first SIGINT or SIGTERM asks a service to end, the second one ends it; SIGHUP asks it to look again."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["ENDING", "on_hangup", "stop_on_signal"]

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal(stop: Callable[[signal.Signals], None]) -> Generator[None]:
    """Call ``stop`` on the first signal; from then on the kernel's own default holds: a second one ends the process.

    So the second is obeyed even while the event loop is busy, and a caller learns from the exit status what happened.
    The handlers from before are back when the block ends. Outside the main thread, where Python lets nobody handle
    signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in ENDING}

    def first(received: signal.Signals) -> None:
        for each in ENDING:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        stop(received)

    for each in ENDING:
        loop.add_signal_handler(each, first, each)
    try:
        yield
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL if handler is None else handler)


@contextmanager
def on_hangup(look_again: Callable[[], object]) -> Generator[None]:
    """Call ``look_again`` on each SIGHUP while the block runs; outside the main thread this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGHUP)
    loop.add_signal_handler(signal.SIGHUP, look_again)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_DFL if before is None else before)
