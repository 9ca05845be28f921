"""Handle: what a caller holds: the value, and the duty to give it back."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol

from typing_extensions import TypeVar

from nebula_resource.errors import ConfigurationError, HandleReleased, InternalError
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.config import Sharing
from nebula_resource.pool.entry import FRESH, SPENT, Entry, Use
from nebula_resource.pool.leaks import caller_depth

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext
    from nebula_resource.pool.parts import PoolParts

__all__ = ["Acquire", "Acquisition", "Handle", "Usage"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """How long a use waited and was held, in seconds; ``held_s`` is None when the use was not timed."""

    waited_s: float
    held_s: float | None


class Handle(Generic[T]):
    """One lent instance. Release it, or use it as an ``async with`` block that does."""

    __slots__ = ("_entry", "_held", "_pool", "_use", "_value")

    def __init__(self, pool: PoolParts, entry: Entry, use: Use, value: T) -> None:
        self._pool = pool
        self._entry: Entry | None = entry
        self._use = use
        self._value = value
        self._held: float | None = None

    def __repr__(self) -> str:
        entry = self._entry
        return f"<Handle of '{self._pool.resource.id}' {'released' if entry is None else f'on {entry!r}'}>"

    def __del__(self) -> None:
        if getattr(self, "_entry", None) is not None:
            self.lose()

    def lose(self) -> None:
        """Never given back. Called by the garbage collector, in any thread, at any moment: the loop hears of it."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._pool.returns.report_lost(entry, self._use)

    def _held_entry(self) -> Entry:
        entry = self._entry
        if entry is None or entry.state is not Lifecycle.IN_USE:
            raise HandleReleased(resource_id=self._pool.resource.id)
        return entry

    @property
    def value(self) -> T:
        """What the resource's lease yields. Raises `HandleReleased` after the release."""
        self._held_entry()
        return self._value

    @property
    def instance(self) -> Any:
        """The pooled instance itself. Raises `HandleReleased` after the release."""
        return self._held_entry().instance

    @property
    def is_released(self) -> bool:
        """Whether it holds nothing any more."""
        return self._entry is None

    @property
    def usage(self) -> Usage:
        """How long this use waited and, up to now or to its release, was held."""
        started = self._use.started
        held = self._held
        if held is None and started is not None and self._entry is not None:
            held = self._pool.loop.time() - started
        return Usage(self._use.waited or 0.0, held)

    def taint(self, reason: str) -> None:
        """Say that the instance must not be lent again; ``reason`` goes to the log. Raises `HandleReleased`."""
        entry = self._held_entry()
        self._pool.ledger.doom(entry, CleanupReason.TAINTED)
        self._pool.returns.log_taint(reason)

    def detach(self) -> Any:
        """Take the instance out of the pool, without cleanup: it is the caller's from now on.

        Raises `HandleReleased`, and `ConfigurationError` where the pool must be able to count on its return: with a
        lease, when shared, or under a budget.
        """
        entry = self._held_entry()
        pool = self._pool
        pool.check_owner()
        if self._use.cm is not None or pool.config.sharing is Sharing.SHARED or pool.is_budgeted:
            raise ConfigurationError(
                "this instance cannot be detached: it is leased, shared, or counted by a budget",
                resource_id=pool.resource.id,
            )
        self._settle(entry)
        entry.use = None
        pool.retirer.forget(entry)
        return entry.instance

    async def release(self, error: BaseException | None = None) -> None:
        """Give it back; ``error`` reports how the use ended, None that it ended well.

        Always ends. Cancelled, it stops waiting at once and the release goes on by itself. A second release does
        nothing but warn. Raises what the lease raised while it ended (a failed commit), and `WrongEventLoop`.
        """
        entry = self._entry
        if entry is None:
            warn_released_twice(self._pool.resource.id)
            return
        if isinstance(error, GeneratorExit) and not self._pool.is_running:
            self.lose()  # the coroutine is swept up after, or between, runs of its loop
            return
        self._pool.check_owner()
        self._settle(entry)
        if error is not None or not self._pool.releaser.at_once(entry, self._use):
            await self._pool.give_back(entry, self._use, error)

    def _let_go(self, error: BaseException | None) -> None:
        """`release`, for a caller who does not wait for it: what goes wrong is told, not raised."""
        entry = self._entry
        assert entry is not None, "whoever lets go holds it"
        self._settle(entry)
        self._pool.returns.begin(entry, self._use, error)

    def forgo(self) -> bool:
        """Give back what was just taken and never used, uncounted; False where a lease was entered, and must be released.

        Called by whoever took it, before anything else has run.
        """
        entry, pool, use = self._held_entry(), self._pool, self._use
        use.started = None  # no use to be timed
        if pool.leases:
            pool.ledger.forget_lease(use)
            if use.waited is not None:
                pool.ledger.unserve(use.waited)
            return False
        self._entry = None
        pool.ledger.shared_uses.pop(use, None)
        entry.use = None
        pool.ledger.look_again(entry)
        pool.obtainer.forgo(entry, use.waited)
        return True

    def _settle(self, entry: Entry) -> None:
        if self._use.started is not None:
            self._held = self._pool.loop.time() - self._use.started
        self._entry = None

    async def __aenter__(self) -> T:
        return self.value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entry is not None:
            await self.release(error)


class Acquire(Protocol[T]):
    """How a pool is asked."""

    def __call__(
        self, context: ResourceContext | None = None, *, timeout: float | None = None
    ) -> Acquisition[T]:
        """Ask for a use; nothing is taken yet."""
        ...


class Acquisition(Generic[T]):
    """A use that is asked for and not taken yet.

    ``async with acquisition as value`` takes it for a block; ``await acquisition`` gives the `Handle`. Either, once.
    """

    __slots__ = ("_context", "_entry", "_handle", "_pool", "_timeout")

    def __init__(
        self, pool: PoolParts, context: ResourceContext | None = None, timeout: float | None = None
    ) -> None:
        self._pool = pool
        self._context = context
        self._timeout = timeout
        self._handle: Handle[T] | None = None
        self._entry = FRESH
        """FRESH or SPENT, as in a quick acquisition; the handle has the real one."""

    async def _take(self) -> Handle[T]:
        if self._entry is not FRESH:
            raise entered_twice(self._pool.resource.id)
        self._entry = SPENT
        return await self._pool.obtain_handle(self._context, self._timeout)

    def __await__(self) -> Generator[Any, Any, Handle[T]]:
        return self._take().__await__()

    async def __aenter__(self) -> T:
        handle = self._handle = await self._take()
        return handle._value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handle = self._handle
        assert handle is not None, "__aexit__ follows __aenter__"
        await handle.release(error)


def entered_twice(resource_id: str) -> InternalError:
    """The error of an acquisition that is used a second time."""
    return InternalError(
        "this acquisition was entered or awaited before: call acquire() once for every use",
        resource_id=resource_id,
    )


def warn_released_twice(resource_id: str) -> None:
    """Tell the author of a second release; the warning names the place outside this package."""
    warnings.warn(
        f"a handle of '{resource_id}' is released a second time",
        RuntimeWarning,
        stacklevel=caller_depth() + 1,
    )
