"""Engine: what SQLAlchemy needs of one, without its pool: our pool owns the connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

from sqlalchemy import event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, PoolProxiedConnection

from nebula_resource.drivers.sqlalchemy.config import IsolationLevel
from nebula_resource.drivers.sqlalchemy.errors import ConnectionLost
from nebula_resource.drivers.sqlalchemy.faults import scrub

__all__ = ["Opener", "Opening", "make_engine", "open_current"]

Opener: TypeAlias = Callable[[], Awaitable[Any]]


class Opening:
    """One raw connection on its way through SQLAlchemy's ``connect``, which takes no arguments of ours."""

    __slots__ = ("_open", "raw")

    def __init__(self, open_raw: Opener) -> None:
        self._open = open_raw
        self.raw: Any = None
        """The connection once it is open: whoever started this ends it when the rest fails."""

    async def run(self) -> Any:
        """Open it, once."""
        open_raw, self._open = self._open, _refuse
        self.raw = await open_raw()
        return self.raw


async def _refuse() -> Any:
    raise ConnectionLost


current_opening: ContextVar[Opening | None] = ContextVar("nebula_resource.sqlalchemy.opening", default=None)


async def open_current() -> Any:
    """Open what the running ``create`` asked for.

    SQLAlchemy would call this outside of one too: to put a new connection in the place of one that was lost in the
    middle of a lease. That would be a connection our pool does not know, in another session, so it is refused.
    """
    opening = current_opening.get()
    return await (_refuse() if opening is None else opening.run())


def make_engine(
    url: URL,
    opener: Opener,
    *,
    begin: Callable[[PoolProxiedConnection], None],
    on_cancel: Callable[[Any, float], None] | None = None,
    connect_arguments: dict[str, Any] | None = None,
    isolation_level: IsolationLevel | None = None,
) -> AsyncEngine:
    """Return an engine that pools nothing, quotes no parameters and begins transactions by ``begin``.

    ``on_cancel`` is called with the raw connection, and no delay, when a statement on it is given up.
    """

    def creator() -> Any:
        dbapi: Any = engine.dialect.dbapi
        return dbapi.connect(async_creator_fn=opener, **(connect_arguments or {}))

    def on_error(context: ExceptionContext) -> None:
        scrub(context)
        # That one connection is lost says nothing of the others: SQLAlchemy would close one that is just being made,
        # and make it again. Which of them go, our pool decides.
        context.invalidate_pool_on_disconnect = False
        given_up = not isinstance(context.original_exception, Exception)
        if given_up and on_cancel is not None and context.connection is not None:
            on_cancel(context.connection.connection.driver_connection, 0.0)

    options: dict[str, Any] = {} if isolation_level is None else {"isolation_level": isolation_level}
    engine = create_async_engine(
        url,
        creator=creator,
        poolclass=NullPool,
        pool_reset_on_return=None,  # a connection comes back to it only to be closed
        hide_parameters=True,
        **options,
    )
    # Not the "begin" event: an error raised there leaves SQLAlchemy's connection without transactions ever after.
    dialect: Any = engine.dialect  # of this engine alone
    dialect.do_begin = begin
    event.listen(engine.sync_engine, "handle_error", on_error)
    return engine
