"""Page: the dashboard, served from the package's own files."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from nebula_resource.admin.auth.needs import Anybody
from nebula_resource.admin.problems import AdminProblem

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PACKAGE = "nebula_resource.admin.dashboard"


@router.get("/")
async def page(who: Anybody) -> Response:
    """The page. It holds no data; what it shows it asks for."""
    return _file("index.html")


@router.get("/ui/{name}")
async def part(name: str, who: Anybody) -> Response:
    """One of its files."""
    return _file(name)


def _file(name: str) -> Response:
    """A file of the dashboard folder itself: a name with a separator in it is none."""
    kind = _TYPES.get(name.rpartition(".")[2])
    known = {each.name: each for each in files(_PACKAGE).iterdir() if each.is_file()}
    if kind is None or name not in known:
        raise AdminProblem(404, "not_found", "there is no such file")
    return Response(known[name].read_bytes(), headers={"Content-Type": kind, "Cache-Control": "no-cache"})
