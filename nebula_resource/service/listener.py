"""Listener: the port of a service, claimed before anything else is touched."""

from __future__ import annotations

import errno
import socket

from nebula_resource.errors import ConfigurationError

__all__ = ["Listener", "PortNotAvailable", "claim"]

BACKLOG = 2048
"""Connections that may wait to be accepted; the kernel's own limit (often 4096) still counts."""

_WHY = {
    errno.EADDRINUSE: "it is in use",
    errno.EACCES: "this user may not listen there",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


class PortNotAvailable(ConfigurationError):
    """The address cannot be listened on; ``host``, ``port`` and ``why`` say which and why not."""

    code = "port_not_available"

    def __init__(self, host: str, port: int, why: str) -> None:
        self.host = host
        self.port = port
        self.why = why
        super().__init__(f"cannot listen on {host}:{port}: {why}")


class Listener:
    """A socket that listens and nobody reads yet: clients wait in its line until the server accepts them.

    Made by `claim`. ``close`` may be called twice.
    """

    __slots__ = ("host", "port", "socket")

    def __init__(self, listening: socket.socket, host: str) -> None:
        self.socket = listening
        self.host = host
        self.port: int = listening.getsockname()[1]

    @property
    def url(self) -> str:
        """Where the service is, as a client of this machine writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def accept_all(self) -> list[socket.socket]:
        """Take every connection that stands in line now, without waiting."""
        taken: list[socket.socket] = []
        while True:
            try:
                connection, _ = self.socket.accept()
            except (BlockingIOError, InterruptedError):
                return taken
            except OSError:  # closed, or that client has left already and no other is there
                return taken
            connection.setblocking(False)
            taken.append(connection)

    def close(self) -> None:
        """Stop listening; who still stands in line is refused."""
        self.socket.close()

    def __repr__(self) -> str:
        return f"<Listener {self.url}>"


def claim(host: str, port: int) -> Listener:
    """Listen on an address; ``port`` 0 is any free one.

    It listens at once, so that of two services started together one is told, and not both begin.

    Raises:
        PortNotAvailable: somebody else has it, or it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: asyncio switches Nagle's delay off for TCP only where the socket says it is TCP, and with
    # the delay each answer on a kept connection takes 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Connections of a service that has just ended do not keep the port from the next.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        listening.close()
        why = _WHY.get(getattr(error, "errno", None) or 0, "it is no address of this machine")
        raise PortNotAvailable(host, port, why) from error
    return Listener(listening, host)
