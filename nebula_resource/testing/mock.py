"""MockResource: a resource that does what a script says, step by step, and remembers what was done to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from nebula_resource.model.resource import Resource

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext

__all__ = ["MockError", "MockInstance", "MockLease", "MockResource", "Outcome", "Player", "Script"]


class Outcome(Enum):
    """How one step goes."""

    OK = "ok"
    """Well, after `Player.turns` turns of the loop."""
    ERROR = "error"
    """Those turns, then a `MockError`."""
    SLOW = "slow"
    """Well, after `Player.slow` seconds."""
    NEVER = "never"
    """Not at all, until it is cancelled."""


class MockError(Exception):
    """What a step with the outcome ERROR raises."""


Turn: TypeAlias = "Outcome | BaseException | Callable[[], Any]"
Script: TypeAlias = "Turn | Iterable[Turn]"
"""One turn for every call, or several in order of which the last goes on for ever.

An exception is raised as it is; a callable is called, and awaited if it returns an awaitable.
"""


class Player:
    """Plays scripts: one turn of a step's script for each call of the step.

    Args:
        turns: turns of the loop that OK and ERROR take.
        slow: seconds that SLOW takes.
    """

    def __init__(self, *, turns: int = 0, slow: float = 1.0) -> None:
        self.turns = turns
        self.slow = slow
        self.calls: Counter[str] = Counter()
        """How often each step was begun."""
        self._scripts: dict[str, list[Turn]] = {}

    def script(self, step: str, script: Script) -> None:
        """Say how a step goes from now on."""
        turns = list(script) if isinstance(script, Iterable) else [script]
        if not turns:
            raise ValueError(f"the script of {step} has no turn")
        self._scripts[step] = turns

    def next(self, step: str) -> Turn:
        """The turn of this call; the last one of a script goes on for ever."""
        self.calls[step] += 1
        turns = self._scripts[step]
        return turns.pop(0) if len(turns) > 1 else turns[0]

    async def play(self, step: str) -> Any:
        """Play one turn; returns what a callable gave, else None."""
        turn = self.next(step)
        if isinstance(turn, BaseException):
            raise turn
        if callable(turn):
            given = turn()
            return await given if isinstance(given, Awaitable) else given
        if turn is Outcome.SLOW:
            await asyncio.sleep(self.slow)
        elif turn is Outcome.NEVER:
            await asyncio.get_running_loop().create_future()
        else:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if turn is Outcome.ERROR:
                raise MockError(step)
        return None


class MockInstance:
    """One instance of a `MockResource`, as its server sees it."""

    __slots__ = ("__weakref__", "broken", "is_open", "number", "users")

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_open = True
        """From its creation until its cleanup begins."""
        self.broken = False
        """What `MockResource.is_broken` says of it."""
        self.users = 0

    def __repr__(self) -> str:
        return f"<MockInstance #{self.number}{'' if self.is_open else ' closed'}>"

    @contextmanager
    def used(self) -> Generator[MockInstance]:
        """Use it in a block. Raises `AssertionError` when it is closed or somebody else uses it."""
        assert self.is_open, f"{self!r} is used after its cleanup"
        assert self.users == 0, f"{self!r} is lent to two at once"
        self.users += 1
        try:
            yield self
        finally:
            self.users -= 1


class MockResource(Resource[Any, MockInstance, Any]):
    """A resource for tests, scripted for every step.

    A step that is given no script is left at the resource's default, as in a class that does not override it; so a
    pool's shortcuts can be tested as well. ``create`` and ``cleanup`` always have one.

    Args:
        id: the resource's id.
        create: how creations go.
        is_valid: how validations go; ERROR raises, and `says_valid` is the answer of the others.
        recycle: how resets go; a coroutine function, or a plain one with ``sync_recycle``.
        cleanup: how cleanups go.
        lease_entry: how a lease begins; giving it, or ``lease_exit``, makes callers get a `MockLease`.
        lease_exit: how a lease ends.
        looks_broken: whether ``is_broken`` is overridden, and says what `MockInstance.broken` says.
        sync_recycle: ``recycle`` is a plain function; OK and ERROR only.
        turns: turns of the loop that OK and ERROR take.
        slow: seconds that SLOW takes.
    """

    def __init__(
        self,
        id: str = "mock",
        *,
        create: Script = Outcome.OK,
        is_valid: Script | None = None,
        recycle: Script | None = None,
        cleanup: Script = Outcome.OK,
        lease_entry: Script | None = None,
        lease_exit: Script | None = None,
        looks_broken: bool = False,
        sync_recycle: bool = False,
        turns: int = 0,
        slow: float = 1.0,
    ) -> None:
        self.id = id
        self.player = Player(turns=turns, slow=slow)
        self.says_valid = True
        self.fault: Callable[[BaseException], bool] = lambda error: False
        """What ``is_fault`` says."""
        self.made: list[MockInstance] = []
        """Every instance that ever was."""
        self.outcomes: list[BaseException | None] = []
        """How the body of each ended lease ended."""
        self.contexts: list[ResourceContext] = []
        """What each create was given."""
        self.script("create", create)
        self.script("cleanup", cleanup)
        if is_valid is not None:
            self.script("is_valid", is_valid)
            self.is_valid = self._is_valid  # type: ignore[method-assign]  # overridden on the instance, on purpose
        if recycle is not None:
            self.script("recycle", recycle)
            self.recycle = self._recycle_now if sync_recycle else self._recycle  # type: ignore[method-assign]  # the same
        if lease_entry is not None or lease_exit is not None:
            self.script("lease_entry", Outcome.OK if lease_entry is None else lease_entry)
            self.script("lease_exit", Outcome.OK if lease_exit is None else lease_exit)
            self.lease = self._lease  # type: ignore[method-assign]  # the same
        if looks_broken:
            self.is_broken = lambda instance: instance.broken  # type: ignore[method-assign]  # the same

    def script(self, step: str, script: Script) -> None:
        """Say how a step goes from now on; one that was left at its default stays there."""
        self.player.script(step, script)

    @property
    def calls(self) -> Counter[str]:
        """How often each step was begun."""
        return self.player.calls

    # ── what the server sees ──

    @property
    def alive(self) -> set[MockInstance]:
        """Instances whose cleanup has not begun."""
        return {instance for instance in self.made if instance.is_open}

    # ── the steps ──

    async def create(self, config: Any, context: ResourceContext) -> MockInstance:
        """Make one, as scripted."""
        self.contexts.append(context)
        given = await self.player.play("create")
        if given is not None:
            return given  # type: ignore[no-any-return]  # a callable of the script makes what it likes
        instance = MockInstance(len(self.made) + 1)
        self.made.append(instance)
        return instance

    async def cleanup(self, instance: MockInstance) -> None:
        """End one, as scripted; for the server it is gone as soon as this begins."""
        instance.is_open = False
        await self.player.play("cleanup")

    def is_fault(self, error: BaseException) -> bool:
        """Ask `fault`."""
        return self.fault(error)

    async def _is_valid(self, instance: MockInstance) -> bool:
        given = await self.player.play("is_valid")
        return self.says_valid if given is None else bool(given)

    async def _recycle(self, instance: MockInstance) -> None:
        await self.player.play("recycle")

    def _recycle_now(self, instance: MockInstance) -> Awaitable[None] | None:
        turn = self.player.next("recycle")
        if turn is Outcome.OK:
            return None
        if isinstance(turn, BaseException):
            raise turn
        if callable(turn):
            turn()
            return None
        raise MockError("recycle")

    def _lease(
        self, instance: MockInstance, context: ResourceContext
    ) -> AbstractAsyncContextManager[MockLease]:
        return self._leased(instance, context)

    @asynccontextmanager
    async def _leased(self, instance: MockInstance, context: ResourceContext) -> AsyncGenerator[MockLease]:
        await self.player.play("lease_entry")
        lease = MockLease(instance, context)
        outcome: BaseException | None = None
        try:
            yield lease
        except BaseException as error:
            outcome = error
            raise
        finally:
            lease.is_open = False
            self.outcomes.append(outcome)
            await self.player.play("lease_exit")


class MockLease:
    """What callers of a leased `MockResource` get."""

    __slots__ = ("context", "instance", "is_open")

    def __init__(self, instance: MockInstance, context: ResourceContext) -> None:
        self.instance = instance
        self.context = context
        self.is_open = True
