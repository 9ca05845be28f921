"""Orders: what a customer of one of the tenants can ask for over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.demo.charging import AlreadyCharged, NoSuchOrder, ProviderDown, charge_order
from app.demo.tables import Order
from containers.keys import DB
from nebula_resource.fastapi import resource
from nebula_resource.workflow import WorkflowExecutor

__all__ = ["NewOrder", "OrderView", "router"]

Db = Annotated[AsyncSession, Depends(resource(DB))]


def executor_of(request: Request) -> WorkflowExecutor:
    """The application's runner of workflows."""
    executor: WorkflowExecutor = request.app.state.executor
    return executor


Executor = Annotated[WorkflowExecutor, Depends(executor_of)]

router = APIRouter()


class NewOrder(BaseModel):
    """What is ordered."""

    model_config = ConfigDict(extra="forbid", strict=True)

    item: str = Field(min_length=1, max_length=200)
    quantity: int = Field(ge=1, le=1000)


class OrderView(BaseModel):
    """An order as its customer sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    item: str
    quantity: int
    status: str
    payment: str | None


class ChargeView(BaseModel):
    """How charging an order went: ``status`` is charged or declined."""

    id: str
    status: str
    payment: str | None


@router.post("/orders", status_code=201)
async def place(new: NewOrder, db: Db) -> OrderView:
    """Order something."""
    order = Order(item=new.item, quantity=new.quantity)
    db.add(order)
    await db.flush()
    return OrderView.model_validate(order)


@router.get("/orders")
async def list_newest(db: Db, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> list[OrderView]:
    """The newest orders first."""
    found = await db.scalars(select(Order).order_by(Order.made_at.desc(), Order.id).limit(limit))
    return [OrderView.model_validate(order) for order in found]


@router.post("/orders/{order_id}/charge")
async def charge(order_id: str, executor: Executor) -> ChargeView:
    """Charge an order: reserve it, charge at the payment provider, tell the customer."""
    result = await executor.run(charge_order(order_id))
    if isinstance(result.error, NoSuchOrder):
        raise HTTPException(404, "there is no such order")
    if isinstance(result.error, AlreadyCharged):
        raise HTTPException(409, "this order is charged already")
    if isinstance(result.error, ProviderDown):
        raise HTTPException(503, "the payment provider does not answer; try again later")
    if result.error is not None:
        raise result.error
    payment = result.results["charge"]
    return ChargeView(id=order_id, status="declined" if payment is None else "charged", payment=payment)
