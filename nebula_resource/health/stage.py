"""Stage: one step of a check, carried out within its limit and with every way of failing turned into a state."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from nebula_resource.model.health import HealthStage, HealthState, HealthStatus, Unhealthy

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext

__all__ = ["HealthStage", "LatencyStage", "StageResult", "run_stage"]


class LatencyStage(HealthStage):
    """A stage that can judge by time alone: how long the stages before it took."""

    @abstractmethod
    def judge(self, latency_s: float) -> HealthStatus:
        """Say what a check that took ``latency_s`` seconds tells."""

    @property
    @abstractmethod
    def measures_itself(self) -> bool:
        """Whether `check` takes its own measure; else a pipeline calls `judge` with the time passed so far."""


@final
@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage found, and in how many seconds."""

    name: str
    state: HealthState
    latency_s: float
    metadata: Mapping[str, Any]

    def to_metadata(self) -> dict[str, Any]:
        """The JSON form in which it stands in the whole check's metadata."""
        found: dict[str, Any] = {"name": self.name, "kind": self.state.kind, "latency_s": self.latency_s}
        if self.state.because:
            found["reason"] = self.state.because
        if self.metadata:
            found["metadata"] = dict(self.metadata)
        return found


async def run_stage(
    stage: HealthStage, instance: Any, context: ResourceContext, *, since: float, deadline: float | None
) -> StageResult:
    """Carry out one stage; every outcome but a cancellation of the caller is a result.

    Args:
        stage: what to run.
        instance: what to look at.
        context: passed on to the stage.
        since: loop time at which the whole check began, for a stage that judges by it.
        deadline: loop time at which the whole check ends; the stage's own ``timeout`` may end it earlier.
    """
    now = asyncio.get_running_loop().time
    started = now()
    own_end = None if stage.timeout is None else started + stage.timeout
    end = own_end if deadline is None or (own_end is not None and own_end < deadline) else deadline
    metadata: Mapping[str, Any] = {}
    limit = asyncio.timeout_at(end)
    found: Any  # a stage is a user's code: it may return whatever it likes
    try:
        async with limit:
            if isinstance(stage, LatencyStage) and not stage.measures_itself:
                found = stage.judge(started - since)
            else:
                found = await stage.check(instance, context)
    except Exception as error:
        # Only the type: the wording of a foreign error may hold a secret.
        timed_out = isinstance(error, TimeoutError) and limit.expired()
        what = "timed out" if timed_out else f"raised {type(error).__name__}"
        state: HealthState = Unhealthy(f"{stage.name}: {what}")
    else:
        if isinstance(found, HealthStatus):
            state, metadata = found.state, found.metadata
        elif isinstance(found, HealthState):
            state = found
        else:
            state = Unhealthy(f"{stage.name}: returned {type(found).__name__}, not a HealthStatus")
    return StageResult(stage.name, state, now() - started, metadata)
