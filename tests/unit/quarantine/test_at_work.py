"""What a registration's policies say of quarantine holds for that registration, in a manager."""

from __future__ import annotations

from typing import Any

import pytest

from nebula_resource import OFF, HealthPolicy, Manager, ProbeFailed
from tests.unit.manager.things import Instance, Thing


class Flaky(Thing):
    """Fails the checks with these numbers, counted from the first."""

    def __init__(self, *fails: int) -> None:
        super().__init__()
        self.checks = 0
        self.ill_at = fails

    async def is_valid(self, instance: Instance) -> bool:
        self.checks += 1
        return self.checks not in self.ill_at


@pytest.mark.parametrize(
    ("health", "passes"),
    [
        (HealthPolicy(interval=3600, success_threshold=1), 1),
        (HealthPolicy(interval=3600, success_threshold=3), 3),
        (OFF, 1),
    ],
    ids=["one", "three", "health off"],
)
async def test_a_release_by_probe_takes_as_many_passes_as_the_policy_says(health: Any, passes: int) -> None:
    """Each asked of the server; with health off there is nobody to say how many, and one is enough."""
    async with Manager(health=health) as manager:
        thing = Flaky()
        await manager.register(thing, pool={"min_size": 0})
        manager.quarantine("thing", "by hand")
        await manager.release("thing")
        assert thing.checks == passes
        assert "thing" not in manager.watch.quarantine


async def test_a_release_whose_last_pass_fails_releases_nothing() -> None:
    """Two of three are not three: it stays in, and the server was asked three times."""
    async with Manager(health=HealthPolicy(interval=3600, success_threshold=3)) as manager:
        thing = Flaky(3)
        await manager.register(thing, pool={"min_size": 0})
        manager.quarantine("thing", "by hand")
        with pytest.raises(ProbeFailed):
            await manager.release("thing")
        assert (thing.checks, "thing" in manager.watch.quarantine) == (3, True)
        assert len(thing.made) <= 3
