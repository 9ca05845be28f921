"""CancellationToken: a request to stop that is handed around."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

__all__ = ["CancellationToken"]


class CancellationToken:
    """A request to stop that is handed around: ``cancel()``, ``cancelled``, ``child()``, ``await token``.

    Cancelling a token cancels its children, never its parent. A parent knows only those children that somebody listens
    to, so children that were dropped cost it nothing. A token belongs to the thread of its loop.
    """

    __slots__ = ("__weakref__", "_cancelled", "_leave_parent", "_listeners", "_parent")

    def __init__(self) -> None:
        self._cancelled = False
        self._parent: CancellationToken | None = None
        self._leave_parent: Callable[[], None] | None = None
        self._listeners: dict[object, Callable[[], object]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether it, or one it is a child of, was cancelled."""
        token: CancellationToken | None = self
        while token is not None:
            if token._cancelled:
                return True
            token = token._parent
        return False

    def cancel(self) -> None:
        """Ask all who hold it, or a child of it, to stop; a second call does nothing.

        Raises:
            Exception: what a listener raised, several as an ExceptionGroup, after all were called.
        """
        if self._cancelled:
            return
        self._cancelled = True
        self._leave()
        errors: list[Exception] = []
        while self._listeners:  # one may take another back, so each is looked up when its turn comes
            mark = next(iter(self._listeners))
            listener = self._listeners.pop(mark)
            try:
                listener()
            except Exception as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("listeners of a cancellation token failed", errors)

    def child(self) -> CancellationToken:
        """Return a token that is cancelled with this one, or on its own."""
        child = CancellationToken()
        child._parent = self
        return child

    def subscribe(self, callback: Callable[[], object], /) -> Callable[[], None]:
        """Call ``callback`` once on cancellation, now if that has been; the result takes the callback back.

        The callback is called synchronously and must not wait.
        """
        if self.cancelled:
            callback()
            return _nothing
        mark = object()
        if not self._listeners and self._parent is not None:
            self._leave_parent = self._parent.subscribe(self.cancel)
        self._listeners[mark] = callback

        def unsubscribe() -> None:
            if self._listeners.pop(mark, None) is not None and not self._listeners:
                self._leave()

        return unsubscribe

    def _leave(self) -> None:
        """Stop listening to the parent: nobody listens to us, or we are done."""
        leave_parent, self._leave_parent = self._leave_parent, None
        if leave_parent is not None:
            leave_parent()

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self.cancelled:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        unsubscribe = self.subscribe(lambda: None if waiter.done() else waiter.set_result(None))
        try:
            await waiter
        finally:
            unsubscribe()

    def __repr__(self) -> str:
        return f"<CancellationToken {'cancelled' if self.cancelled else f'{len(self._listeners)} listening'}>"


def _nothing() -> None:
    """Take back a callback that was called already."""
