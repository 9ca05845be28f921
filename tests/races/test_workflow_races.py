"""Workflows under fire: callers come twice, leave, cancel; steps fail, time out and are tried again.

Afterwards nothing runs, nothing is out, and no execution was ever running twice at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from nebula_resource import Manager, PoolConfig
from nebula_resource.workflow import (
    ActionContext,
    Parallel,
    Retry,
    Step,
    WorkflowDefinition,
    WorkflowExecutor,
    WorkflowStatus,
)
from tests.unit.manager.things import Leasing, assert_manager_sound

CALLERS = 600
EXECUTIONS = 150


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_is_left_of_six_hundred_callers(seed: int) -> None:
    """Four callers share an execution on average; the seed names the run."""
    rng = random.Random(seed)
    running: Counter[str] = Counter()
    together: set[int] = set()

    async def work(ctx: ActionContext) -> str:
        running[ctx.execution_id] += 1
        together.add(running[ctx.execution_id])
        try:
            await ctx.resource("db")
            await asyncio.sleep(rng.choice([0, 0.01, 0.05]))
            dice = rng.random()
            if dice < 0.05:
                raise ValueError
            if dice < 0.15:
                raise ConnectionError
            if dice < 0.2:
                await asyncio.sleep(3600)
            return ctx.action_id
        finally:
            running[ctx.execution_id] -= 1

    retry = Retry(attempts=3, base=0.01, max=0.1)
    step = Step(work, timeout=0.2, retry=retry, name="alone")
    pair = Parallel([Step(_breathe, name="left"), Step(_breathe, name="right")], limit=1)
    definition = WorkflowDefinition("w", [step, pair])
    db = Leasing("db")
    seen: Counter[str] = Counter()
    async with Manager() as manager:
        await manager.register(db, {}, pool=PoolConfig(min_size=0, max_size=5, acquire_timeout=3600.0))
        async with WorkflowExecutor(manager, remember=EXECUTIONS) as executor:

            async def caller(number: int) -> None:
                execution = f"e{number % EXECUTIONS}"
                task = asyncio.get_running_loop().create_task(
                    executor.run(definition, tenant="acme", execution_id=execution)
                )
                await asyncio.sleep(rng.choice([0, 0, 0.02, 0.1]))
                dice = rng.random()
                if dice < 0.3:
                    task.cancel()
                    if dice < 0.1:
                        await asyncio.sleep(0)
                        task.cancel()
                elif dice < 0.35:
                    executor.cancel(execution)
                try:
                    seen[(await task).status.value] += 1
                except asyncio.CancelledError:
                    seen["left"] += 1

            await asyncio.gather(*(caller(number) for number in range(CALLERS)))
            assert repr(executor).startswith("<WorkflowExecutor: 0 running")
        assert_manager_sound(manager)
        assert not any(manager.open_scopes.values())
    assert together == {1}
    assert sum(seen.values()) == CALLERS
    assert {"left", *WorkflowStatus} - {WorkflowStatus.RUNNING} == set(seen), seen
    begun = [line for line in db.log if line.startswith("begin")]
    ended = [line for line in db.log if line.startswith(("commit", "rollback"))]
    assert len(begun) == len(ended)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def _breathe() -> None:
    await asyncio.sleep(0.01)
