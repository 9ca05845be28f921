"""Errors of the driver: a server that cannot be reached, a connection that is gone, one that cannot be cleaned."""

from __future__ import annotations

from nebula_resource.errors import InitializationError, ResourceError

__all__ = ["ConnectFailed", "ConnectionLost", "NotClean"]


class ConnectFailed(InitializationError):
    """No connection could be opened.

    ``kind`` is the type name of what the driver raised, ``sqlstate`` the server's five characters, if it answered.
    The driver's own text names users and hosts, so it is neither quoted nor kept as a cause.
    """

    code = "connect_failed"

    def __init__(
        self,
        kind: str,
        *,
        reason: str,
        sqlstate: str | None = None,
        retryable: bool = False,
        resource_id: str | None = None,
    ) -> None:
        self.kind = kind
        self.sqlstate = sqlstate
        state = f", SQLSTATE {sqlstate}" if sqlstate else ""
        super().__init__(
            f"could not connect to the database: {reason} ({kind}{state})",
            resource_id=resource_id,
            retryable=retryable,
        )


class ConnectionLost(ResourceError):
    """The leased connection is gone; a lease is never moved to another one behind its user's back."""

    code = "connection_lost"
    default_retryable = True

    def __init__(self, *, resource_id: str | None = None) -> None:
        super().__init__(
            "the database connection of this lease is gone; acquire again and repeat the whole transaction",
            resource_id=resource_id,
        )


class NotClean(ResourceError):
    """A used connection could not be made clean for the next caller; ``what`` names what is left, never a value."""

    code = "not_clean"

    def __init__(self, what: str, *, resource_id: str | None = None) -> None:
        self.what = what
        super().__init__(f"a used connection is not clean: {what}", resource_id=resource_id)
