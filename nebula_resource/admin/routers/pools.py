"""Pools: list them, look at one, and the operator's verbs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from nebula_resource.admin.answers import Ok, State, answer, location, problems
from nebula_resource.admin.auth.needs import Operator, Viewer
from nebula_resource.admin.idempotency import IdempotentRoute
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.readings import driver_of
from nebula_resource.admin.schemas.common import NoQuery, Page, Reason, scope_id
from nebula_resource.admin.schemas.instances import InstanceList, instances_of
from nebula_resource.admin.schemas.operations import OperationView, operation_view
from nebula_resource.admin.schemas.pools import (
    PoolFilters,
    PoolList,
    PoolView,
    Resize,
    Resized,
    Suspend,
    Verb,
    pool_summary,
    pool_view,
    state_of,
)
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.state import AdminState
from nebula_resource.admin.times import now
from nebula_resource.errors import InvalidStateTransition
from nebula_resource.manager import Registration, RegistrationState
from nebula_resource.pool.ledger import PoolState

__all__ = ["router"]

router = APIRouter(tags=["pools"], route_class=IdempotentRoute)


@router.get("/pools", response_model=PoolList, responses=problems())
async def list_pools(state: State, who: Viewer, query: Annotated[PoolFilters, Query()]) -> Response:
    """Every pool the caller may see, filtered, sorted, a page at a time."""
    filters = tuple(_filters(state, query))
    fitting = [each for each in state.visible(who) if all(fits(each) for fits in filters)]
    name = query.sort.removeprefix("-")
    sight = Sight(state.manager, who)
    page, next_cursor = state.cursors.page(
        fitting, key=_KEYS[name], limit=query.limit, cursor=query.cursor, descending=query.sort != name
    )
    return answer(
        {
            "items": [pool_summary(sight, each) for each in page],
            "next_cursor": next_cursor,
            "process": state.process,
            "as_of": now(),
        }
    )


_KEYS: dict[str, Callable[[Registration], tuple[Any, ...]]] = {
    "id": lambda each: (each.public_id,),
    "utilization": lambda each: (_utilization(each), each.public_id),
    "waiting": lambda each: (len(each.pool.line), each.public_id),
}


def _utilization(registration: Registration) -> float:
    """Straight from the books: a list asks it of every pool, and shows the stats of a page."""
    ledger = registration.pool.ledger
    return ledger.in_use / ledger.max_size if ledger.max_size else 0.0


def _filters(state: AdminState, query: PoolFilters) -> Iterator[Callable[[Registration], bool]]:
    """What a pool must be to be in the list: one test for each filter that was given, the cheapest first."""
    watch = state.manager.watch
    if query.q is not None:
        part = query.q.casefold()
        yield lambda each: part in each.public_id.casefold()
    if query.scope_level is not None:
        yield lambda each: each.scope.level.name.lower() == query.scope_level
    if query.scope is not None:
        yield lambda each: scope_id(each.scope) == query.scope
    if query.state is not None:
        yield lambda each: state_of(each) == query.state
    if query.min_utilization is not None:
        least = query.min_utilization
        yield lambda each: _utilization(each) >= least
    if query.quarantined is not None:
        yield lambda each: (each.public_id in watch.quarantine) == query.quarantined
    if query.health is not None:
        yield lambda each: watch.board.effective(each.public_id).kind == query.health
    if query.driver is not None:
        yield lambda each: driver_of(each.resource) == query.driver


@router.get("/pools/{id}", response_model=PoolView, responses=problems(409))
async def get_pool(state: State, who: Viewer, id: str, _: Annotated[NoQuery, Query()]) -> Response:
    """One pool; its ETag changes with its bounds, its configuration and a recycle, not with its traffic."""
    registration = state.find(who, id)
    return answer(
        pool_view(Sight(state.manager, who), registration),
        headers={"ETag": etag_of(registration)},
    )


@router.get("/pools/{id}/instances", response_model=InstanceList, responses=problems(409))
async def list_instances(state: State, who: Viewer, id: str, query: Annotated[Page, Query()]) -> Response:
    """What the pool holds now: how old each instance is, and what it does. The oldest first, a page at a time."""
    registration = state.find(who, id)
    page, next_cursor = state.cursors.page(
        instances_of(registration),
        key=lambda each: (each["number"],),
        limit=query.limit,
        cursor=query.cursor,
    )
    return answer({"items": page, "next_cursor": next_cursor, "process": state.process, "as_of": now()})


# ── verbs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/pools/{id}/resize", response_model=Resized, responses=problems(409, 412, 428, body=True))
async def resize_pool(
    state: State,
    who: Operator,
    id: str,
    body: Resize,
    _: Annotated[NoQuery, Query()],
    if_match: Annotated[str | None, Header(max_length=256)] = None,
) -> Response:
    """Move the bounds; what is too many is retired when it is idle. Needs the ETag of what is changed (or ``*``)."""
    registration = state.find(who, id)
    resized = _resized(registration, body, if_match)
    if not body.dry_run:
        async with state.audit.deed(who, "pool.resize", registration, body.reason):
            resized = _resized(registration, body, if_match)  # again: writing it down may have taken its time
            state.manager.resize(registration.public_id, min_size=body.min, max_size=body.max)
    return answer(resized, headers={"ETag": etag_of(registration)})


@router.post(
    "/pools/{id}/drain",
    status_code=202,
    response_model=OperationView,
    responses={200: Ok(Verb, "Nothing was done: dry run"), **problems(409, body=True)},
)
async def drain_pool(
    request: Request, state: State, who: Operator, id: str, body: Reason, _: Annotated[NoQuery, Query()]
) -> Response:
    """Refuse new callers and wait for what is out: an operation to ask about."""
    registration = state.find(who, id)
    _refuse_unless(registration, PoolState.DRAINING)
    if body.dry_run:
        return answer(_verb(registration, "drain", dry_run=True))
    pool = registration.pool

    async def drain() -> dict[str, Any]:
        # Of the manager: instances of dependents let go of what they hold.
        drained = await state.manager.drain(registration.public_id)
        return {"drained": drained, "in_use": pool.stats().in_use}

    async with state.audit.deed(who, "pool.drain", registration, body.reason):
        _refuse_unless(registration, PoolState.DRAINING)
        operation = state.operations.start("drain", registration, who.name, drain())
        await asyncio.sleep(0)  # its first step refuses new callers: done when the answer is there
    return answer(
        operation_view(operation),
        status=202,
        headers={"Location": location(request, f"/operations/{operation.id}")},
    )


@router.post("/pools/{id}/resume", response_model=Verb, responses=problems(409, body=True))
async def resume_pool(
    state: State, who: Operator, id: str, body: Reason, _: Annotated[NoQuery, Query()]
) -> Response:
    """Serve again after a drain or a suspension."""
    registration = state.find(who, id)
    _refuse_to_resume(registration)
    if not body.dry_run:
        async with state.audit.deed(who, "pool.resume", registration, body.reason):
            _refuse_to_resume(registration)
            state.manager.resume(registration.public_id)
    return answer(_verb(registration, "resume", dry_run=body.dry_run))


@router.post("/pools/{id}/recycle", status_code=202, response_model=Verb, responses=problems(409, body=True))
async def recycle_pool(
    state: State, who: Operator, id: str, body: Reason, _: Annotated[NoQuery, Query()]
) -> Response:
    """Replace every instance: idle ones now, busy ones when they come back."""
    registration = state.find(who, id)
    _refuse_ended(registration)
    replaced = registration.pool.stats().size
    if not body.dry_run:
        async with state.audit.deed(who, "pool.recycle", registration, body.reason):
            _refuse_ended(registration)
            replaced = state.manager.recycle(registration.public_id)
    return answer({**_verb(registration, "recycle", dry_run=body.dry_run), "instances": replaced}, status=202)


@router.post("/pools/{id}/suspend", response_model=Verb, responses=problems(409, body=True))
async def suspend_pool(
    state: State, who: Operator, id: str, body: Suspend, _: Annotated[NoQuery, Query()]
) -> Response:
    """Hold callers back in line until ``resume``; with ``fail`` refuse them."""
    registration = state.find(who, id)
    _refuse_unless(registration, PoolState.SUSPENDED)
    if not body.dry_run:
        async with state.audit.deed(who, "pool.suspend", registration, body.reason):
            _refuse_unless(registration, PoolState.SUSPENDED)
            registration.pool.suspend(fail=body.fail)
    return answer(_verb(registration, "suspend", dry_run=body.dry_run))


def etag_of(registration: Registration) -> str:
    """A strong tag of what an operator changes."""
    ledger = registration.pool.ledger
    parts = (
        registration.public_id,
        registration.registered_at,  # the same id registered anew is another pool
        registration.generation,
        ledger.min_size,
        ledger.max_size,
        ledger.generation,
    )
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"'


def _check_match(registration: Registration, if_match: str | None) -> None:
    if if_match is None:
        raise AdminProblem(428, "if_match_needed", "send If-Match with the ETag of the pool, or *")
    given = {each.strip() for each in if_match.split(",")}
    if "*" not in given and etag_of(registration) not in given:
        raise AdminProblem(412, "changed_meanwhile", "the pool is another since you looked: look again")


def _resized(registration: Registration, body: Resize, if_match: str | None) -> dict[str, Any]:
    """What a resize would come to. Raises `AdminProblem` where it may not be, `InvalidStateTransition` (409)."""
    _check_match(registration, if_match)
    before = registration.pool.stats()
    if body.min is None and body.max is None:
        raise AdminProblem(422, "nothing_to_do", "neither min nor max is given")
    after_min = before.min if body.min is None else body.min
    after_max = before.max if body.max is None else body.max
    if after_min > after_max:
        raise AdminProblem(422, "bad_bounds", f"min would be {after_min} and max {after_max}")
    _refuse_ended(registration)
    return {
        "id": registration.public_id,
        "before": {"min": before.min, "max": before.max},
        "after": {"min": after_min, "max": after_max},
        "shrinks_lazily": after_max < before.size,
        "dry_run": body.dry_run,
    }


def _refuse_to_resume(registration: Registration) -> None:
    if registration.state is not RegistrationState.READY:
        raise InvalidStateTransition(registration.state, RegistrationState.READY)
    _refuse_unless(registration, PoolState.OPEN)


def _refuse_unless(registration: Registration, new: PoolState) -> None:
    """Ask the pool's own table whether it can become ``new``. Raises `InvalidStateTransition` (409)."""
    state = registration.pool.state
    if not state.can_become(new):
        raise InvalidStateTransition(state, new, resource_id=registration.key)


def _refuse_ended(registration: Registration) -> None:
    state = registration.pool.state
    if state in {PoolState.CLOSING, PoolState.CLOSED}:
        raise InvalidStateTransition(state, PoolState.OPEN, resource_id=registration.key)


def _verb(registration: Registration, action: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "id": registration.public_id,
        "action": action,
        "state": state_of(registration),
        "dry_run": dry_run,
    }
