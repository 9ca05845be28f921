"""Beside the loop: a function that may stand still, in a thread that nobody has to wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["beside"]

T = TypeVar("T")


async def beside(work: Callable[[], T], *, name: str) -> T:
    """Run a function that may stand still, such as one that reads a file, in a thread that nobody has to wait for.

    The loop's own threads are waited for when the loop and the interpreter end: one that hangs would keep the process.
    Whoever is cancelled leaves at once; what the function returns or raises then is lost.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def give(settle: Callable[[Any], None], value: object) -> None:
        if not answer.done():  # cancelled meanwhile
            settle(value)

    def run() -> None:
        settle: Callable[[Any], None]
        value: object
        try:
            settle, value = answer.set_result, work()
        except BaseException as error:  # raised where it is awaited
            settle, value = answer.set_exception, error
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(give, settle, value)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await answer
