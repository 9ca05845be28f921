"""Lease: what one caller works with: begins with its first statement, commits or rolls back when it ends."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from nebula_resource.drivers.sqlalchemy.connection import PooledConnection
from nebula_resource.drivers.sqlalchemy.tenant import TenantBinding

__all__ = ["ConnectionLease", "SessionLease"]

WorkT = TypeVar("WorkT", AsyncSession, AsyncConnection)


class _Lease(ABC, Generic[WorkT]):
    """Commits what the body did, or rolls it back and lets the body's error pass."""

    __slots__ = ("_connection", "_facade", "_tenant", "_work")

    _work: WorkT
    _facade: AsyncConnection

    def __init__(self, connection: PooledConnection, tenant: TenantBinding | None) -> None:
        self._connection = connection
        self._tenant = tenant

    async def __aenter__(self) -> WorkT:
        self._connection.bind(self._tenant)
        self._facade = self._connection.facade()
        self._work = self._start(self._facade)
        return self._work

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                await self._roll_back(error)
            elif self._work.in_transaction():
                await self._commit()
            await self._finish(self._work)
        except asyncio.CancelledError:
            self._connection.tainted = True  # given up in the middle of a round trip: the state is unknown
            raise
        finally:
            self._connection.cut_off(self._facade)

    async def _commit(self) -> None:
        try:
            await self._work.commit()
        except Exception as failure:
            await self._roll_back(failure)
            await self._finish(self._work)
            raise

    async def _roll_back(self, error: BaseException) -> None:
        """Roll back; a failure to do so is a note on the error that matters, and the end of the connection."""
        try:
            await self._work.rollback()
        except Exception as failure:
            self._connection.tainted = True
            error.add_note(f"the rollback failed too: {type(failure).__name__}")

    @abstractmethod
    def _start(self, facade: AsyncConnection) -> WorkT:
        """What the caller works with, over a facade of the connection."""

    async def _finish(self, work: WorkT) -> None:
        """End what ``_start`` began."""


class SessionLease(_Lease[AsyncSession]):
    """Lends an ``AsyncSession``; once the lease has ended it refuses to work again."""

    __slots__ = ()

    def _start(self, facade: AsyncConnection) -> AsyncSession:
        # Objects stay readable after the commit: reading them anew would be I/O outside of an await.
        return AsyncSession(facade, expire_on_commit=False, close_resets_only=False)

    async def _finish(self, work: AsyncSession) -> None:
        await work.close()


class ConnectionLease(_Lease[AsyncConnection]):
    """Lends an ``AsyncConnection``; once the lease has ended it is not connected any more."""

    __slots__ = ()

    def _start(self, facade: AsyncConnection) -> AsyncConnection:
        return facade
