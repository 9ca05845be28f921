"""PoolParts: what a pool is made of, and what its parts ask of each other."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from asyncio import base_events
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeAlias

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import ValidationFailed, WrongEventLoop
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.ports import Capacity, PoolObserver, Unlimited
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.resource import Resource, overrides
from nebula_resource.pool.closing import Closing
from nebula_resource.pool.config import PoolConfig, Sharing, UseTiming
from nebula_resource.pool.deadlines import Deadlines
from nebula_resource.pool.desk import Desk
from nebula_resource.pool.entry import Use
from nebula_resource.pool.fit import misfits
from nebula_resource.pool.inspector import Inspector
from nebula_resource.pool.ledger import Ledger
from nebula_resource.pool.maker import Maker
from nebula_resource.pool.obtain import Obtainer, Taken
from nebula_resource.pool.release import Releaser
from nebula_resource.pool.retire import Retirer
from nebula_resource.pool.returns import Returns
from nebula_resource.pool.shared import SharedDesk, SharedReleaser
from nebula_resource.pool.shelf import Shelf
from nebula_resource.pool.sizing import Sizing
from nebula_resource.pool.state import PoolState
from nebula_resource.pool.upkeep import Upkeep
from nebula_resource.pool.waiters import Line

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.handle import Handle

__all__ = ["CHECKS_HITS", "ContextFactory", "PoolParts"]

log = logging.getLogger("nebula_resource.pool")

ContextFactory: TypeAlias = "Callable[[], tuple[ResourceContext, Any]]"
"""Makes the context of a create, and what to release when its instance is gone (or None)."""
EVERY, SAMPLED, NEVER = 1, 64, 2**30 - 1
"""How many uses of an instance it is from one that is timed to the next. Never is once in a billion: the greatest number
that CPython compares the fast way."""
CHECKS_HITS = sys.version_info[:2] >= (3, 12)
"""Whether a hit looks which loop runs: a tenth of its time since 3.12, a third before (it asks for the process each
time). A loop in debug mode checks everywhere: it takes the long road."""
_SHUT = {
    PoolState.DRAINING: CleanupReason.DRAINED,
    PoolState.DRAINED: CleanupReason.DRAINED,
    PoolState.CLOSING: CleanupReason.SHUTDOWN,
    PoolState.CLOSED: CleanupReason.SHUTDOWN,
}


class PoolParts:
    """The parts of one pool, introduced to each other. Each knows this class, none knows another part by itself.

    ``shelf`` and ``ledger`` hold entries, ``line`` holds callers. ``desk`` decides who gets what; ``obtainer`` and
    ``returns`` are the way in and out; ``maker``, ``inspector``, ``releaser`` and ``retirer`` run the user's steps;
    ``upkeep``, ``sizing`` and ``closing`` act without being asked by a caller.
    """

    __slots__ = (
        "__weakref__", "_context_factory", "_process", "capacity", "cleanups", "clock", "closers", "closing",
        "config", "create_future", "deadlines", "desk", "fails_suspended", "home", "inspector", "is_budgeted", "leases", "ledger", "line", "maker",
        "observer", "obtainer", "releaser", "resource", "resource_config", "retirer", "returns", "shelf",
        "sizing", "state", "take", "tasks", "timing_gap", "upkeep",
    )  # fmt: skip  # one list of names

    def __init__(
        self,
        resource: Resource[Any, Any, Any],
        resource_config: Any,
        config: PoolConfig,
        *,
        context_factory: ContextFactory | None,
        capacity: Capacity | None,
        observer: PoolObserver | None,
    ) -> None:
        if unfit := misfits(resource, config):
            raise ValidationFailed(unfit, resource_id=resource.id)
        self.resource = resource
        self.resource_config = resource_config
        self.config = config
        self.observer = observer or PoolObserver()
        self.capacity: Capacity = capacity or Unlimited()
        self.is_budgeted = capacity is not None
        self.state = PoolState.NEW
        self.fails_suspended = False
        self.leases = overrides(resource, "lease")
        self.clock: Callable[[], float] = time.monotonic  # noqa: TID251  # replaced when it is opened
        self._context_factory = context_factory
        self.home: asyncio.AbstractEventLoop | None = None
        """The loop that owns it; None before it was opened."""
        self._process = 0
        owner, on_error = f"pool {resource.id}", self._task_failed
        self.tasks = OwnedTasks(owner, on_error=on_error)
        """Steps that a close may cancel."""
        self.cleanups = OwnedTasks(owner, on_error=on_error)
        """Steps that have their time even in a close."""
        self.closers = OwnedTasks(owner, on_error=on_error)
        self.deadlines = Deadlines()
        self.ledger = Ledger(config.min_size, config.max_size, leases=self.leases)
        self.timing_gap = NEVER
        """How many uses of an instance it is from one that is timed to the next."""
        self.time_uses(False)
        self.shelf = Shelf(config.strategy)
        self.shelf.seal()
        self.take: Callable[[], Entry] = self.shelf.hot.popleft
        """Take the next entry that may be lent as it is; IndexError when there is none. Every hit begins here."""
        self.line = Line(config.acquire_timeout)
        self._introduce()

    def _introduce(self) -> None:
        shared = self.config.sharing is Sharing.SHARED
        self.desk: Desk = (SharedDesk if shared else Desk)(self)
        self.maker = Maker(self)
        self.inspector = Inspector(self)
        self.retirer = Retirer(self)
        self.releaser: Releaser = (SharedReleaser if shared else Releaser)(self)
        self.obtainer = Obtainer(self)
        self.returns = Returns(self)
        self.upkeep = Upkeep(self)
        self.sizing = Sizing(self)
        self.closing = Closing(self)

    # ── its loop ──

    def settle_in(self) -> None:
        """From now on it belongs to the loop that runs."""
        self.home = loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self.create_future = loop.create_future
        if CHECKS_HITS:
            self.take = self._checked_take(loop)
        self.line.settle_in(loop)
        # The stock loop's clock is this function, without the method around it.
        is_stock = type(loop).time is base_events.BaseEventLoop.time
        self.clock = time.monotonic if is_stock else loop.time  # noqa: TID251  # the loop's own clock

    def _checked_take(self, loop: asyncio.AbstractEventLoop) -> Callable[[], Entry]:
        """`take`, refused outside the loop that owns the pool."""
        running, take_hot, check_owner = asyncio._get_running_loop, self.shelf.hot.popleft, self.check_owner

        def take() -> Entry:
            if running() is not loop:
                check_owner()
            return take_hot()

        return take

    create_future: Callable[[], asyncio.Future[Any]]
    """A future of its loop, once it has one."""

    @property
    def names(self) -> dict[str, Any]:
        """What every error of this pool names."""
        return {"resource_id": self.resource.id}

    @property
    def was_opened(self) -> bool:
        """Whether it belongs to a loop."""
        return self.home is not None

    @property
    def is_running(self) -> bool:
        """Whether its loop runs, here and now."""
        return self.home is not None and asyncio._get_running_loop() is self.home

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that owns it. Raises `Unavailable` before it was opened."""
        if self.home is None:
            raise self.desk.refusal("not_open")
        return self.home

    def check_owner(self) -> None:
        """Raise `WrongEventLoop` outside the loop that owns the pool, a forked process included."""
        # The running loop is looked up by thread and process, so this catches a fork as well.
        if asyncio._get_running_loop() is not self.loop:
            raise WrongEventLoop(resource_id=self.resource.id, forked=os.getpid() != self._process)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start work of the pool's own; it sees no context variable of whoever happened to cause it."""
        return self.tasks.spawn(work, name=name, context=Context())

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """`spawn`, for work at whose task nobody looks."""
        self.tasks.start(work, name=name, context=Context())

    def _task_failed(self, error: BaseException, task: str) -> None:
        """A step of ours raised: that is a fault of ours, and is told."""
        log.error(
            "a task of the pool failed", exc_info=error, extra={"resource.id": self.resource.id, "task": task}
        )
        self.observer.failed(error)

    def time_uses(self, all_of_them: bool) -> None:
        """Time every use from now on, for somebody wants to know how long each was; or as the settings say."""
        config = self.config
        if all_of_them or config.use_timing is UseTiming.ALWAYS or config.leak_threshold is not None:
            gap = EVERY
        else:
            gap = SAMPLED if config.use_timing is UseTiming.SAMPLED else NEVER
        if gap != self.timing_gap:
            self.timing_gap = gap
            for entry in self.ledger.entries:
                entry.timed_next = entry.uses + gap

    # ── the way in and out, as quick acquisitions and handles see it ──

    def wait(self) -> Coroutine[Any, Any, Taken]:
        """`obtain` for a caller with neither a context nor a limit."""
        return self.obtainer.plainly()

    def obtain(self, context: ResourceContext | None, timeout: float | None) -> Coroutine[Any, Any, Taken]:
        """Take an entry: idle, made for us, or handed to us in line."""
        return self.obtainer.take(context, timeout)

    def obtain_handle(
        self, context: ResourceContext | None, timeout: float | None
    ) -> Coroutine[Any, Any, Handle[Any]]:
        """Take an instance and wrap it, its lease entered."""
        return self.obtainer.handle(context, timeout)

    def give_back(
        self, entry: Entry, use: Use | None, error: BaseException | None
    ) -> Coroutine[Any, Any, None]:
        """Take an instance back from whoever held it."""
        return self.returns.give_back(entry, use, error)

    def time_this(self, entry: Entry) -> Any:
        """A quick use whose turn it is to be timed; returns what the caller gets."""
        entry.timed_next = entry.uses + self.timing_gap
        entry.sampled_at = self.clock()
        entry.attention = True
        return entry.instance

    def timed(self, entry: Entry) -> bool:
        """A use that was picked to be timed ends; True when that was all there was to look at."""
        if entry.sampled_at is not None:
            self.ledger.use_times.add(self.clock() - entry.sampled_at)
            entry.sampled_at = None
            self.ledger.look_again(entry)
        return not entry.attention

    # ── what the parts ask of each other ──

    def creation_context(self) -> tuple[ResourceContext, Any]:
        """The context of a create, and what to release when its instance is gone."""
        return self._context_factory() if self._context_factory is not None else (ResourceContext(), None)

    def unwanted(self) -> CleanupReason | None:
        """Why this pool takes no instance in; None: it does."""
        return _SHUT.get(self.state)

    def changed(self) -> None:
        """An instance came back or went."""
        self.closing.look()

    def sort_shelf(self) -> None:
        """Part what may be lent as it is from what must be looked at first."""
        now = self.loop.time()
        interval = self.inspector.interval
        self.shelf.sort(lambda entry: entry.doom is not None or entry.is_due(now, interval))
        self.refresh()

    def refresh(self) -> None:
        """Derive anew whether hits and returns may take the short way."""
        shelf = self.shelf
        sealed = (
            self.state is not PoolState.OPEN
            or self.inspector.interval == 0
            or self.config.sharing is Sharing.SHARED
        )
        if sealed and not shelf.sealed:
            shelf.seal()
        elif shelf.sealed and not sealed:
            shelf.sealed = False
            self.sort_shelf()
            return
        self.ledger.be_careful(sealed or self.releaser.looks or self.ledger.is_over or bool(shelf.cold))
