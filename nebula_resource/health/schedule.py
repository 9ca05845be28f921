"""Schedule: when the next check of a resource is due."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import final

from nebula_resource.model.health import HealthCheckable, HealthPolicy

__all__ = ["Schedule"]


@final
@dataclass(frozen=True, slots=True)
class Schedule:
    """The times of one resource's checks, in seconds: the policy's, or the resource's own where it sets them.

    ``backoff`` above 1 stretches the interval with each failure in a row, up to ``max_interval``.
    """

    interval: float
    timeout: float
    jitter: float
    backoff: float
    max_interval: float

    @classmethod
    def of(cls, policy: HealthPolicy, resource: object = None, *, backs_off: bool = False) -> Schedule:
        """Put policy and resource together; ``backs_off`` where no quarantine would take over."""
        own_interval = own_timeout = None
        if isinstance(resource, HealthCheckable):
            own_interval = resource.own_health_time("health_check_interval")
            own_timeout = resource.own_health_time("health_check_timeout")
        interval = policy.interval if own_interval is None else own_interval
        return cls(
            interval=interval,
            timeout=policy.timeout if own_timeout is None else own_timeout,
            jitter=policy.jitter,
            backoff=policy.backoff if backs_off else 1.0,
            max_interval=max(interval, policy.max_interval),
        )

    def delay(self, failures: int, rng: random.Random) -> float:
        """Seconds between the start of a check and the next one, after ``failures`` failed ones in a row."""
        # Bounded so that a very long outage cannot overflow a float.
        try:
            stretched = self.interval * self.backoff ** min(failures, 1000)
        except OverflowError:
            stretched = self.max_interval
        bare = min(stretched, self.max_interval)
        return bare * (1 + self.jitter * rng.uniform(-1, 1)) if self.jitter else bare
