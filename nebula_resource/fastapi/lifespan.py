"""Lifespan: the manager's life around the application's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from nebula_resource.manager import Manager

__all__ = ["compose_lifespan"]


def compose_lifespan(app: FastAPI, manager: Manager) -> None:
    """Shut the manager down after the application's own teardown, however that ended."""
    own: Any = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(started: Any) -> AsyncGenerator[Mapping[str, Any] | None]:
        async with manager:
            inner: AbstractAsyncContextManager[Mapping[str, Any] | None] = own(started)
            async with inner as state:
                yield state

    app.router.lifespan_context = lifespan  # type: ignore[assignment]  # Starlette types it as one function; any callable of this shape serves
