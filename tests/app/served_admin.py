"""ServedAdmin: an admin application over real pools, on a real port, for whatever is no httpx client."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI

from nebula_resource.manager import Manager
from nebula_resource.model.scope import Scope
from tests.app.admin_world import QUIET, Thing, ThingConfig

__all__ = ["ServedAdmin", "listening", "serving"]


@dataclass
class ServedAdmin:
    """A manager, its application and where it is served."""

    manager: Manager
    app: FastAPI
    port: int

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def add(self, id: str, *needs: str, tenant: str | None = None, **options: Any) -> Thing:
        """Register a thing; returns it, to be broken."""
        thing = Thing(id, needs)
        scope = Scope.GLOBAL if tenant is None else Scope.tenant(tenant)
        given: dict[str, Any] = {"pool": {"min_size": 0}, "health": QUIET, **options}
        await self.manager.register(thing, ThingConfig(), scope=scope, **given)
        return thing


def listening(port: int = 0) -> socket.socket:
    """A socket for a server; port 0: one of the kernel's choice."""
    # With its protocol named: asyncio switches Nagle off for no other, and each answer would take 40 ms.
    made = socket.socket(proto=socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


@asynccontextmanager
async def serving(app: FastAPI, port: int = 0, **options: Any) -> AsyncGenerator[int]:
    """Serve an application until the block is left; gives its port."""
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2, **options
    )
    server = uvicorn.Server(config)
    with closing(listening(port)) as place:
        task = asyncio.create_task(server.serve(sockets=[place]))
        try:
            async with asyncio.timeout(10):
                while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
                    await asyncio.sleep(0.01)
            yield int(place.getsockname()[1])
        finally:
            app.state.close_streams()
            server.should_exit = True
            async with asyncio.timeout(20):
                await task
