"""ManagerParts: what a manager is made of, introduced to each other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from nebula_resource._aio import CancellationToken, OwnedTasks
from nebula_resource.errors import ConfigurationError, Unavailable
from nebula_resource.events import (
    ErrorOccurred,
    Event,
    EventBus,
    HookFailed,
    ShutdownFinished,
    ShutdownStarted,
)
from nebula_resource.hooks import HookPayload, HookRegistry
from nebula_resource.manager.checkout import Checkout
from nebula_resource.manager.construction import Construction
from nebula_resource.manager.current import innermost_of
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.enrolment import Enrolment
from nebula_resource.manager.proposal import check_policies
from nebula_resource.manager.quick import quick_class
from nebula_resource.manager.registration import Registration
from nebula_resource.manager.registry import Registry
from nebula_resource.manager.reload import Reload
from nebula_resource.manager.road import Road
from nebula_resource.manager.shutdown import Shutdown, ShutdownReport
from nebula_resource.manager.startup import Startup
from nebula_resource.manager.together import Together
from nebula_resource.manager.watch import Watch
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.policy import OFF, Off
from nebula_resource.model.ports import ScopeListener, Tracing
from nebula_resource.model.scope import ScopeLevel, Strategy
from nebula_resource.quarantine import QuarantinePolicy

if TYPE_CHECKING:
    from nebula_resource.model.credentials import CredentialProvider

__all__ = ["ManagerParts", "chosen_policy", "refuse_autoscale"]

DRAIN, CLEANUP, TERMINATE = 30.0, 10.0, 5.0
"""Seconds that the phases of a shutdown take at most, where the caller does not say (SPEC §7)."""


class ManagerParts:
    """The parts of one manager, and its end. What they do for a caller stands in `Operations` and `Manager`."""

    def __init__(
        self,
        *,
        strategy: Strategy | str = Strategy.HIERARCHICAL,
        health: HealthPolicy | Off = HealthPolicy(),  # noqa: B008  # a frozen value
        quarantine: QuarantinePolicy | Off = QuarantinePolicy(),  # noqa: B008  # a frozen value
        autoscale: None = None,
        credentials: CredentialProvider | None = None,
        cancellation: CancellationToken | None = None,
    ) -> None:
        refuse_autoscale(autoscale)
        check_policies(health, quarantine)
        self._health = health
        self._quarantine = quarantine
        self._tasks = OwnedTasks("nebula manager", on_error=self._task_failed)
        self._releases = OwnedTasks("nebula manager", on_error=self._task_failed)
        self._ending: asyncio.Task[ShutdownReport] | None = None
        self._is_called_off = False
        self.events = EventBus()
        self.hooks = HookRegistry(on_failure_report=self._hook_failed)
        self.registry = Registry()
        self.dependencies: DependencyGraph[str] = DependencyGraph()
        self.scope_listeners: tuple[ScopeListener, ...] = ()
        self.scope_counts = [0] * (1 << len(ScopeLevel))
        """How many open scopes there are, by the set of levels that was opened at once: `open_scopes` for readers."""
        self.watch = Watch(self.registry, self.dependencies, self.events, self.hooks, self._tasks)
        here = partial(innermost_of, self)
        self._checkout = Checkout(self.registry, self.hooks, self.events, Strategy.parse(strategy), here)
        self.find = self._checkout.finder()
        """Who serves a key in a scope, by this manager's strategy."""
        self.for_all = self._checkout.for_all
        """The same, for keys that one registration serves whoever asks, as far as it was asked."""
        self._quick = quick_class(self._checkout, self)
        self._introduce(credentials)
        # Last: a token that was cancelled before calls back at once.
        self._leave_token = None if cancellation is None else cancellation.subscribe(self._call_off)

    def _introduce(self, credentials: CredentialProvider | None) -> None:
        self._construction = Construction(
            self._checkout,
            self._releases,
            credentials,
            bus=self.events,
            hooks=self.hooks,
            watch=self.watch,
        )
        self._startup = Startup(
            self.registry,
            self.dependencies,
            self.watch,
            self._tasks,
            build=self._construction.build,
            opened=self._opened,
        )
        self._reload = Reload(self.registry, self._startup, self.watch, self._construction, self._tasks)
        self._together = Together(self._reload, self._startup)
        self._road = Road(self.registry, self.hooks, self.events, self._reload.beside)
        self._reload.pave = self._road.pave
        self._enrolment = Enrolment(
            self.registry,
            self.dependencies,
            self.watch,
            self._startup,
            self._construction,
            self._road,
            self.events,
            self._tasks,
        )
        self._shutdown = Shutdown(self.dependencies, self._tasks, self._releases, self._reload.beside)
        self.watch.reopen = self._startup.reopen
        self.watch.on_road_changed = self._road.pave
        self.watch.on_released = self._released

    @property
    def tracing(self) -> Tracing | None:
        """Who stands around acquires that wait, releases, creates and health checks; None: nobody, at no cost."""
        return self._checkout.tracing

    @tracing.setter
    def tracing(self, tracing: Tracing | None) -> None:
        self._checkout.tracing = self.watch.tracing = tracing

    @property
    def is_ending(self) -> bool:
        """Whether it is shut down, or about to be: nothing is registered any more."""
        return self._ending is not None or self._is_called_off

    def refuse_when_ending(self, resource: object) -> None:
        """Raise `Unavailable` where nothing is registered any more."""
        if self.is_ending:
            hint = ": its manager is shut down and takes nothing in; register with a new Manager()"
            raise Unavailable("closed", resource_id=getattr(resource, "id", None), hint=hint)

    def credentials_of(self, registration: Registration) -> CredentialProvider | None:
        """Whom its creates ask for credentials: its own provider, else the manager's."""
        return self._construction.creation(registration).context().credentials

    def _opened(self, registration: Registration) -> None:
        self._road.pave(registration)

    def _released(self, registration: Registration) -> None:
        """It left quarantine: what waited for that, it itself for one, can be opened now."""
        if registration.is_open:
            registration.pool.grant()  # nothing was made ahead of need meanwhile
            self._startup.begin_dependents(registration.key)
        else:
            self._startup.begin(registration)

    # ── the end ──

    def _end_once(self, drain: float, cleanup: float, terminate: float) -> asyncio.Task[ShutdownReport]:
        """The one end there is, begun now if it was not."""
        if self._ending is None:
            self._ending = self._tasks.spawn(self._end(drain, cleanup, terminate), name="shutdown")
            self._shutdown.refuse(self.registry)
        return self._ending

    def _call_off(self) -> None:
        """The token was cancelled."""
        self._is_called_off = True
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # no loop runs here: nothing is registered any more, and `shutdown` does the rest
        _ = self._end_once(DRAIN, CLEANUP, TERMINATE)

    async def _end(self, drain: float, cleanup: float, terminate: float) -> ShutdownReport:
        self.events.publish(ShutdownStarted)
        if self._leave_token is not None:
            self._leave_token()
        quiet = self._tasks.spawn(self.watch.close(), name="end checks and recoveries")
        report = await self._shutdown.run(self.registry, drain=drain, cleanup=cleanup, terminate=terminate)
        await asyncio.wait((quiet,), timeout=terminate)
        quiet.cancel()  # checks and attempts that will not end are left
        await self.hooks.close(terminate)
        await self._end_tasks(terminate)
        self.events.publish(
            ShutdownFinished,
            drained=report.drained,
            forced=report.forced,
            failed=report.failed,
            left=report.left,
            duration_s=report.duration_s,
        )
        self.events.close()
        return report

    async def _end_tasks(self, seconds: float) -> None:
        """What still runs has this long to end by itself, and as long again when cancelled."""
        for ask in (False, True):
            left = [task for task in (*self._tasks, *self._releases) if task is not self._ending]
            if ask:
                for task in left:
                    task.cancel()
            if left:
                await asyncio.wait(left, timeout=seconds)

    # ── what went wrong, where no caller is there to hear ──

    def _hook_failed(self, hook: str, phase: str, error: BaseException, payload: HookPayload) -> None:
        self.events.publish(
            HookFailed,
            payload.resource_id,
            payload.scope,
            public_id=payload.public_id,
            hook=hook,
            phase=phase,
            error=type(error).__name__,
        )

    def _publish(self, registration: Registration, event: type[Event], **fields: Any) -> None:
        self.events.publish(
            event, registration.key, registration.scope, public_id=registration.public_id, **fields
        )

    def _task_failed(self, error: BaseException, task: str) -> None:
        self.events.publish(ErrorOccurred, code="internal", error=type(error).__name__)


P = TypeVar("P")


def refuse_autoscale(policy: object) -> None:
    """A setting that does nothing yet is refused, not ignored."""
    if policy is not None and policy is not OFF:
        raise ConfigurationError(
            "auto-scaling is not built yet: leave autoscale out; resize() moves the bounds"
        )


def chosen_policy(own: P | Off | None, inherited: P | Off) -> P | None:
    """None inherits, OFF turns off."""
    chosen = inherited if own is None else own
    return None if chosen is OFF else chosen
