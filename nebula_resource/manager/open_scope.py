"""OpenScope: one block (a request, an action) that memoises leases and gives them back with the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import NoOpenScope
from nebula_resource.manager.current import Visit, current_scope
from nebula_resource.manager.held import NOTHING, Held, Hit, Kept, Lease
from nebula_resource.manager.hold import holder_of
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.scope import Scope, ScopeLevel

if TYPE_CHECKING:
    from nebula_resource.manager.acquisition import ScopedAcquisition
    from nebula_resource.manager.block import Block
    from nebula_resource.manager.manager import Manager
    from nebula_resource.pool import Pool
    from nebula_resource.pool.entry import Entry

__all__ = ["NOTHING", "Finalizer", "OpenScope", "current_scope"]

T = TypeVar("T")
IN_USE, IDLE = Lifecycle.IN_USE, Lifecycle.IDLE

Finalizer: TypeAlias = "Callable[[BaseException | None], Awaitable[object] | None]"


class _Rare:
    """What most open scopes never need."""

    __slots__ = ("finalizers", "outcome", "tasks", "users")

    def __init__(self) -> None:
        self.finalizers: list[Finalizer] = []
        self.outcome: BaseException | None = None
        self.tasks = OwnedTasks("nebula scope", on_error=_told_to_who_waits)
        self.users: dict[Hashable, OpenScope] = {}


class OpenScope:
    """Leases of one block: one for each key, shared by all who ask inside the block.

    Made by ``manager.scope(...)``. ``scope`` is the value, ``parent`` the open scope around it, ``opener`` the one
    whose block opened it: its parent, except for an action that was called by an action.
    """

    __slots__ = (
        "_closed", "_context", "_entry", "_key", "_manager", "_more", "_opener", "_parent", "_pool", "_rare", "scope"
    )  # fmt: skip  # one list of names

    _closed: bool | None  # None: not entered yet
    _context: ResourceContext | None
    _entry: (
        Entry | None
    )  # the first lease, if it was had by the shortest road, with its key and its pool: no dict for one
    _key: Hashable
    _more: dict[Hashable, Held] | None  # all the others, the oldest first
    _opener: OpenScope | None
    _parent: OpenScope | None
    _pool: Pool[Any, Any, Any]
    _rare: _Rare | None

    def __init__(
        self,
        manager: Manager,
        scope: Scope,
        context: ResourceContext | None,
        parent: OpenScope | None,
        opener: OpenScope | None,
    ) -> None:
        self._manager = manager
        self._context = context
        self._parent = parent
        self._opener = opener
        self._rare = self._entry = self._more = None
        self._closed = False
        self.scope = scope

    def __repr__(self) -> str:
        state = {None: "not entered", False: "open", True: "closed"}[self._closed]
        leases = (self._entry is not None) + (0 if self._more is None else len(self._more))
        return f"<OpenScope {self.scope.level.name} {state}: {leases} leases>"

    @property
    def level(self) -> ScopeLevel:
        """The level of its scope."""
        return self.scope.level

    @property
    def manager(self) -> Manager:
        """Whose leases it holds."""
        return self._manager

    @property
    def parent(self) -> OpenScope | None:
        """The open scope around it."""
        return self._parent

    @property
    def opener(self) -> OpenScope | None:
        """The open scope in whose block it was opened."""
        return self._opener

    @property
    def origin(self) -> OpenScope | None:
        """The same; of what ``detach`` gave, the scope that it was beside."""
        return self.opener

    @property
    def beneath(self) -> OpenScope | None:
        """The scope that was the current one when this was entered, be it another manager's."""
        return self.opener

    @property
    def context(self) -> ResourceContext:
        """What its acquires carry."""
        context = self._context
        if context is None:
            around = self._parent
            context = self._context = (
                ResourceContext(self.scope) if around is None else around.context.with_scope(self.scope)
            )
        elif context.scope is not self.scope:
            context = self._context = context.with_scope(self.scope)
        return context

    @property
    def is_closed(self) -> bool:
        """Whether it gives nothing any more."""
        return self._closed is True

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
        entry = self._entry
        if entry is None:
            if self._more is None and self._closed is False:
                # The shortest road, written out: the first lease, of what is idle and needs no looking at.
                manager = self._manager
                registration = manager.for_all.get(key) or manager.find(key, self.scope)
                if (take := registration.take) is not None:
                    try:
                        self._entry = entry = take()  # ours from here on
                    except IndexError:
                        pass  # nothing idle
                    else:
                        self._pool = pool = registration.pool
                        self._key = key
                        entry.state = IN_USE
                        entry.uses = uses = entry.uses + 1
                        return entry.instance if uses < entry.timed_next else pool.time_this(entry)
        elif self._key == key:
            return entry.instance
        value = self.take(key, key)
        return await self.wait(key, key) if value is NOTHING else value

    def take(self, slot: Hashable, key: str) -> Any:
        """The value of a lease, if it may be had without an await; else `NOTHING`, and it is on its way: `wait`."""
        if self._entry is None and self._more is None and self._closed is False:
            manager = self._manager
            registration = manager.for_all.get(key) or manager.find(key, self.scope)
            if (take := registration.take) is not None:  # the shortest road, as in `get`
                try:
                    self._entry = entry = take()  # ours from here on
                except IndexError:
                    pass  # nothing idle
                else:
                    self._pool = pool = registration.pool
                    self._key = slot
                    entry.state = IN_USE
                    entry.uses = uses = entry.uses + 1
                    return entry.instance if uses < entry.timed_next else pool.time_this(entry)
        return self._take_more(slot, key)

    def _take_more(self, slot: Hashable, key: str) -> Any:
        """The same for what is held already, comes beside something else, or cannot be had at once."""
        held = self._find(slot)
        if held is not None:
            return held.value
        if self._closed is not False:
            raise self._not_open(key)
        manager = self._manager
        registration = manager.find(key, self.scope)
        if (take := registration.take) is not None:
            try:
                entry = take()
            except IndexError:
                pass  # nothing idle
            else:
                pool = registration.pool
                self._others()[slot] = Hit(entry, pool)
                entry.state = IN_USE
                entry.uses = uses = entry.uses + 1
                return entry.instance if uses < entry.timed_next else pool.time_this(entry)
        lease = self._others()[slot] = Lease()
        acquisition = manager.acquire_within(self, key)
        lease.task = self.tasks.spawn(self._acquire(slot, lease, acquisition), name=str(key))
        return NOTHING

    def _find(self, slot: Hashable) -> Entry | Held | None:
        """What is held under a slot."""
        if self._entry is not None and self._key == slot:
            return self._entry
        return None if self._more is None else self._more.get(slot)

    def _others(self) -> dict[Hashable, Held]:
        if self._more is None:
            self._more = {}
        return self._more

    async def wait(self, slot: Hashable, key: str) -> Any:
        """Wait for what `take` began. One who is cancelled here leaves the others waiting."""
        held = self._find(slot)
        if held is None:  # it failed, or the scope closed, before anyone waited: say so by asking again
            value = self.take(slot, key)
            return await self.wait(slot, key) if value is NOTHING else value
        return await self.value_of(held, key)

    async def value_of(self, held: Entry | Held, key: str) -> Any:
        """What is held, or what became of fetching it; whoever asks for it has found it before."""
        if held.value is not NOTHING or not isinstance(held, Lease):
            return held.value
        task = held.task
        assert task is not None, "a lease has its value, or a task that fetches it"
        await asyncio.wait((task,))
        if task.cancelled():
            raise self._not_open(key)
        return task.result()

    async def _acquire(self, slot: Hashable, lease: Lease, acquisition: ScopedAcquisition[Any] | Kept) -> Any:
        leases = self._others()
        try:
            value = await acquisition.__aenter__()
        except BaseException:
            if leases.get(slot) is lease:
                del leases[slot]
            raise
        if leases.get(slot) is not lease:
            # The scope has ended, and could not wait for it any longer.
            late = self._not_open(str(slot))
            await acquisition.__aexit__(type(late), late, None)
            raise late
        # ours from here on: it is in the books, so closing gives it back, and before what it was made from
        leases[slot] = leases.pop(slot)
        lease.acquisition = acquisition
        lease.value = value
        return value

    def holds(self, slot: Hashable) -> bool:
        """Whether something is held, or being acquired, under this key."""
        return self._find(slot) is not None

    def held(self, key: str, level: ScopeLevel) -> Coroutine[Any, Any, Any]:
        """The value of a lease that the enclosing scope of ``level`` holds for this call chain.

        Who gets it is decided now, not when the result is awaited. Raises `NoOpenScope`.
        """
        holder, slot = holder_of(self, key, level)
        return holder._fetch(slot, key)

    async def _fetch(self, slot: Hashable, key: str) -> Any:
        value = self.take(slot, key)
        return await self.wait(slot, key) if value is NOTHING else value

    def _not_open(self, key: str) -> NoOpenScope:
        if self._closed:
            why = "after its block ended (in a background task? use: async with scope.detach())"
        else:
            why = "before its block began: async with manager.scope(...) as scope"
        return NoOpenScope(f"the scope is not open: '{key}' was asked for {why}", resource_id=key)

    # ── what else is kept ──

    def keep(self, slot: Hashable, manager: AbstractAsyncContextManager[T]) -> Coroutine[Any, Any, T]:
        """Enter a context manager for the rest of this scope; it ends with the leases, in their order, with the outcome.

        Under one ``slot`` one is kept: who asks for another gets the first. It is begun now, and the result is awaited.
        Its exit may take `END_TIMEOUT` seconds. Raises `NoOpenScope` and what entering raises.
        """
        held = self._find(slot)
        if held is None:
            held = lease = self._new_lease(slot)
            lease.task = self.tasks.spawn(
                self._acquire(slot, lease, Kept(manager, self.tasks)), name=f"keep {slot}"
            )
        return self.value_of(held, str(slot))

    def put(self, slot: Hashable, value: object, manager: AbstractAsyncContextManager[Any]) -> None:
        """Keep a value whose context manager is to be left only. Raises `NoOpenScope`."""
        lease = self._new_lease(slot)
        lease.acquisition = Kept(manager, self.tasks)
        lease.value = value

    def kept(self, slot: Hashable) -> Lease | None:
        """What `keep` or `put` holds under ``slot``; its value is `NOTHING` while it is on its way: see `value_of`."""
        held = self._find(slot)
        return held if isinstance(held, Lease) else None

    def check_open(self, what: str) -> None:
        """Raise `NoOpenScope` where it gives nothing: before its block began, and after."""
        if self._closed is not False:
            raise self._not_open(what)

    def _new_lease(self, slot: Hashable) -> Lease:
        self.check_open(str(slot))
        lease = self._others()[slot] = Lease()
        return lease

    # ── beside leases ──

    @property
    def finalizers(self) -> list[Finalizer]:
        """Called with the outcome when the scope closes, last first, before the leases end.

        Each may return an awaitable, which may take `END_TIMEOUT` seconds.
        """
        return self._rarely().finalizers

    @property
    def outcome(self) -> BaseException | None:
        """An error that an outer layer turned into an answer: leases end with it although the block ends well."""
        return None if self._rare is None else self._rare.outcome

    @outcome.setter
    def outcome(self, error: BaseException | None) -> None:
        self._rarely().outcome = error

    @property
    def tasks(self) -> OwnedTasks:
        """The tasks that wait for its leases and end them."""
        return self._rarely().tasks

    @property
    def users(self) -> dict[Hashable, OpenScope]:
        """Which block opened in it uses a held lease now, see `holder_of`."""
        return self._rarely().users

    def _rarely(self) -> _Rare:
        rare = self._rare
        if rare is None:
            rare = self._rare = _Rare()
        return rare

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine with this scope as the current one."""
        with Visit(self):
            return await work

    def detach(self) -> Block:
        """A sibling with its own leases, for background work: ``async with scope.detach():`` may outlive this one.

        Neither the deadline nor the cancellation of this scope's context goes with it.
        """
        from nebula_resource.manager.block import Sibling  # it is an open scope

        free = self.context.with_deadline(None).with_cancellation(None)
        return Sibling(self, free)

    # ── the end ──

    def close_now(self) -> bool:
        """End after a block that ended well, if that takes no await; False when `close` has something left to do."""
        self._closed = True
        rare = self._rare
        if rare is not None and (rare.finalizers or rare.outcome is not None):
            return False
        more = self._more
        while more:
            slot, held = more.popitem()
            if not isinstance(held, Hit) or not _end_hit(held.entry, held.pool):
                more[slot] = held
                return False
        entry = self._entry
        if entry is not None:
            self._entry = None
            if not _end_hit(entry, self._pool):
                self._entry = entry
                return False
        return True

    def pending(self) -> list[asyncio.Task[Any]]:
        """The tasks of what is still being acquired."""
        held = () if self._more is None else self._more.values()
        tasks = [each.task for each in held if isinstance(each, Lease) and each.task is not None]
        return [task for task in tasks if not task.done()]

    def give_up(self, tasks: Collection[asyncio.Task[Any]]) -> None:
        """Take what these tasks still acquire out of the books: they give it back themselves if they ever get it."""
        more = self._others()
        for slot, held in list(more.items()):
            if isinstance(held, Lease) and held.task in tasks:
                del more[slot]

    def pop(self) -> Held | None:
        """Take the newest lease out of the books, for whoever ends it; None when there is none left."""
        if self._more:
            return self._more.popitem()[1]
        entry, self._entry = self._entry, None
        return None if entry is None else Hit(entry, self._pool)

    def refuse_more(self) -> None:
        """From now on nothing new is leased: it is being closed."""
        self._closed = True


def _end_hit(entry: Entry, pool: Pool[Any, Any, Any]) -> bool:
    """Give back after a use that ended well, if that takes no await."""
    if entry.attention and (entry.sampled_at is None or not pool.timed(entry)):
        return False
    if pool.line.waiters:
        pool.desk.pass_on(entry)
    else:
        entry.state = IDLE
        pool.shelf.put_hot(entry)
    return True


def _told_to_who_waits(error: BaseException, task: str) -> None:
    """Errors of a shared acquire are raised to those who wait for it; nobody waiting means nobody wants it."""
