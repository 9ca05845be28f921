"""OpenScope: one block (a request, an action) that memoises leases and gives them back with the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, overload

from nebula_resource._aio import OwnedTasks, cancel_soundly
from nebula_resource.errors import CleanupError, NoOpenScope
from nebula_resource.manager.current import current_scope, enter, leave
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.scope import Scope, ScopeLevel

if TYPE_CHECKING:
    from nebula_resource.manager.checkout import ScopedAcquisition
    from nebula_resource.manager.manager import Manager
    from nebula_resource.manager.scope_block import ScopeBlock

__all__ = ["NOTHING", "Finalizer", "OpenScope", "current_scope"]

T = TypeVar("T")

Finalizer: TypeAlias = "Callable[[BaseException | None], Awaitable[object] | None]"

NOTHING: Any = object()
"""In place of a value: it is being acquired."""

FINALIZER_TIMEOUT = 10.0
"""Seconds that one finalizer may take, as a pool's ``cleanup_timeout``: closing always ends."""


class _Lease:
    """One thing that an open scope holds, or is getting."""

    __slots__ = ("acquisition", "task", "value")

    def __init__(self) -> None:
        self.acquisition: ScopedAcquisition[Any] | _Kept | None = None
        self.task: asyncio.Task[Any] | None = None
        self.value: Any = NOTHING


class _Kept:
    """A user's context manager in the place of an acquisition: its exit is given a limited time."""

    __slots__ = ("_manager", "_scope")

    def __init__(self, scope: OpenScope, manager: AbstractAsyncContextManager[Any]) -> None:
        self._scope = scope
        self._manager = manager

    async def __aenter__(self) -> Any:
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope._end_in_time(self._manager.__aexit__(kind, error, trace))

    def leave_now(self) -> bool:
        return False


class OpenScope:
    """Leases of one block: one for each key, shared by all who ask inside the block.

    Made by ``manager.scope(...)``. ``scope`` is the value, ``parent`` the open scope around it, ``opener`` the one
    whose block opened it: its parent, except for an action that was called by an action.
    """

    __slots__ = (
        "_closed",
        "_context",
        "_finalizers",
        "_leases",
        "_manager",
        "_tasks",
        "_users",
        "opener",
        "outcome",
        "parent",
        "scope",
    )

    def __init__(
        self,
        manager: Manager,
        scope: Scope,
        context: ResourceContext,
        parent: OpenScope | None,
        opener: OpenScope | None,
    ) -> None:
        self._manager = manager
        self._context = context
        self._leases: dict[Hashable, _Lease] = {}
        self._closed = False
        # What most scopes never need is made when it is.
        self._tasks: OwnedTasks | None = None
        self._finalizers: list[Finalizer] | None = None
        self._users: dict[Hashable, OpenScope] | None = None
        self.scope = scope
        self.parent = parent
        self.opener = opener
        self.outcome: BaseException | None = None
        """An error that an outer layer turned into an answer: leases end with it although the block ends well."""

    def __repr__(self) -> str:
        return f"<OpenScope {self.scope.level.name} {'closed' if self._closed else 'open'}: {len(self._leases)} leases>"

    @property
    def level(self) -> ScopeLevel:
        """The level of its scope."""
        return self.scope.level

    @property
    def manager(self) -> Manager:
        """Whose leases it holds."""
        return self._manager

    @property
    def context(self) -> ResourceContext:
        """What its acquires carry."""
        context = self._context
        if context.scope is not self.scope:
            context = self._context = context.with_scope(self.scope)
        return context

    @property
    def is_closed(self) -> bool:
        """Whether it gives nothing any more."""
        return self._closed

    @property
    def finalizers(self) -> list[Finalizer]:
        """Called with the outcome when the scope closes, last first, before the leases end.

        Each may return an awaitable, which may take `FINALIZER_TIMEOUT` seconds.
        """
        if self._finalizers is None:
            self._finalizers = []
        return self._finalizers

    def at(self, level: ScopeLevel | str) -> OpenScope:
        """The enclosing open scope of a level, this one included. Raises `NoOpenScope`."""
        wanted = ScopeLevel.parse(level)
        here: OpenScope | None = self
        while here is not None:
            if here.scope.level is wanted:
                return here
            here = here.parent
        raise NoOpenScope(
            f"no {wanted.name} scope is open here; open one with: async with manager.scope({wanted.name.lower()}=...)"
        )

    # ── leases ──

    @overload
    async def get(self, key: ResourceKey[T]) -> T: ...

    @overload
    async def get(self, key: str) -> Any: ...

    async def get(self, key: str) -> Any:
        """The value leased for this key: acquired once, shared by all who ask here, given back when the block ends.

        A failed acquire is raised to all who waited for it, and is not remembered.

        Raises:
            NoOpenScope: the block has ended.
            ResourceError: what ``manager.acquire`` raises.
        """
        value = self.take(key, key)
        if value is NOTHING:
            value = await self.wait(key, key)
        return value

    def held(self, key: str, level: ScopeLevel) -> Coroutine[Any, Any, Any]:
        """The value of a lease that the enclosing scope of ``level`` holds for this call chain.

        Who gets it is decided now, not when the result is awaited. Raises `NoOpenScope`.
        """
        holder, slot = self.holder_of(key, level)
        return holder._fetch(slot, key)

    async def _fetch(self, slot: Hashable, key: str) -> Any:
        value = self.take(slot, key)
        if value is NOTHING:
            value = await self.wait(slot, key)
        return value

    def holder_of(self, key: str, level: ScopeLevel) -> tuple[OpenScope, Hashable]:
        """The scope whose lease this call chain uses for ``hold=level``, and the slot it has there.

        The held lease passes from a block to one block opened in it at a time, the first that asks: two that are open
        together never share it. Another gets a lease of its own, which serves what is nested in it by the same rule.
        """
        top = self.at(level)
        path: list[OpenScope] = []
        here = self
        while here is not top:
            path.append(here)
            assert here.opener is not None, "every scope was opened somewhere inside the ones around it"
            here = here.opener
        mark = (key, level)
        holder, slot = top, cast("Hashable", key)
        for child in reversed(path):
            if mark in child._leases:
                holder, slot = child, mark
            else:
                users = here._users
                if users is None:
                    users = here._users = {}
                user = users.get(mark)
                if user is None or user is child or user._closed:
                    users[mark] = child
                else:
                    holder, slot = child, mark
            here = child
        return holder, slot

    def take(self, slot: Hashable, key: str) -> Any:
        """The value of a lease, if it may be had without an await; else `NOTHING`, and it is on its way: `wait`."""
        lease = self._leases.get(slot)
        if lease is not None:
            return lease.value
        if self._closed:
            raise _after_the_end(key)
        lease = self._leases[slot] = _Lease()
        acquisition = self._manager.acquire_within(self, key)
        try:
            value = acquisition.take_now()
        except BaseException:
            del self._leases[slot]
            raise
        if value is self._manager.not_now:
            lease.task = self._owner().spawn(self._acquire(slot, lease, acquisition), name=str(key))
            return NOTHING
        # ours from here on
        lease.acquisition = acquisition
        lease.value = value
        return value

    async def wait(self, slot: Hashable, key: str) -> Any:
        """Wait for what `take` began. One who is cancelled here leaves the others waiting."""
        lease = self._leases.get(slot)
        if lease is None:  # it failed, or the scope closed, before anyone waited: say so by asking again
            return await self._fetch(slot, key)
        if lease.value is not NOTHING:
            return lease.value
        task = lease.task
        assert task is not None, "a lease has its value, or a task that fetches it"
        await asyncio.wait((task,))
        if task.cancelled():
            raise _after_the_end(key)
        return task.result()

    async def _acquire(
        self, slot: Hashable, lease: _Lease, acquisition: ScopedAcquisition[Any] | _Kept
    ) -> Any:
        leases = self._leases
        try:
            value = await acquisition.__aenter__()
        except BaseException:
            if leases.get(slot) is lease:
                del leases[slot]
            raise
        # ours from here on: it is in the books, so closing gives it back, and before what it was made from
        leases[slot] = leases.pop(slot)
        lease.acquisition = acquisition
        lease.value = value
        return value

    def holds(self, key: str) -> bool:
        """Whether a lease for this key is held, or being acquired."""
        return key in self._leases

    def _owner(self) -> OwnedTasks:
        if self._tasks is None:
            self._tasks = OwnedTasks("nebula scope", on_error=_told_to_who_waits)
        return self._tasks

    # ── beside leases ──

    def kept(self, slot: Hashable) -> Any:
        """What `keep` or `put` holds under ``slot``; `NOTHING` when it is on its way (`wait`); None when there is none."""
        lease = self._leases.get(slot)
        return None if lease is None else lease.value

    def keep(self, slot: Hashable, manager: AbstractAsyncContextManager[T]) -> Coroutine[Any, Any, T]:
        """Enter a context manager for the rest of this scope; it ends with the leases, in their order, with the outcome.

        Under one ``slot`` one is kept: who asks for another gets the first. It is begun now, and the result is awaited.
        Its exit may take `FINALIZER_TIMEOUT` seconds. Raises `NoOpenScope` and what entering raises.
        """
        lease = self._leases.get(slot)
        if lease is None:
            if self._closed:
                raise _after_the_end(str(slot))
            lease = self._leases[slot] = _Lease()
            lease.task = self._owner().spawn(
                self._acquire(slot, lease, _Kept(self, manager)), name=f"keep {slot}"
            )
        return self.wait(slot, str(slot))

    def put(self, slot: Hashable, value: object, manager: AbstractAsyncContextManager[Any]) -> None:
        """Keep a value whose context manager is to be left only. Raises `NoOpenScope`."""
        if self._closed:
            raise _after_the_end(str(slot))
        lease = self._leases[slot] = _Lease()
        lease.acquisition = _Kept(self, manager)
        lease.value = value

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine with this scope as the current one."""
        token = enter(self)
        try:
            return await work
        finally:
            leave(token)

    def part(self) -> OpenScope:
        """A block inside this one with the same scope and leases of its own; it counts as no scope of its own."""
        return OpenScope(self._manager, self.scope, self._context, self, self)

    def detach(self) -> ScopeBlock:
        """A sibling with its own leases, for background work: ``async with scope.detach():`` may outlive this one.

        Neither the deadline nor the cancellation of this scope's context goes with it.
        """
        from nebula_resource.manager.scope_block import ScopeBlock  # it is made of open scopes

        free = self.context.with_deadline(None).with_cancellation(None)
        return ScopeBlock(self._manager, free, parent=self.parent, opener=self.parent)

    # ── the end ──

    def close_now(self) -> bool:
        """End after a block that ended well, if that takes no await; False when `close` has something left to do."""
        self._closed = True
        if self.outcome is not None or self._finalizers:
            return False
        leases = self._leases
        while leases:
            slot, lease = leases.popitem()
            if lease.acquisition is None or not lease.acquisition.leave_now():
                leases[slot] = lease
                return False
        return True

    async def close(
        self, error: BaseException | None
    ) -> tuple[list[BaseException], asyncio.CancelledError | None]:
        """Give everything back, the last first, with the outcome.

        It goes on through any number of cancellations of the caller. Returns what went wrong on the way, and the last
        of those cancellations, which the caller raises.
        """
        self._closed = True
        closing = self._owner().spawn(self._close(error or self.outcome), name="close", awaited=True)
        cancelled: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.wait((closing,))
            except asyncio.CancelledError as raised:
                cancelled = raised  # put off, not swallowed
        return closing.result(), cancelled

    async def _close(self, error: BaseException | None) -> list[BaseException]:
        errors: list[BaseException] = []
        await self._cancel_pending()
        while self._finalizers:
            try:
                await self._finalize(self._finalizers.pop(), error)
            except BaseException as raised:
                errors.append(raised)
                error = error or raised  # what is ended after it did not end well
        while self._leases:
            _, lease = self._leases.popitem()
            if lease.acquisition is None:
                continue
            try:
                if error is None:
                    await lease.acquisition.__aexit__(None, None, None)
                else:
                    await lease.acquisition.__aexit__(type(error), error, error.__traceback__)
            except BaseException as raised:
                if raised is not error:
                    errors.append(raised)
                error = error or raised
        return errors

    async def _cancel_pending(self) -> None:
        pending = [
            lease.task for lease in self._leases.values() if lease.task is not None and not lease.task.done()
        ]
        for task in pending:
            cancel_soundly(task)
        if pending:
            await asyncio.wait(pending)

    async def _finalize(self, finalizer: Finalizer, error: BaseException | None) -> None:
        step = finalizer(error)
        if step is not None:
            await self._end_in_time(step)

    async def _end_in_time(self, step: Awaitable[object]) -> None:
        """Wait for a user's last step, but not for ever."""
        owner = self._owner()
        task = owner.spawn(_awaited(step), name="finalizer", awaited=True)
        await asyncio.wait((task,), timeout=FINALIZER_TIMEOUT)
        if task.done():
            task.result()
            return
        task.cancel()
        owner.unwatch(task)
        raise CleanupError(TimeoutError(f"a finalizer of the scope took longer than {FINALIZER_TIMEOUT:g} s"))


async def _awaited(step: Awaitable[object]) -> None:
    await step


def _after_the_end(key: str) -> NoOpenScope:
    return NoOpenScope(
        f"the open scope is closed; '{key}' was asked for after its block ended (in a background task? use: "
        "async with scope.detach())",
        resource_id=key,
    )


def _told_to_who_waits(error: BaseException, task: str) -> None:
    """Errors of a shared acquire are raised to those who wait for it; nobody waiting means nobody wants it."""
