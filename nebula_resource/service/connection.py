"""Connection: one client's, as uvicorn reads it, that leaves nothing behind when the client cuts it off."""

from __future__ import annotations

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HttpConnection"]


class HttpConnection(H11Protocol):
    """h11's: the one that bounds a request's head (16 KiB).

    uvicorn takes back the clock that ends an idle connection when its client says goodbye, and forgets it when the
    client resets the connection: the clock then keeps everything that was read from it for another 75 seconds.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever made it."""
        super().connection_lost(exc)
        clock, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        if clock is not None:
            clock.cancel()
