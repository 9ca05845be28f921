"""Why something is ill, as whoever looks on is told: the kind of an error, and what a driver of ours says of it."""

import pytest

from nebula_resource import QuarantinePolicy
from nebula_resource.drivers.sqlalchemy import ConnectFailed
from nebula_resource.errors import CreateFailed, InitializationError, ProbeFailed
from nebula_resource.manager import Manager
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy, HealthStatus
from nebula_resource.model.resource import Resource
from nebula_resource.quarantine import RecoveryBackoff

ONCE = HealthPolicy(interval=3600.0, failure_threshold=1, success_threshold=1)
LATER = QuarantinePolicy(backoff=RecoveryBackoff(base=600.0, max=600.0))


class Down(Resource[None, object]):
    """Cannot be made."""

    id = "thing"

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def create(self, config: None, context: ResourceContext) -> object:
        raise self.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ConnectFailed("OSError", reason="the server was not reached"),
            "could not connect to the database: the server was not reached (OSError)",
        ),
        (InitializationError("canary"), "InitializationError"),
        (OSError("canary"), "OSError"),
    ],
    ids=["of a driver of ours", "of ours", "of anybody"],
)
async def test_it_is_told_alike_by_a_use_a_check_and_an_attempt(error: Exception, told: str) -> None:
    """A driver of ours says what happened, in words of its own. Of any other error only the kind is told: its author, or
    a server, may have put a secret into it, also where its class is one of ours."""
    async with Manager(health=ONCE, quarantine=LATER) as manager:
        await manager.register(Down(error), None, pool={"min_size": 0})
        with pytest.raises(CreateFailed):
            await manager.acquire("thing")
        assert manager.watch.board.own("thing").because == told
        checked = await manager.check("thing")
        assert checked.state.because == f"no instance could be made: {told}"
        with pytest.raises(ProbeFailed) as failed:
            await manager.release("thing", by="somebody")
        assert isinstance(failed.value.health, HealthStatus)
        assert failed.value.health.state.because == f"the attempt failed: {told}"
