"""Payments: the client of the payment provider, one for all, as a resource in the short form."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from functools import partial

import httpx
from pydantic import Field

from containers.keys import PAYMENTS
from nebula_resource import HealthStatus, ResourceConfig, ResourceContext, resource_factory

__all__ = ["PaymentsConfig", "payments"]


class PaymentsConfig(ResourceConfig):
    """Where the provider is; ``timeout`` in seconds."""

    base_url: str
    timeout: float = Field(default=2.0, gt=0)


async def is_up(client: httpx.AsyncClient, context: ResourceContext) -> HealthStatus:
    """Ask the provider whether it is there."""
    started = time.perf_counter()
    try:
        answer = await client.get("/health")
    except httpx.TransportError as error:
        return HealthStatus.unhealthy(type(error).__name__, latency_s=time.perf_counter() - started)
    latency = time.perf_counter() - started
    if answer.is_success:
        return HealthStatus.healthy(latency_s=latency)
    return HealthStatus.unhealthy(f"it answers {answer.status_code}", latency_s=latency)


@resource_factory(id=PAYMENTS, config=PaymentsConfig, health_check=is_up)
async def payments(config: PaymentsConfig, context: ResourceContext) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that keeps its connections; the environment's proxies are not for it.

    Made beside the loop: the first one loads half of httpx, and each reads the certificates of the authorities.
    """
    make = partial(httpx.AsyncClient, base_url=config.base_url, timeout=config.timeout, trust_env=False)
    async with await asyncio.to_thread(make) as client:
        yield client
