"""A body that uses two resources: what befalls the one says nothing of the other."""

import asyncio

import pytest

from nebula_resource import HealthPolicy, Manager, ResourceError
from nebula_resource.errors import AcquireTimeout, CreateFailed
from nebula_resource.quarantine import AdmissionState
from tests.unit.manager.things import Instance, Thing, assert_manager_sound


class Wary(Thing):
    """Takes every OSError for a fault of its server, wherever in the family of an error it stands, as drivers do."""

    def is_fault(self, error: BaseException | None) -> bool:
        while error is not None:
            if isinstance(error, OSError):
                return True
            if isinstance(error, BaseExceptionGroup):
                return any(map(self.is_fault, error.exceptions))
            error = error.__cause__
        return False


async def use_both(manager: Manager, *, together: bool) -> Instance:
    """The second inside the first; in a task group, as concurrent code does."""
    async with manager.acquire("first"):
        if together:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(use_second(manager))
            return task.result()
        return await use_second(manager)


async def use_second(manager: Manager) -> Instance:
    """Once."""
    async with manager.acquire("second", timeout=1) as instance:
        found: Instance = instance
        return found


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("how", ["cannot be made", "is all in use"])
async def test_a_failure_of_the_second_is_none_of_the_first(how: str, together: bool) -> None:
    """Ten callers in a row fail on the second, and the first is neither suspected nor isolated, half open neither."""
    async with Manager(health=HealthPolicy(interval=3600, failure_threshold=3)) as manager:
        second = Wary("second")
        await manager.register(Wary("first"), pool={"min_size": 1, "max_size": 4})
        await manager.register(
            second, pool={"min_size": 0, "max_size": 1}, health=HealthPolicy(failure_threshold=100)
        )
        manager.quarantine("first", "by hand")
        await manager.release("first", "force")
        admission = manager.watch.quarantine.admission("first")
        assert admission is not None
        held = await manager.acquire("second") if how == "is all in use" else None
        second.fails = None if held else ConnectionRefusedError("down")
        wanted = AcquireTimeout if held else CreateFailed
        for _ in range(4):
            with pytest.raises((ResourceError, ExceptionGroup)) as caught:
                await use_both(manager, together=together)
            error = caught.value
            found = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            assert isinstance(found, wanted)
        view = manager.watch.board.get("first")
        assert view is not None
        assert (view.failures, "first" in manager.watch.quarantine) == (0, False)
        assert (admission.state, admission.out) == (AdmissionState.HALF_OPEN, 0)
        if held:
            await held.release()
        assert_manager_sound(manager)
