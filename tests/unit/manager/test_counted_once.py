"""One failure is counted once: a check that cannot even make an instance has found one fault, not two."""

from nebula_resource import HealthPolicy, Manager
from tests.unit.manager.things import Thing


async def test_a_check_whose_create_fails_is_one_failure() -> None:
    """Three checks are three failures in a row, and the third leads into quarantine, not the second."""
    async with Manager(health=HealthPolicy(interval=3600, failure_threshold=3)) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 0})
        thing.fails = ConnectionRefusedError("down")
        for number in (1, 2, 3):
            assert not (await manager.check("thing")).is_usable()
            view = manager.watch.board.get("thing")
            assert view is not None
            assert view.failures == number
            assert ("thing" in manager.watch.quarantine) == (number == 3)
