"""OpenScope: one block (a request, an action) that memoises leases and gives them back with the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from nebula_resource._aio import OwnedTasks, cancel_soundly
from nebula_resource.errors import ConfigurationError, NoOpenScope
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.scope import Scope, ScopeLevel

if TYPE_CHECKING:
    from nebula_resource.manager.checkout import ScopedAcquisition
    from nebula_resource.manager.manager import Manager

__all__ = ["Detached", "OpenScope", "ScopeBlock", "current_scope"]

T = TypeVar("T")

_current: ContextVar[OpenScope | None] = ContextVar("nebula_resource_scope", default=None)
_NOTHING: Any = object()


def current_scope() -> OpenScope | None:
    """The innermost open scope of this call chain, or None."""
    return _current.get()


class Detached:
    """``with manager.detached():`` leaves the open scopes of this call chain; operators and janitors only."""

    __slots__ = ("_token",)

    _token: Token[OpenScope | None]

    def __enter__(self) -> None:
        self._token = _current.set(None)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class _Lease:
    """One key's lease in one open scope: being acquired, or held."""

    __slots__ = ("acquisition", "task", "value")

    def __init__(self) -> None:
        self.acquisition: ScopedAcquisition[Any] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.value: Any = _NOTHING


class OpenScope:
    """Leases of one block: one for each key, shared by all who ask inside the block.

    Made by ``manager.scope(...)``. ``scope`` is the value, ``context`` what its acquires carry, ``parent`` the open
    scope around it.
    """

    __slots__ = (
        "_closed",
        "_leases",
        "_manager",
        "_tasks",
        "context",
        "finalizers",
        "outcome",
        "parent",
        "scope",
    )

    def __init__(self, manager: Manager, context: ResourceContext, parent: OpenScope | None) -> None:
        self._manager = manager
        self._leases: dict[str, _Lease] = {}
        self._tasks: OwnedTasks | None = None
        self._closed = False
        self.context = context
        self.scope: Scope = context.scope
        self.parent = parent
        self.outcome: BaseException | None = None
        """An error that an outer layer turned into an answer: leases end with it although the block ends well."""
        self.finalizers: list[Any] = []
        """Called, last first, with the outcome when the scope closes; each may return an awaitable."""

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
    def is_closed(self) -> bool:
        """Whether it gives nothing any more."""
        return self._closed

    def at(self, level: ScopeLevel | str) -> OpenScope:
        """The enclosing open scope of a level, this one included. Raises `NoOpenScope`."""
        wanted = ScopeLevel.parse(level)
        here: OpenScope | None = self
        while here is not None:
            if here.level is wanted:
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
        """
        lease = self._leases.get(key)
        if lease is None:
            self._refuse_if_closed(key)
            lease = self._leases[key] = _Lease()
            acquisition = self._manager.acquire_within(self.context, key)
            try:
                value = acquisition.take_now()
            except BaseException:
                del self._leases[key]
                raise
            if value is not self._manager.not_now:
                lease.acquisition = acquisition
                lease.value = value
                return value
            lease.task = self._owner().spawn(
                self._acquire(key, lease, acquisition), name=str(key), awaited=True
            )
        elif lease.value is not _NOTHING:
            return lease.value
        task = lease.task
        assert task is not None, "a lease has its value, or a task that fetches it"
        await asyncio.wait((task,))
        if task.cancelled():
            self._refuse_if_closed(key)
            raise NoOpenScope(f"the scope closed while '{key}' was acquired", resource_id=key)
        return task.result()

    async def _acquire(self, key: str, lease: _Lease, acquisition: ScopedAcquisition[Any]) -> Any:
        try:
            value = await acquisition.__aenter__()
        except BaseException:
            if self._leases.get(key) is lease:
                del self._leases[key]
            raise
        # ours from here on: it is in the books, so closing gives it back
        lease.acquisition = acquisition
        lease.value = value
        return value

    def holds(self, key: str) -> bool:
        """Whether a lease for this key is held, or being acquired."""
        return key in self._leases

    def _refuse_if_closed(self, key: str) -> None:
        if self._closed:
            raise NoOpenScope(
                f"the open scope is closed; '{key}' was asked for after its block ended "
                "(in a background task? use scope.detach())",
                resource_id=key,
            )

    def _owner(self) -> OwnedTasks:
        if self._tasks is None:
            self._tasks = OwnedTasks("nebula scope", on_error=_ignore)
        return self._tasks

    # ── beside leases ──

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine with this scope as the current one."""
        token = _current.set(self)
        try:
            return await work
        finally:
            _current.reset(token)

    def detach(self) -> ScopeBlock:
        """A sibling with its own leases, for background work: ``async with scope.detach():`` may outlive this one."""
        return ScopeBlock(self._manager, self.context, parent=self.parent)

    # ── the end ──

    async def close(self, error: BaseException | None) -> list[BaseException]:
        """Give everything back, the last first, with the outcome; returns what went wrong on the way.

        It goes on through any number of cancellations of the caller, and raises the last of them when it has ended.
        """
        self._closed = True
        if self.outcome is not None and error is None:
            error = self.outcome
        if error is None and not self.finalizers and self._close_now():
            return []
        closing = self._owner().spawn(self._close(error), name="close", awaited=True)
        cancelled: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.wait((closing,))
            except asyncio.CancelledError as raised:
                cancelled = raised
        if cancelled is not None:
            raise cancelled
        return closing.result()

    def _close_now(self) -> bool:
        """Give back, without any wait, as long as each lease allows it; False when some are left."""
        leases = self._leases
        while leases:
            key, lease = leases.popitem()
            if lease.acquisition is None or not lease.acquisition.leave_now():
                leases[key] = lease
                return False
        return True

    async def _close(self, error: BaseException | None) -> list[BaseException]:
        errors: list[BaseException] = []
        pending = [
            lease.task for lease in self._leases.values() if lease.task is not None and not lease.task.done()
        ]
        for task in pending:
            cancel_soundly(task)
        if pending:
            await asyncio.wait(pending)
        while self.finalizers:
            try:
                step = self.finalizers.pop()(error)
                if step is not None:
                    await step
            except BaseException as raised:
                errors.append(raised)
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
                errors.append(raised)
        return errors


def _ignore(error: BaseException, task: str) -> None:
    """Errors of a shared acquire are raised to those who wait for it; nobody waiting means nobody wants it."""


class ScopeBlock:
    """``async with manager.scope(...) as scope``: opens every named level that is not open yet, outermost first."""

    __slots__ = ("_context", "_manager", "_opened", "_parent", "_scopes", "_token")

    _token: Token[OpenScope | None]

    def __init__(
        self,
        manager: Manager,
        context: ResourceContext,
        *,
        parent: OpenScope | None,
    ) -> None:
        self._manager = manager
        self._context = context
        self._parent = parent
        self._scopes: list[OpenScope] = []
        self._opened = False

    async def __aenter__(self) -> OpenScope:
        if self._opened:
            raise ConfigurationError(
                "this scope block was entered before: call manager.scope() once for every block"
            )
        self._opened = True
        return self.open()

    def open(self) -> OpenScope:
        """Open the levels; synchronous, so that nothing can be cancelled half-way."""
        manager = self._manager
        context = self._context
        parent = self._parent
        # A scope of GLOBAL, or one that is open already, gets a block of its own all the same: its own leases.
        for value in _levels_to_open(context.scope, parent):
            parent = OpenScope(
                manager, context if value is context.scope else context.with_scope(value), parent
            )
            self._scopes.append(parent)
            manager.scope_opened(value)
        assert parent is not None, "there is always one level to open"
        self._token = _current.set(parent)
        return parent

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _reset(self._token)
        errors: list[BaseException] = []
        cancelled: asyncio.CancelledError | None = None
        while self._scopes:
            scope = self._scopes.pop()
            try:
                errors += await scope.close(error)
            except asyncio.CancelledError as raised:
                cancelled = raised  # the other levels close first
            finally:
                self._manager.scope_closed(scope.scope)
        if cancelled is not None:
            raise cancelled
        if not errors:
            return
        if error is not None:
            for each in errors:
                if each is not error:
                    error.add_note(f"closing the scope also raised {type(each).__name__}")
            return
        if len(errors) == 1:
            raise errors[0]
        raise BaseExceptionGroup("several leases could not be ended", errors)


def _reset(token: Token[OpenScope | None]) -> None:
    try:
        _current.reset(token)
    except ValueError:
        # Closed from another task (an async generator that was collected): that context is gone anyway.
        pass


def _levels_to_open(scope: Scope, parent: OpenScope | None) -> list[Scope]:
    """The scopes of every level that ``parent`` does not have open, outermost first; at least ``scope`` itself."""
    base = parent.scope if parent is not None else Scope.GLOBAL
    values = [each for each in reversed((scope, *scope.ancestors())) if each.level > base.level]
    return values or [scope]
