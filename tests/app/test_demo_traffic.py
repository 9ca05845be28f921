"""Traffic: customers who stay modest, and do not mind a service that is away."""

import asyncio
import random
from collections import Counter

import httpx
import pytest

from app.demo import traffic
from app.demo.traffic import Customer, make_traffic
from tests.app.conftest import Running


async def test_customers_order_look_and_pay(running: Running) -> None:
    """Every request of theirs is answered well, and leaves orders, some of them paid."""
    customer = Customer("acme", running.http, random.Random(3))
    answers = Counter([await customer.step() for _ in range(60)])
    assert set(answers) == {200, 201}
    assert answers[201] == customer.ordered == len(await running.items("acme"))
    orders = await running.http.get(
        "/demo/orders", params={"limit": 100}, headers={"Authorization": "Bearer demo-acme"}
    )
    assert "charged" in {order["status"] for order in orders.json()}


async def test_a_customer_has_enough_one_day(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many orders a customer only looks and pays."""
    monkeypatch.setattr(traffic, "ORDERS", 3)
    customer = Customer("acme", running.http, random.Random(3))
    for _ in range(60):
        await customer.step()
    assert len(await running.items("acme")) == 3


async def test_a_service_that_is_away_ends_no_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that fail are no reason to stop: the customers try again, until they are told to go."""
    monkeypatch.setattr(traffic, "PAUSE", (0.0, 0.001))
    tried: Counter[str] = Counter()
    enough = asyncio.Event()

    async def step(self: Customer) -> int:
        tried["all"] += 1
        if tried["all"] >= 12:
            enough.set()
        raise httpx.ConnectError("nobody there")

    monkeypatch.setattr(Customer, "step", step)
    making = asyncio.create_task(make_traffic("http://127.0.0.1:1", ("acme", "globex")))
    await enough.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
