"""HealthPipeline: runs the stages of a check in order and lets the worst of them speak."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import ConfigurationError
from nebula_resource.health.stage import StageResult, run_stage
from nebula_resource.model.health import HealthStage, HealthStatus, Healthy, Unhealthy

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext

__all__ = ["HealthPipeline"]


class HealthPipeline:
    """Stages in order; stops at the first Unhealthy one, else the worst score wins (on a tie the earlier stage).

    A stage that raises, times out or returns something else is Unhealthy, naming the stage. Without a stage
    everything is Healthy. One pipeline belongs to one resource: stages that remember earlier checks are copied into
    it (see ``HealthStage.fresh``), so that a policy may be shared.

    Args:
        stages: with different names.
        timeout: seconds for the whole check; None: only the stages' own limits count.

    Raises:
        ConfigurationError: two stages have one name.
    """

    def __init__(self, stages: Iterable[HealthStage], *, timeout: float | None = None) -> None:
        self._stages = tuple(stage.fresh() for stage in stages)
        self._timeout = timeout
        names = self.names
        if len(set(names)) != len(names):
            raise ConfigurationError(
                f"the stages of a health pipeline need different names: {', '.join(names)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The stages' names, in order."""
        return tuple(stage.name for stage in self._stages)

    def __repr__(self) -> str:
        return f"<HealthPipeline {' → '.join(self.names) or 'empty'}>"

    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """Run the stages on ``instance``.

        Returns:
            The worst state; ``latency_s`` of the whole; ``metadata["stages"]`` lists what each stage that ran found,
            ``metadata["stage"]`` names the one that decided when not all is well.
        """
        loop = asyncio.get_running_loop()
        since = loop.time()
        deadline = None if self._timeout is None else since + self._timeout
        results: list[StageResult] = []
        for stage in self._stages:
            result = await run_stage(stage, instance, context, since=since, deadline=deadline)
            results.append(result)
            if isinstance(result.state, Unhealthy):
                break
        return _verdict(results, loop.time() - since)


def _verdict(results: list[StageResult], latency_s: float) -> HealthStatus:
    """Put what the stages found together."""
    if not results:
        return HealthStatus(Healthy(), latency_s)
    worst = min(results, key=lambda result: result.state.score())  # min keeps the earlier of equals
    metadata: dict[str, Any] = {"stages": [result.to_metadata() for result in results]}
    if not isinstance(worst.state, Healthy):
        metadata["stage"] = worst.name
    return HealthStatus(worst.state, latency_s, metadata)
