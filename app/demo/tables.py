"""Tables: what each tenant's database holds."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import DateTime, ForeignKey, String
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = ["Notice", "Order", "create_tables"]


class Base(DeclarativeBase):
    """What the tables have in common."""


class Order(Base):
    """One order; no column says whose it is, because the database is its tenant's alone."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: uuid4().hex)
    item: Mapped[str] = mapped_column(String(200))
    quantity: Mapped[int]
    status: Mapped[str] = mapped_column(String(16), default="new")
    """new → reserved → charged, or declined."""
    payment: Mapped[str | None] = mapped_column(String(64), default=None)
    """The payment provider's id of the charge."""
    made_at: Mapped[datetime] = mapped_column(DateTime(), default=lambda: datetime.now(UTC), index=True)


class Notice(Base):
    """What the customer was told about an order."""

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), index=True)
    text: Mapped[str] = mapped_column(String(200))


async def create_tables(db: AsyncSession) -> None:
    """Make what is not there yet."""
    connection = await db.connection()
    await connection.run_sync(Base.metadata.create_all)
