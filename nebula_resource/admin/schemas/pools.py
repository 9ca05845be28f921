"""PoolView: one pool as an operator sees it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, BeforeValidator, Field
from typing_extensions import TypedDict

from nebula_resource.admin.readings import driver_of
from nebula_resource.admin.schemas.common import Page, ProcessView, Reason, ScopeView, scope_view, whole
from nebula_resource.admin.schemas.health import HealthBlock, health_block
from nebula_resource.admin.schemas.quarantine import QuarantineView, quarantine_view
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.times import stamp
from nebula_resource.manager import Registration
from nebula_resource.model.config import redacted
from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.stats import PoolStats
from nebula_resource.pool.ledger import PoolState

__all__ = [
    "PoolFilters",
    "PoolList",
    "PoolSummary",
    "PoolView",
    "Resize",
    "Resized",
    "StatsView",
    "Suspend",
    "Verb",
    "config_view",
    "pool_summary",
    "pool_view",
    "state_of",
    "stats_view",
]


class SizeView(TypedDict):
    """How many instances there are, by what they do."""

    min: int
    max: int
    total: int
    idle: int
    used: int
    checking: int
    creating: int
    retiring: int


class WaitersView(TypedDict):
    """The line."""

    count: int
    oldest_wait_s: float | None


class CheckoutView(TypedDict):
    """The longest use of now."""

    age_s: float


class CountersView(TypedDict):
    """What only grows, since the process began."""

    acquires: dict[str, int]
    releases: int
    created: int
    create_failures: int
    destroyed: dict[str, int]
    leaks: int


class QuantilesView(TypedDict):
    """Seconds; None before the first."""

    p50: float | None
    p95: float | None
    p99: float | None


class LatencyView(TypedDict):
    """How long acquires waited, uses took (those that were timed) and creates took."""

    acquire: QuantilesView
    use: QuantilesView
    create: QuantilesView


class AdmissionView(TypedDict):
    """How many uses a released resource admits at once."""

    mode: Literal["open", "half_open"]
    permits: int | None


class StatsView(TypedDict):
    """The numbers that move: also what ``pool.stats`` tells once a second."""

    state: str
    size: SizeView
    waiters: WaitersView
    oldest_checkout: CheckoutView | None
    utilization: float
    counters: CountersView
    latency_s: LatencyView


class PoolSummary(StatsView):
    """One pool as a list and a stream's snapshot show it: all but its configuration."""

    id: str
    resource_id: str
    driver: str
    scope: ScopeView
    generation: int
    required: bool
    registered_at: str
    strategy: str
    refused: list[str]
    health: HealthBlock
    quarantine: QuarantineView | None
    admission: AdmissionView


class PoolView(PoolSummary):
    """One pool with all there is to know."""

    config: Any
    pool_config: dict[str, Any]


class PoolList(TypedDict):
    """A page of pools."""

    items: list[PoolSummary]
    next_cursor: str | None
    process: ProcessView
    as_of: str


class PoolFilters(Page):
    """What a list of pools may be narrowed to."""

    state: str | None = Field(default=None, max_length=32)
    health: Literal["healthy", "degraded", "unhealthy", "unknown"] | None = None
    driver: str | None = Field(default=None, max_length=64)
    scope: str | None = Field(default=None, max_length=64)
    scope_level: str | None = Field(default=None, max_length=16)
    q: str | None = Field(default=None, max_length=128)
    min_utilization: float | None = Field(default=None, ge=0, le=1)
    quarantined: bool | None = None
    sort: Literal["id", "-id", "utilization", "-utilization", "waiting", "-waiting"] = "id"


class Resize(Reason):
    """Other bounds; what is not given stays."""

    # The bounds stand before the union: behind it JSON Schema would not know them.
    min: Annotated[int, Field(ge=0, le=100_000), BeforeValidator(whole)] | None = None
    max: Annotated[int, Field(ge=1, le=100_000), BeforeValidator(whole)] | None = None


class Suspend(Reason):
    """Hold callers back; with ``fail`` they are refused instead of waiting."""

    fail: bool = False


class BoundsView(TypedDict):
    """A pool's bounds."""

    min: int
    max: int


class Resized(TypedDict):
    """What a resize changed."""

    id: str
    before: BoundsView
    after: BoundsView
    shrinks_lazily: bool
    dry_run: bool


class Verb(TypedDict):
    """What was done to a pool, and the state it is in now; ``instances`` are those a recycle replaces."""

    id: str
    action: str
    state: str
    dry_run: bool
    instances: NotRequired[int]


def state_of(registration: Registration) -> str:
    """The pool's own state once it is open, else how far its registration has come."""
    if not registration.is_open:
        return registration.state.value
    state = registration.pool.state
    return "running" if state is PoolState.OPEN else state.value


def stats_view(registration: Registration, stats: PoolStats) -> StatsView:
    """The numbers that move."""
    return {
        "state": state_of(registration),
        "size": {
            "min": stats.min,
            "max": stats.max,
            "total": stats.size,
            "idle": stats.idle,
            "used": stats.in_use,
            "checking": stats.checking,
            "creating": stats.creating,
            "retiring": stats.retiring,
        },
        "waiters": {"count": stats.waiting, "oldest_wait_s": stats.oldest_wait_s},
        "oldest_checkout": None if stats.oldest_hold_s is None else {"age_s": stats.oldest_hold_s},
        "utilization": stats.utilisation,
        "counters": {
            "acquires": {
                "ok": stats.acquisitions,
                "timeout": stats.timeouts,
                "exhausted": stats.exhausted,
                "cancelled": stats.cancelled,
            },
            "releases": stats.releases,
            "created": stats.created,
            "create_failures": stats.create_failures,
            "destroyed": {reason: count for reason, count in stats.destroyed.items() if count},
            "leaks": stats.leaks,
        },
        "latency_s": {
            "acquire": _quantiles(stats.wait),
            "use": _quantiles(stats.use),
            "create": _quantiles(stats.create),
        },
    }


def pool_view(sight: Sight, registration: Registration) -> PoolView:
    """As an answer about it alone shows it."""
    return {
        **pool_summary(sight, registration),
        "config": config_view(registration),
        "pool_config": registration.pool_config.to_dict(),
    }


def pool_summary(sight: Sight, registration: Registration) -> PoolSummary:
    """As a list shows it."""
    manager = sight.manager
    name = registration.public_id
    quarantine = manager.watch.quarantine
    entry = quarantine.get(name)
    admission = quarantine.admission(name)
    return {
        "id": name,
        "resource_id": registration.key,
        "driver": driver_of(registration.resource),
        "scope": scope_view(registration.scope),
        "generation": registration.generation,
        "required": registration.required,
        "registered_at": stamp(registration.registered_at),
        "strategy": registration.pool_config.strategy.value,
        "refused": [cause.name.lower() for cause in registration.causes],
        **stats_view(registration, registration.pool.stats()),
        "health": health_block(manager.watch.board.get(name), sight),
        "quarantine": None if entry is None else quarantine_view(sight, name, entry),
        "admission": {
            "mode": "open" if admission is None else "half_open",
            "permits": None if admission is None else admission.permits,
        },
    }


def config_view(registration: Registration) -> Any:
    """The configuration, secrets masked; of one that is no model, its type alone."""
    config = registration.config
    if config is None:
        return None
    return redacted(config) if isinstance(config, BaseModel) else {"type": type(config).__name__}


def _quantiles(snapshot: HistogramSnapshot) -> QuantilesView:
    p50, p95, p99 = snapshot.quantiles(0.50, 0.95, 0.99)
    return {"p50": p50, "p95": p95, "p99": p99}
