"""TestPool: a pool whose every step can be made to fail, and that is checked when its test ends."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from nebula_resource.model.ports import Capacity, PoolObserver
from nebula_resource.model.resource import Resource
from nebula_resource.pool.config import PoolConfig
from nebula_resource.pool.pool import Pool
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.injected import Injected
from nebula_resource.testing.mock import Outcome, Script

__all__ = ["TestPool"]

ConfigT = TypeVar("ConfigT")
InstanceT = TypeVar("InstanceT")
LeaseT = TypeVar("LeaseT")


class TestPool(Pool[ConfigT, InstanceT, LeaseT]):
    """A real pool over your resource, for a test.

    ``async with TestPool(MyResource(), config) as pool:`` opens it, and closes it at the end; when the block ended
    well, nothing may be out, waiting or leaked. ``pool.inject("create", Outcome.ERROR)`` makes a step fail from then
    on, ``pool.heal()`` makes all go well again.

    Args:
        resource: yours; it is called as ever, unless a script says otherwise.
        config: what its ``create`` is given.
        pool_config: the settings, or a mapping of them; ``min_size`` is 0 unless given.
        slow: seconds that an injected SLOW takes.
        capacity: a budget.
        observer: who is told what happens.
    """

    __test__ = False  # pytest takes it for a class of tests otherwise
    __slots__ = ("_injected",)

    def __init__(
        self,
        resource: Resource[ConfigT, InstanceT, LeaseT],
        config: ConfigT,
        pool_config: PoolConfig | Mapping[str, Any] | None = None,
        *,
        slow: float = 1.0,
        capacity: Capacity | None = None,
        observer: PoolObserver | None = None,
    ) -> None:
        self._injected = Injected(resource, slow=slow)
        if not isinstance(pool_config, PoolConfig):
            pool_config = PoolConfig.of({"min_size": 0, **(pool_config or {})})
        super().__init__(self._injected, config, pool_config, capacity=capacity, observer=observer)

    def inject(self, step: str, script: Script) -> None:
        """Say how a step goes from now on: an `Outcome`, an exception, or several in order.

        Steps: create, is_valid, recycle, cleanup, lease_entry, lease_exit. Raises `ValueError` for another.
        """
        self._injected.inject(step, script)

    def fail(self, step: str) -> None:
        """Make a step fail until `heal`."""
        self.inject(step, Outcome.ERROR)

    def heal(self) -> None:
        """Let everything go well again."""
        self._injected.heal()

    def calls(self, step: str) -> int:
        """How often a step was begun."""
        return self._injected.player.calls[step]

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                assert_no_leaks(self)
        finally:
            self.heal()
            await self.close(0.0)
        assert_sound(self)
