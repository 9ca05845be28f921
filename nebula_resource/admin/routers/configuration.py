"""Configuration: what is in force, secrets masked, and the order to read it again."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from nebula_resource.admin.answers import State, answer, problems
from nebula_resource.admin.auth.needs import Admin
from nebula_resource.admin.configuration import ConfigurationReading, ReloadInProgress
from nebula_resource.admin.idempotency import IdempotentRoute
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.schemas.common import NoQuery
from nebula_resource.admin.schemas.configuration import (
    ConfigurationView,
    Reload,
    ReloadView,
    configuration_view,
    reload_view,
)
from nebula_resource.admin.schemas.pools import config_view
from nebula_resource.admin.times import now

__all__ = ["router"]

router = APIRouter(tags=["config"], route_class=IdempotentRoute)


@router.get("/config", response_model=ConfigurationView, responses=problems())
async def get_config(state: State, who: Admin, _: Annotated[NoQuery, Query()]) -> Response:
    """The effective configuration. Where none is read from a file, that of each registration."""
    if state.configuration is not None:
        reading = state.configuration.reading()
    else:
        values = {"resources": {each.public_id: config_view(each) for each in state.visible(who)}}
        reading = ConfigurationReading(source=None, generation=0, loaded_at=None, values=values)
    return answer(configuration_view(reading, state.process, now()))


@router.post("/config/reload", response_model=ReloadView, responses=problems(409, body=True))
async def reload_config(state: State, who: Admin, body: Reload, _: Annotated[NoQuery, Query()]) -> Response:
    """Read the configuration again, with ``patch`` over it, and apply it as a whole; 422: nothing has changed."""
    if state.configuration is None:
        raise AdminProblem(409, "no_configuration", "nothing of this process was declared in a file")
    deed = state.audit.deed(who, "config.reload", None, body.reason)
    try:
        async with nullcontext() if body.dry_run else deed:
            report = await state.configuration.reload(dry_run=body.dry_run, patch=body.patch)
    except ReloadInProgress:
        raise AdminProblem(
            409, "reload_in_progress", "another reload is under way", retry_after=1.0
        ) from None
    return answer(reload_view(report))
