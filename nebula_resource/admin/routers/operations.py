"""Operations: how far something is that takes long; ending it early."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from nebula_resource.admin.answers import State, answer, problems
from nebula_resource.admin.auth.needs import Operator
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.operations import Operation
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.schemas.common import NoQuery
from nebula_resource.admin.schemas.operations import OperationView, operation_view
from nebula_resource.admin.state import AdminState
from nebula_resource.errors import NotRegistered

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.get("/operations/{op}", response_model=OperationView, responses=problems())
async def get_operation(state: State, who: Operator, op: str, _: Annotated[NoQuery, Query()]) -> Response:
    """One operation."""
    return answer(operation_view(_find(state, who, op)))


@router.delete(
    "/operations/{op}",
    response_model=OperationView,
    status_code=202,
    responses=problems(408, 409, 413, 415, 503),
)
async def cancel_operation(state: State, who: Operator, op: str, _: Annotated[NoQuery, Query()]) -> Response:
    """Stop watching it to its end. A drain that is cancelled leaves the pool draining: ``resume`` opens it."""
    operation = _find(state, who, op)
    _refuse_ended(operation)
    registration = state.manager.registry.get(operation.pool)
    async with state.audit.deed(who, f"pool.{operation.kind}.cancel", registration, None):
        _refuse_ended(operation)  # again: writing it down may have taken its time
        state.operations.cancel(operation)
    return answer(operation_view(operation), status=202)


def _refuse_ended(operation: Operation) -> None:
    if operation.state != "running":
        raise AdminProblem(409, "operation_ended", "this operation has ended")


def _find(state: AdminState, who: Principal, op: str) -> Operation:
    operation = state.operations.get(op, who)
    if operation is None:
        raise NotRegistered(op)
    return operation
