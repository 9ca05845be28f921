"""Connection: one client's, as uvicorn reads it, that leaves nothing behind and says in good time that it ends."""

from __future__ import annotations

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HttpConnection"]


class HttpConnection(H11Protocol):
    """h11's: the one that bounds a request's head (16 KiB)."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever made it.

        uvicorn takes back the clock that ends an idle connection when its client says goodbye, and forgets it when the
        client resets the connection: the clock then keeps everything that was read from it for another 75 seconds.
        """
        super().connection_lost(exc)
        clock, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        if clock is not None:
            clock.cancel()

    def announce_end(self) -> None:
        """Let the answer that is being made say that it is the last, as those of later requests do.

        uvicorn gives each request the headers of the moment it began. A client that is not told asks again, and the
        connection may be closed while its question is on its way.
        """
        if self.cycle is not None:
            self.cycle.default_headers = self.server_state.default_headers

    def is_quiet(self, seconds: float) -> bool:
        """Nothing is being answered, and its last answer, if there was one, is that old; half a question is none."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        clock = self.timeout_keep_alive_task  # runs from an answer to the next question
        return clock is None or clock.when() - self.timeout_keep_alive <= self.loop.time() - seconds
