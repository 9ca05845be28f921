"""Provider: a fake payment service, reached over HTTP like a real one: another address, its own connections."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

from nebula_resource._aio import OwnedTasks
from nebula_resource.service import Listener, Server, claim

__all__ = ["PaymentProvider", "create_provider"]

REMEMBERED = 10_000
"""Charges it remembers by their idempotency key; the oldest are forgotten."""
DRAIN = 0.1
"""Seconds its requests get to end: when it is stopped, those who asked have gone."""
MOST = 100
"""Units it charges for at most; it declines more."""


class ChargeRequest(BaseModel):
    """What is to be charged."""

    reference: str = Field(max_length=64)
    units: int = Field(ge=1)


class Charge(BaseModel):
    """What was charged."""

    id: str
    reference: str


def create_provider() -> FastAPI:
    """Make the provider: ``POST /charges`` charges once per ``Idempotency-Key``, ``GET /health`` says it is there."""
    provider = FastAPI(title="fake payment provider", openapi_url=None)
    charges: OrderedDict[str, Charge] = OrderedDict()

    @provider.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "up"}

    @provider.post("/charges", status_code=201)
    async def charge(wanted: ChargeRequest, idempotency_key: Annotated[str, Header(max_length=64)]) -> Charge:
        if wanted.units > MOST:
            raise HTTPException(402, "declined")
        made = charges.get(idempotency_key)
        if made is None:
            made = charges[idempotency_key] = Charge(id=f"ch_{uuid4().hex}", reference=wanted.reference)
            if len(charges) > REMEMBERED:
                charges.popitem(last=False)
        return made

    return provider


class PaymentProvider:
    """The fake provider, served on a free port of this machine."""

    def __init__(self) -> None:
        self._listener: Listener | None = None

    @property
    def url(self) -> str:
        """Where it is, while it runs."""
        assert self._listener is not None, "it is asked for its address while it runs"
        return self._listener.url

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run it for the time of a block."""
        self._listener = claim("127.0.0.1", 0)
        server = Server(create_provider(), self._listener, drain=DRAIN)
        tasks = OwnedTasks("payment provider")
        running = tasks.spawn(server.run_until_stopped({}), name="server", awaited=True)
        try:
            yield
        finally:
            server.stop()
            await asyncio.wait((running,))
            self._listener.close()
            running.result()
