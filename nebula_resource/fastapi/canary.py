"""Canary: whether FastAPI's exit stacks are where the adapter looks for them, and end when it needs them to."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import cache
from types import TracebackType
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection
from starlette.types import Message

from nebula_resource.errors import InternalError
from nebula_resource.fastapi.adapter import Until, exit_stack, leave

__all__ = ["private_names_work", "watch_fastapi"]

EXPECTED = {
    "/well": ["endpoint ends well", "response starts", "response ends well"],
    "/badly": ["endpoint ends with HTTPException", "response ends with HTTPException", "response starts"],
}


@cache
def private_names_work() -> bool:
    """Drive FastAPI once, in this process and without I/O: does the private way do what is needed?

    The answer cannot change while the process lives, so it is asked once, by the first `resource`.
    """
    return all(watch_fastapi(path) == expected for path, expected in EXPECTED.items())


def watch_fastapi(path: str) -> list[str]:
    """What happened, in order, when FastAPI served one request with work left on both of its stacks."""
    seen: list[str] = []
    app = _application(seen)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.append("response starts")

    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [], "server": ("canary", 80), "client": None, "state": {},
    }  # fmt: skip  # one request, as a server would describe it
    if not _runs_to_its_end(app(scope, _nothing_to_receive, send)):
        seen.append("it waited")
    return seen


_nothing_to_receive: Any = None
"""A GET without a body is served without reading; a FastAPI that reads is another than we know."""


class _Exit:
    def __init__(self, name: str, seen: list[str]) -> None:
        self._name = name
        self._seen = seen

    def end_now(self) -> bool:
        return False

    async def __aenter__(self) -> None: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._seen.append(f"{self._name} ends {'well' if kind is None else 'with ' + kind.__name__}")


def _application(seen: list[str]) -> FastAPI:
    app = FastAPI(openapi_url=None)

    async def leave_work(conn: HTTPConnection) -> None:
        untils: tuple[Until, ...] = ("response", "endpoint")
        for until in untils:
            leave(exit_stack(conn, until), _Exit(until, seen))

    @app.get("/well", response_model=None)
    async def well(_: None = Depends(leave_work)) -> JSONResponse:
        return JSONResponse({})

    @app.get("/badly", response_model=None)
    async def badly(_: None = Depends(leave_work)) -> JSONResponse:
        raise HTTPException(404)

    return app


def _runs_to_its_end(request: Coroutine[Any, Any, None]) -> bool:
    """Step a coroutine that has nothing to wait for; works inside a running loop and without one."""
    try:
        request.send(None)
    except StopIteration:
        return True
    except (InternalError, AssertionError, AttributeError, KeyError, TypeError):
        return False  # this FastAPI is another than we know
    request.close()
    return False
