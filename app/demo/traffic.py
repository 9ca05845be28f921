"""Traffic: a few customers who order, look and pay, over real HTTP, so that there is something to see."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import httpx

from app.demo.tenants import token_of

__all__ = ["Customer", "make_traffic"]

PAUSE = (0.4, 1.2)
"""Seconds a customer thinks between two requests: three customers make about four requests a second."""
ORDERS = 5_000
"""Orders a customer makes at most, so that a service left alone for weeks does not fill the disk."""
REMEMBERED = 20
"""Orders a customer remembers and may still pay."""
TIMEOUT = 10.0  # seconds
ITEMS = ("anvil", "rocket skates", "stapler", "cover sheet", "spring", "magnet", "tape", "bird seed")


class Customer:
    """One tenant's customer: each `step` is one request."""

    def __init__(self, tenant: str, http: httpx.AsyncClient, chance: random.Random) -> None:
        self._http = http
        self._chance = chance
        self._headers = {"Authorization": f"Bearer {token_of(tenant)}"}
        self._unpaid: deque[str] = deque(maxlen=REMEMBERED)
        self.ordered = 0

    async def step(self) -> int:
        """Order, look or pay; returns the answer's status."""
        what = self._chance.random()
        if what < 0.4 and self.ordered < ORDERS:
            return await self._order()
        if what < 0.7 and self._unpaid:
            answer = await self._post(f"/demo/orders/{self._unpaid.popleft()}/charge")
            return answer.status_code
        answer = await self._http.get("/demo/orders", params={"limit": 5}, headers=self._headers)
        return answer.status_code

    async def _order(self) -> int:
        answer = await self._post(
            "/demo/orders", {"item": self._chance.choice(ITEMS), "quantity": self._chance.randint(1, 9)}
        )
        if answer.status_code == httpx.codes.CREATED:
            self.ordered += 1
            self._unpaid.append(answer.json()["id"])
        return answer.status_code

    async def _post(self, path: str, body: dict[str, str | int] | None = None) -> httpx.Response:
        return await self._http.post(path, json=body, headers=self._headers)


async def make_traffic(url: str, tenants: tuple[str, ...]) -> None:
    """Let one customer per tenant go about their business until this is cancelled.

    A service that does not answer is no reason to stop: each of them tries again after the next pause.
    """
    async with (
        httpx.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False) as http,
        asyncio.TaskGroup() as customers,
    ):
        for tenant in tenants:
            chance = random.Random()
            customers.create_task(
                _go_about(Customer(tenant, http, chance), chance), name=f"customer of {tenant}"
            )


async def _go_about(customer: Customer, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(chance.uniform(*PAUSE))
        try:
            await customer.step()
        except httpx.TransportError:
            pass  # not there yet, or not any more
