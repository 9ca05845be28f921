"""Charging: the workflow that turns an order into money: reserve, charge at the provider, notify."""

from __future__ import annotations

import httpx
from dependency_injector.wiring import Provide
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.demo.tables import Notice, Order
from nebula_resource.di import action
from nebula_resource.workflow import Step, WorkflowDefinition

__all__ = ["AlreadyCharged", "NoSuchOrder", "ProviderDown", "charge", "charge_order", "notify", "reserve"]

PATIENCE = 5.0
"""Seconds for one attempt to charge."""


class NoSuchOrder(LookupError):
    """This tenant has no order of that id."""


class AlreadyCharged(Exception):
    """The order is paid."""


class ProviderDown(Exception):
    """The payment provider does not answer, or not as it should."""

    retryable = True


def charge_order(order_id: str) -> WorkflowDefinition:
    """The workflow for one order. Charging twice is harmless: the provider charges once per order."""
    return WorkflowDefinition(
        "charge-order",
        [
            Step(reserve, (order_id,)),
            Step(charge, lambda results: (order_id, results["reserve"]), timeout=PATIENCE),
            Step(notify, lambda results: (order_id, results["charge"])),
        ],
    )


@action
async def reserve(order_id: str, db: AsyncSession = Provide["db"]) -> int:
    """Set the order aside; returns its quantity. Raises `NoSuchOrder`, `AlreadyCharged`."""
    reserved: int | None = await db.scalar(
        update(Order)
        .where(Order.id == order_id, Order.status != "charged")
        .values(status="reserved")
        .returning(Order.quantity)
    )
    if reserved is not None:
        return reserved
    if await db.scalar(select(Order.id).where(Order.id == order_id)) is None:
        raise NoSuchOrder
    raise AlreadyCharged


@action
async def charge(order_id: str, units: int, payments: httpx.AsyncClient = Provide["payments"]) -> str | None:
    """Charge at the provider; returns the id of the charge, None when it was declined. Raises `ProviderDown`."""
    try:
        answer = await payments.post(
            "/charges", json={"reference": order_id, "units": units}, headers={"Idempotency-Key": order_id}
        )
    except httpx.TransportError as error:
        raise ProviderDown(type(error).__name__) from error
    if answer.status_code == httpx.codes.PAYMENT_REQUIRED:
        return None
    if not answer.is_success:
        raise ProviderDown(f"it answered {answer.status_code}")
    return str(answer.json()["id"])


@action
async def notify(order_id: str, payment: str | None, db: AsyncSession = Provide["db"]) -> None:
    """Write down how it went, and tell the customer."""
    status = "declined" if payment is None else "charged"
    await db.execute(update(Order).where(Order.id == order_id).values(status=status, payment=payment))
    db.add(Notice(order_id=order_id, text=f"Your payment was {'declined' if payment is None else 'made'}."))
