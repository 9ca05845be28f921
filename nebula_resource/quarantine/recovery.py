"""Recovery: how one attempt to bring a quarantined resource back is made, and how long the next one waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from pydantic_core import core_schema

from nebula_resource.model.health import HealthStatus, Unknown
from nebula_resource.model.scope import Scope

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

    from nebula_resource.model.context import ResourceContext

__all__ = ["RecoveryStrategy", "RecoveryTarget", "is_pass"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryTarget:
    """What an attempt is about, and the means to look at it.

    ``resource_id`` and ``scope`` as registered, ``public_id`` as operators see it; ``attempt`` counts the attempts of
    this quarantine, this one included; ``success_threshold`` passes in a row are asked for. `probe` runs the full
    health pipeline once on a fresh instance.
    """

    public_id: str
    resource_id: str
    scope: Scope
    attempt: int
    success_threshold: int
    probe: Callable[[], Awaitable[HealthStatus]]


def is_pass(status: HealthStatus) -> bool:
    """Whether a check speaks for release: usable, and known to be (an unknown state proves nothing)."""
    return status.is_usable() and not isinstance(status.state, Unknown)


class RecoveryStrategy:
    """Override either method to change how a resource recovers; each default is what SPEC §12 describes."""

    async def attempt_recovery(self, registration: RecoveryTarget, context: ResourceContext) -> HealthStatus:
        """Try once to find the resource well; a state that is usable and known releases it.

        Args:
            registration: what is quarantined; ``registration.probe()`` runs the pipeline on a fresh instance.
            context: the registration's own scope, as a create sees it.

        Returns:
            What was found. An exception, or anything that is no HealthStatus, counts as a failed attempt. `Postponed`
            puts the attempt off.
        """
        status = await registration.probe()
        for _ in range(registration.success_threshold - 1):
            if not is_pass(status):
                break
            status = await registration.probe()
        return status

    def backoff(self, attempt: int, last_error: BaseException | None) -> float | None:
        """Seconds to wait before attempt number ``attempt`` (the first is 1).

        Args:
            attempt: counts on where a resource that keeps coming back left off (a flapper).
            last_error: why the attempt before failed; None before the first one.

        Returns:
            Seconds, used as they are, or None for the policy's own jittered schedule.
        """
        return None

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def name_of(strategy: RecoveryStrategy) -> str:
            return type(strategy).__name__

        # Code does not fit into JSON: a strategy is written by its class's name and accepted only as an object.
        return core_schema.is_instance_schema(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(name_of)
        )
