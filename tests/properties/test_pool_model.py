"""A pool against an independent model: whatever is done in whatever order, both have the same instances in the same
places, and every caller got what the model says.

The model knows nothing of futures, tasks or flags: it is lists of numbers and a handful of rules.
"""

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nebula_resource.errors import CreateFailed, Unavailable
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.clock import VirtualTimeLoop
from nebula_resource.testing.mock import MockInstance, MockResource, Outcome
from tests.properties.pool_model import Model

LIFETIME = 300.0  # seconds
MOMENT = 1e-7  # seconds, shorter than anything that is measured here
NUMBERS = st.integers(min_value=0, max_value=5)


class PoolMachine(RuleBasedStateMachine):
    """Does to a pool and to the model the same things, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        asyncio.set_event_loop(None)
        self.tasks: dict[int, asyncio.Task[Any]] = {}
        self.handles: dict[int, Any] = {}
        self.callers = 0
        self.pool: Pool[Any, MockInstance, Any] | None = None

    # ── driving the loop ──

    def run(self, work: Any) -> Any:
        """Run a coroutine, and then everything that is ready."""

        async def main() -> Any:
            result = await work
            await self.quiet()
            return result

        return self.loop.run_until_complete(main())

    async def quiet(self) -> None:
        """Let everything run that is ready, and what that makes ready: the clock moves only when nothing is left.

        (A number of turns would not do: a failing server is asked once for each of a whole line.)
        """
        await asyncio.sleep(MOMENT)
        for caller, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[caller]
                self.note(caller, task)

    def note(self, caller: int, task: asyncio.Task[Any]) -> None:
        """Compare what a caller got with what the model says."""
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            assert caller not in self.model.held
            assert caller not in self.model.told
        elif error is not None:
            expected = {"create_failed": CreateFailed, "unavailable": Unavailable}[
                self.model.told.pop(caller)
            ]
            assert type(error) is expected, error
        else:
            self.handles[caller] = task.result()
            assert task.result().instance.number == self.model.held[caller]

    # ── rules ──

    @initialize(max_size=st.integers(1, 4), lifo=st.booleans(), recycles=st.booleans())
    def open(self, max_size: int, lifo: bool, recycles: bool) -> None:
        """A pool that keeps none, and a model of it."""
        self.resource = MockResource(recycle=Outcome.OK if recycles else None, turns=1)
        config = PoolConfig(
            min_size=0,
            max_size=max_size,
            strategy="lifo" if lifo else "fifo",  # type: ignore[arg-type]  # names are accepted at run time
            acquire_timeout=1e9,
            idle_timeout=None,
            max_lifetime=LIFETIME,
            maintenance_interval=10.0,
            max_concurrent_creates=100,
            circuit_threshold=1_000_000,
        )
        self.pool = Pool(self.resource, None, config)
        self.model = Model(max_size, lifo=lifo)
        self.run(self.pool.open())

    def _pool(self) -> Pool[Any, MockInstance, Any]:
        assert self.pool is not None
        return self.pool

    @rule()
    def acquire(self) -> None:
        """Somebody asks, and waits if it must."""
        pool = self._pool()
        self.callers += 1
        caller = self.callers

        async def ask() -> Any:
            return await pool.acquire()

        async def start() -> None:
            self.tasks[caller] = asyncio.get_running_loop().create_task(ask())

        self.model.ask(caller)
        self.run(start())
        assert (caller in self.tasks) == (caller in self.model.waiting)

    @rule()
    def try_acquire(self) -> None:
        """Somebody asks who does not wait."""
        model, pool = self.model, self._pool()

        async def ask() -> Any:
            try:
                return pool.try_acquire()
            except Unavailable:
                return "unavailable"

        handle = self.run(ask())
        if model.state not in {"open", "suspended"}:
            assert handle == "unavailable"
        elif model.state == "open" and model.idle and not model.waiting:
            self.callers += 1
            model.ask(self.callers)
            self.handles[self.callers] = handle
            assert handle.instance.number == model.held[self.callers]
        else:
            assert handle is None

    @precondition(lambda self: self.handles)
    @rule(pick=NUMBERS, tainted=st.booleans())
    def release(self, pick: int, tainted: bool) -> None:
        """A use ends well, or with a taint."""
        caller, handle = self._pick(pick)
        if tainted:
            handle.taint("rule")
        self.model.come_back(caller, tainted=tainted)
        self.run(handle.release())

    @precondition(lambda self: self.handles)
    @rule(pick=NUMBERS)
    def detach(self, pick: int) -> None:
        """An instance leaves with its holder."""
        caller, handle = self._pick(pick)
        self.model.doomed.discard(self.model.held.pop(caller))
        self.model.settle()

        async def leave() -> None:
            handle.detach().is_open = False  # its holder closes it

        self.run(leave())

    @precondition(lambda self: self.tasks)
    @rule(pick=NUMBERS)
    def cancel(self, pick: int) -> None:
        """Somebody who waits is cancelled."""
        caller = sorted(self.tasks)[pick % len(self.tasks)]
        self.tasks[caller].cancel()
        self.model.waiting.remove(caller)
        self.run(asyncio.sleep(0))

    @rule(fails=st.booleans())
    def fail(self, fails: bool) -> None:
        """The server goes away, or comes back."""
        self.model.fails = fails
        self.resource.script("create", Outcome.ERROR if fails else Outcome.OK)

    @rule()
    def expire(self) -> None:
        """A life time passes: idle ones go, held ones are past their time."""
        self.model.retire(set(self.model.idle) | set(self.model.held.values()))
        self.run(asyncio.sleep(LIFETIME + 30.0))

    @rule(remainder=st.integers(0, 2))
    def retire_some(self, remainder: int) -> None:
        """An operator chooses by a predicate."""
        model, pool = self.model, self._pool()
        chosen = {number for number in (*model.idle, *model.held.values()) if number % 3 == remainder}

        async def retire() -> int:
            return pool.retire_where(lambda instance: instance.number % 3 == remainder)

        model.retire(chosen)
        assert self.run(retire()) == len(chosen)

    @rule(size=st.integers(1, 5))
    def resize(self, size: int) -> None:
        """The bound moves."""
        pool = self._pool()

        async def resize() -> None:
            pool.resize(max_size=size)

        self.model.resize(size)
        self.run(resize())

    @precondition(lambda self: self.model.state in {"open", "suspended"})
    @rule(count=st.integers(1, 3))
    def scale_up(self, count: int) -> None:
        """Some are made ahead of need."""
        model = self.model
        possible = 0 if model.fails else max(0, min(count, model.max_size - model.living))
        for _ in range(possible):
            model.made += 1
            model.idle.append(model.made)
        model.settle()
        assert self.run(self._pool().scale_up(count)) == possible

    @precondition(lambda self: self.model.state in {"open", "suspended"})
    @rule()
    def suspend(self) -> None:
        """Nothing is lent for a while."""
        self.model.state = "suspended"
        self.run(self._call(self._pool().suspend))

    @precondition(lambda self: self.model.state != "closed")
    @rule()
    def resume(self) -> None:
        """It serves again."""
        self.model.state = "open"
        self.model.settle()
        self.run(self._call(self._pool().resume))

    @precondition(lambda self: self.model.state in {"open", "suspended"})
    @rule()
    def drain(self) -> None:
        """It takes nobody any more."""
        model, pool = self.model, self._pool()
        model.told.update(dict.fromkeys(model.waiting, "unavailable"))
        model.waiting.clear()
        model.idle.clear()
        model.state = "draining"
        model.settle()
        assert self.run(pool.drain(0.0)) == (not model.held)

    @rule()
    def close_at_the_end(self) -> None:
        """Its end; whoever holds one has it taken from them. Then a new life begins."""
        model, pool = self.model, self._pool()
        model.told.update(dict.fromkeys(model.waiting, "unavailable"))
        forced = len(model.held)
        report = self.run(pool.close(1.0))
        assert (report.forced, report.drained) == (forced, not forced)
        assert not self.resource.alive
        assert not self.tasks
        for handle in self.handles.values():
            self.run(handle.release())
        self.handles.clear()
        assert_no_leaks(pool)
        self.open(model.max_size, model.lifo, True)

    def _pick(self, pick: int) -> tuple[int, Any]:
        caller = sorted(self.handles)[pick % len(self.handles)]
        return caller, self.handles.pop(caller)

    async def _call(self, verb: Any) -> None:
        verb()

    # ── what must hold ──

    @invariant()
    def the_same(self) -> None:
        """Counts, order and states agree, and the pool is sound."""
        if self.pool is None:
            return
        model, stats = self.model, self.pool.stats()
        assert_sound(self.pool)
        assert [entry.instance.number for entry in self.pool.shelf] == model.idle
        assert {caller: handle.instance.number for caller, handle in self.handles.items()} == model.held
        assert (stats.in_use, stats.waiting, stats.size) == (
            len(model.held),
            len(model.waiting),
            model.living,
        )
        assert (stats.state, stats.max, stats.created) == (model.state, model.max_size, model.made)
        assert sorted(self.tasks) == sorted(model.waiting)
        assert {instance.number for instance in self.resource.alive} == {*model.idle, *model.held.values()}

    def teardown(self) -> None:
        """Leave nothing behind."""
        if self.pool is not None:
            self.close_at_the_end()
            assert self.pool is not None
            self.run(self.pool.close(0.0))
        self.loop.close()


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPoolAgainstItsModel = PoolMachine.TestCase


def test_a_failing_server_is_asked_for_a_whole_line_before_anything_is_compared() -> None:
    """One place that becomes free under a failing server ends the wait of everybody in a long line, one by one."""
    machine = PoolMachine()
    machine.open(1, lifo=False, recycles=True)
    for _ in range(30):
        machine.acquire()
    machine.fail(fails=True)
    machine.detach(pick=0)
    machine.the_same()
    assert not machine.tasks
    assert machine.resource.calls["create"] == 30
    machine.teardown()
