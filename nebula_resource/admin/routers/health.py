"""Health: bare for anybody, with names and reasons for who may see them; reads what is known and never probes."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from starlette.responses import Response

from nebula_resource.admin.answers import Ok, State, answer, problems
from nebula_resource.admin.auth.needs import Anybody
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.auth.role import Role
from nebula_resource.admin.schemas.common import NoQuery
from nebula_resource.admin.schemas.health import CheckView, CountsView, OverallView, StatusView
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.state import AdminState
from nebula_resource.errors import NotRegistered
from nebula_resource.manager import Registration
from nebula_resource.quarantine import CascadeFailure, QuarantineEntry

__all__ = ["router"]

router = APIRouter(tags=["health"])

_DOWN: dict[int | str, dict[str, Any]] = {503: Ok(StatusView, "Down")}


@router.get(
    "/health",
    response_model=OverallView | StatusView,
    responses={**problems(), 503: Ok(OverallView | StatusView, "Something is unhealthy")},
)
async def overall(state: State, who: Anybody, _: Annotated[NoQuery, Query()]) -> Response:
    """The worst of everything: 503 when something is unhealthy, else 200 (degraded and unknown serve)."""
    return _overall(state, who, list(state.manager.pools()))


@router.get(
    "/health/groups/{name}",
    response_model=OverallView | StatusView,
    responses={**problems(), 503: Ok(OverallView | StatusView, "Something of it is unhealthy")},
)
async def group(state: State, who: Anybody, name: str, _: Annotated[NoQuery, Query()]) -> Response:
    """The same of those that were configured under this name."""
    members = state.groups.get(name)
    if members is None:
        raise NotRegistered(name)
    return _overall(
        state, who, [each for each in state.manager.pools() if {each.key, each.public_id} & members]
    )


def _overall(state: AdminState, who: Principal | None, registrations: list[Registration]) -> Response:
    seen = who if who is not None and who.role >= Role.VIEWER else None
    sight = None if seen is None else Sight(state.manager, seen)
    checks = [_check(state, each, sight) for each in registrations if seen is None or seen.sees(each.scope)]
    counts = Counter(check["state"] for check in checks)
    status = next((kind for kind in ("unhealthy", "degraded", "unknown") if counts[kind]), "healthy")
    code = 503 if status == "unhealthy" else 200
    if seen is None:
        return answer({"status": "down" if code == 503 else "up"}, status=code)
    counts["quarantined"] = sum(check["quarantined"] for check in checks)
    shown = {name: counts[name] for name in ("healthy", "degraded", "unhealthy", "unknown", "quarantined")}
    return answer({"status": status, "resources": cast("CountsView", shown), "checks": checks}, status=code)


@router.get("/health/live", response_model=StatusView, responses=problems())
async def live(who: Anybody, _: Annotated[NoQuery, Query()]) -> Response:
    """The process runs and answers. Nothing outside it counts."""
    return answer({"status": "up"})


@router.get("/health/startup", response_model=StatusView, responses={**problems(), **_DOWN})
async def startup(state: State, who: Anybody, _: Annotated[NoQuery, Query()]) -> Response:
    """Whether start-up is done."""
    return _up(state.is_started)


@router.get("/health/ready", response_model=StatusView, responses={**problems(), **_DOWN})
async def ready(state: State, who: Anybody, _: Annotated[NoQuery, Query()]) -> Response:
    """Whether traffic may come: started, not going down, and every required resource open and usable."""
    well = all(_serves(state, each) for each in state.manager.pools() if each.required)
    return _up(state.is_started and not state.is_stopping and well)


def _up(is_up: bool) -> Response:
    return answer({"status": "up"}) if is_up else answer({"status": "down"}, status=503)


def _serves(state: AdminState, registration: Registration) -> bool:
    return (
        registration.is_open
        and registration.refusal is None
        and registration.pool.state.value == "open"
        and state.manager.watch.board.effective(registration.public_id).is_usable()
    )


def _check(state: AdminState, registration: Registration, sight: Sight | None) -> CheckView:
    key = registration.public_id
    view = state.manager.watch.board.effective(key)
    entry = state.manager.watch.quarantine.get(key)
    kind = view.kind
    reason = view.because
    if entry is not None:
        # Its own evidence may be old, or none: callers are refused, and that is what counts.
        kind, reason = "unhealthy", _why(key, entry, seen=reason)
    return {
        "id": key,
        "resource_id": registration.key,
        "required": registration.required,
        "state": kind,
        "reason": reason if sight is None else sight.text(reason),
        "quarantined": entry is not None,
    }


def _why(id: str, entry: QuarantineEntry, *, seen: str) -> str:
    """Why callers are kept away: a person's words, the root that it went down with, else what was seen last."""
    reason = entry.reason
    if reason.is_manual or (isinstance(reason, CascadeFailure) and reason.root != id):
        return str(reason)
    return seen or "quarantined"
