"""Stages: the four built-in steps of a check: connectivity, performance, utilization, dependencies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from nebula_resource.health.process import ProcessMeter
from nebula_resource.health.stage import LatencyStage
from nebula_resource.model.health import (
    Degraded,
    HealthStage,
    HealthState,
    HealthStatus,
    Healthy,
    Unhealthy,
)
from nebula_resource.model.policy import Rules

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext

__all__ = ["ConnectivityStage", "DependencyStage", "PerformanceStage", "UtilizationStage"]

StageProbe = Callable[[Any], Awaitable[object]]

STREAK = 3
"""Slow checks in a row that begin a degradation, and quick ones that end it (SPEC §11)."""
QUICK_SHARE = 0.8
"""A check is quick again below this share of ``warn`` (SPEC §11)."""
BUSY_IMPACT = 0.5
"""The most that full use degrades: it is busy, not broken, and refusing callers for it would be an outage."""
DOWN_IMPACT = 0.5
"""How much worse a resource is taken to work while one it needs is down (SPEC §11)."""


class ConnectivityStage(HealthStage):
    """Does it answer at all? ``probe(instance)`` is awaited; False, or an exception, is Unhealthy."""

    def __init__(
        self, probe: StageProbe, *, name: str = "connectivity", timeout: float | None = None
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._probe = probe

    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """Await the probe."""
        answer = await self._probe(instance)
        return HealthStatus(Unhealthy(f"{self.name}: the probe said no") if answer is False else Healthy())


class PerformanceStage(LatencyStage):
    """Does it answer soon enough?

    From ``fail`` seconds on it is Unhealthy at once. From ``warn`` on it is slow: three slow checks in a row make it
    Degraded by ``(latency − warn) / (fail − warn)``, three in a row below 0.8 × ``warn`` end that; in between the
    impact follows the latency, so that one outlier changes nothing and a resource at the border does not flap.

    Args:
        warn: seconds.
        fail: seconds, more than ``warn``.
        probe: what to measure; None: how long the stages before this one took.

    Raises:
        ValidationFailed: the two times make no sense.
    """

    def __init__(
        self,
        warn: float,
        fail: float,
        *,
        probe: StageProbe | None = None,
        name: str = "performance",
        timeout: float | None = None,
    ) -> None:
        rules = Rules()
        rules.number("warn", warn, above=0)
        rules.number("fail", fail, above=0)
        if not rules.violations and fail <= warn:
            rules.breach("fail", "must be more than warn", fail)
        rules.raise_if_broken()
        self.name = name
        self.timeout = timeout
        self._warn = warn
        self._fail = fail
        self._probe = probe
        self._slow = 0
        self._quick = 0
        self._degraded = False

    def fresh(self) -> PerformanceStage:
        """The same stage without memory of earlier checks."""
        return PerformanceStage(
            self._warn, self._fail, probe=self._probe, name=self.name, timeout=self.timeout
        )

    @property
    def measures_itself(self) -> bool:
        """Whether it has a probe of its own."""
        return self._probe is not None

    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """Time the probe; without one there is nothing to time."""
        if self._probe is None:
            return self.judge(0.0)
        now = asyncio.get_running_loop().time
        started = now()
        await self._probe(instance)
        return self.judge(now() - started)

    def judge(self, latency_s: float) -> HealthStatus:
        """Take in one more latency and say how it stands."""
        self._slow = self._slow + 1 if latency_s >= self._warn else 0
        self._quick = self._quick + 1 if latency_s < QUICK_SHARE * self._warn else 0
        if self._slow >= STREAK:
            self._degraded = True
        elif self._quick >= STREAK:
            self._degraded = False
        metadata = {"measured_s": latency_s, "warn_s": self._warn, "fail_s": self._fail}
        return HealthStatus(self._state(latency_s), latency_s, metadata)

    def _state(self, latency_s: float) -> HealthState:
        # The reasons hold no number: a text that differs from check to check would be a change each time.
        if latency_s >= self._fail:
            return Unhealthy(f"{self.name}: slower than {self._fail:g} s")
        if self._degraded:
            impact = (latency_s - self._warn) / (self._fail - self._warn)
            return Degraded(f"{self.name}: slower than {self._warn:g} s", impact)
        return Healthy()


class UtilizationStage(HealthStage):
    """Is there room left? ``measure()`` tells shares in use by name, 0…1: connections, cpu, memory, or others.

    By default cpu and memory of this process are measured; in the policy of a registration the share of its pool's
    ``max_size`` that is in use is added as ``connections``. None says that a share cannot be told, and it is left
    out. From ``warn`` on the fullest degrades it, by at most 0.5: what is fully used is busy, not broken, so this
    stage alone never has callers refused.

    Raises:
        ValidationFailed: ``warn`` is no share.
    """

    def __init__(
        self,
        measure: Callable[[], Mapping[str, float | None]] | None = None,
        *,
        warn: float = 0.8,
        name: str = "utilization",
        timeout: float | None = None,
    ) -> None:
        rules = Rules()
        rules.number("warn", warn, above=0, most=1)
        rules.raise_if_broken()
        self.name = name
        self.timeout = timeout
        self._given = measure
        self._measure = ProcessMeter() if measure is None else measure
        self._connections: Callable[[], float | None] | None = None
        self._warn = warn

    def fresh(self) -> UtilizationStage:
        """The same stage with a meter of its own: a meter remembers when it was last read."""
        return self.counting(self._connections)

    def counting(self, connections: Callable[[], float | None] | None) -> UtilizationStage:
        """The same stage for one pool; ``connections`` tells the share of it that is in use."""
        stage = UtilizationStage(self._given, warn=self._warn, name=self.name, timeout=self.timeout)
        stage._connections = connections
        return stage

    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """Measure; the fullest counts."""
        measured = dict(self._measure())
        if self._connections is not None:
            measured.setdefault("connections", self._connections())
        shares = {key: share for key, share in measured.items() if share is not None}
        fullest = max(shares, key=shares.__getitem__, default=None)
        if fullest is None or shares[fullest] < self._warn:
            return HealthStatus(Healthy(), metadata=shares)
        over = (shares[fullest] - self._warn) / (1 - self._warn) if self._warn < 1 else 1.0
        impact = BUSY_IMPACT * min(1.0, over)
        return HealthStatus(Degraded(f"{self.name}: {fullest} is nearly used up", impact), metadata=shares)


class DependencyStage(HealthStage):
    """Are those it needs well? ``states()`` tells the state of each dependency by id.

    One that is Unhealthy degrades it by 0.5, naming the first such id; whether the resource itself still works is for
    the other stages to find out. Without ``states`` it looks, in the policy of a registration, at what that
    registration declared to need.
    """

    def __init__(
        self,
        states: Callable[[], Mapping[str, HealthState]] | None = None,
        *,
        name: str = "dependencies",
        timeout: float | None = None,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._states = states

    def looking_at(self, states: Callable[[], Mapping[str, HealthState]]) -> DependencyStage:
        """The same stage for one registration; states that were given to it stay."""
        return DependencyStage(self._states or states, name=self.name, timeout=self.timeout)

    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """Look at each."""
        states = {} if self._states is None else self._states()
        metadata = {key: state.kind for key, state in states.items()}
        for key, state in states.items():
            if isinstance(state, Unhealthy):
                return HealthStatus(Degraded(f"dependency '{key}' is down", DOWN_IMPACT), metadata=metadata)
        return HealthStatus(Healthy(), metadata=metadata)
