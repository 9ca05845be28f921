"""Fixtures: the application in this process, over a transport instead of a port."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.demo.data import DataFolder
from app.demo.tenants import TENANTS, token_of
from app.main import Service, build
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Running:
    """A started application and a client of it."""

    service: Service
    http: httpx.AsyncClient

    async def order(self, tenant: str, item: str = "anvil", quantity: int = 1) -> str:
        """Order something; returns the order's id."""
        answer = await self.http.post(
            "/demo/orders", json={"item": item, "quantity": quantity}, headers=as_tenant(tenant)
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def items(self, tenant: str, limit: int = 100) -> list[str]:
        """What a tenant sees that it has ordered, the newest first."""
        answer = await self.http.get("/demo/orders", params={"limit": limit}, headers=as_tenant(tenant))
        assert answer.status_code == 200, answer.text
        return [order["item"] for order in answer.json()]

    async def charge(self, tenant: str, order: str) -> httpx.Response:
        """Charge an order."""
        return await self.http.post(f"/demo/orders/{order}/charge", headers=as_tenant(tenant))


def as_tenant(tenant: str) -> dict[str, str]:
    """The header that shows a tenant's token."""
    return {"Authorization": f"Bearer {token_of(tenant)}"}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncGenerator[Running]:
    """The whole application, without traffic of its own."""
    data = DataFolder(tmp_path / "data", TENANTS)
    data.prepare()
    service = build(Settings(data=data.path, traffic=False), data)
    transport = httpx.ASGITransport(service.app, client=("127.0.0.1", 40000))
    async with (
        service.app.router.lifespan_context(service.app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http,
    ):
        yield Running(service, http)
