"""Health: how well something is, how a check says so, and the policy that governs the checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, cast, final

from pydantic_core import core_schema

from nebula_resource.model.policy import Rules

if TYPE_CHECKING:
    from typing import Self

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

    from nebula_resource.model.context import ResourceContext

__all__ = [
    "Degraded",
    "HealthCheckable",
    "HealthPolicy",
    "HealthStage",
    "HealthState",
    "HealthStatus",
    "Healthy",
    "Postponed",
    "Unhealthy",
    "Unknown",
]

USABLE_BELOW = 0.8
"""A degraded resource serves while its impact is below this (SPEC §11)."""

HealthKind: TypeAlias = Literal["healthy", "degraded", "unhealthy", "unknown"]


class HealthState:
    """How well something is: `Healthy`, `Degraded`, `Unhealthy` or `Unknown`, each a value.

    Make one by its class, or by the four class methods here, which need no further import. In JSON it is an object
    with ``kind`` and the fields of that kind; pydantic validates and writes it wherever it is a field's type.
    """

    __slots__ = ()

    kind: ClassVar[HealthKind]

    @staticmethod
    def healthy() -> Healthy:
        """All is well."""
        return Healthy()

    @staticmethod
    def degraded(reason: str, impact: float = 0.5) -> Degraded:
        """It works, worse than it should; ``impact`` 0…1 is how much worse, clamped."""
        return Degraded(reason, impact)

    @staticmethod
    def unhealthy(reason: str, *, recoverable: bool = True) -> Unhealthy:
        """It does not work; ``recoverable`` says whether it may come back by itself."""
        return Unhealthy(reason, recoverable)

    @staticmethod
    def unknown() -> Unknown:
        """Nobody has looked, or looking did not work."""
        return Unknown()

    def score(self) -> float:
        """How well it is, 1 (healthy) to 0 (unhealthy); unknown is 0.5."""
        raise NotImplementedError("a state is one of Healthy, Degraded, Unhealthy, Unknown")

    def is_usable(self) -> bool:
        """Whether callers may be served: healthy, unknown, or degraded by less than 0.8."""
        raise NotImplementedError("a state is one of Healthy, Degraded, Unhealthy, Unknown")

    @property
    def because(self) -> str:
        """Why it is not well; empty when it is, or when nobody knows."""
        return ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.because}" if self.because else self.kind

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def accept(value: object) -> HealthState:
            state = value if isinstance(value, HealthState) else _from_mapping(value)
            if not isinstance(state, cls):
                raise ValueError(f"must be a health state of the kind {cls.__name__}")
            return state

        return core_schema.no_info_plain_validator_function(
            accept, serialization=core_schema.plain_serializer_function_ser_schema(_to_mapping)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": list(_KINDS)},
                "reason": {"type": "string"},
                "impact": {"type": "number", "minimum": 0, "maximum": 1},
                "recoverable": {"type": "boolean"},
            },
            "required": ["kind"],
        }


@final
@dataclass(frozen=True, slots=True)
class Healthy(HealthState):
    """All is well."""

    kind: ClassVar[HealthKind] = "healthy"

    def score(self) -> float:
        """1."""
        return 1.0

    def is_usable(self) -> bool:
        """True."""
        return True


@final
@dataclass(frozen=True, slots=True)
class Degraded(HealthState):
    """It works, worse than it should; ``impact`` is how much worse, clamped to 0…1."""

    kind: ClassVar[HealthKind] = "degraded"

    reason: str
    impact: float = 0.5  # share, 0…1

    def __post_init__(self) -> None:
        impact = float(self.impact)
        # A number that is none says that the check is wrong: assume the worst of it.
        object.__setattr__(self, "impact", 1.0 if impact != impact else min(1.0, max(0.0, impact)))

    @property
    def because(self) -> str:
        """The reason."""
        return self.reason

    def score(self) -> float:
        """1 − impact."""
        return 1.0 - self.impact

    def is_usable(self) -> bool:
        """Whether the impact is below 0.8."""
        return self.impact < USABLE_BELOW


@final
@dataclass(frozen=True, slots=True)
class Unhealthy(HealthState):
    """It does not work; ``recoverable`` says whether it may come back by itself."""

    kind: ClassVar[HealthKind] = "unhealthy"

    reason: str
    recoverable: bool = True

    @property
    def because(self) -> str:
        """The reason."""
        return self.reason

    def score(self) -> float:
        """0."""
        return 0.0

    def is_usable(self) -> bool:
        """False."""
        return False


@final
@dataclass(frozen=True, slots=True)
class Unknown(HealthState):
    """Nobody has looked, or looking did not work."""

    kind: ClassVar[HealthKind] = "unknown"

    def score(self) -> float:
        """0.5."""
        return 0.5

    def is_usable(self) -> bool:
        """True: ignorance is no reason to refuse."""
        return True


_KINDS: Mapping[str, type[Healthy | Degraded | Unhealthy | Unknown]] = {
    "healthy": Healthy,
    "degraded": Degraded,
    "unhealthy": Unhealthy,
    "unknown": Unknown,
}


def _to_mapping(state: HealthState) -> dict[str, Any]:
    """The JSON form of a state."""
    cls = _KINDS[state.kind]
    return {"kind": state.kind, **{each.name: getattr(state, each.name) for each in fields(cls)}}


_FIELD_TYPES: Mapping[str, Callable[[object], bool]] = {
    "reason": lambda value: isinstance(value, str),
    "impact": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "recoverable": lambda value: isinstance(value, bool),
}


def _from_mapping(value: object) -> HealthState:
    """Read the JSON form; ValueError says what is wrong with it, without repeating it."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a health state: an object with 'kind'")
    given = dict(cast("Mapping[str, Any]", value))
    cls = _KINDS.get(str(given.pop("kind", None)))
    if cls is None:
        raise ValueError(f"the kind must be one of {', '.join(_KINDS)}")
    known = {each.name for each in fields(cls)}
    if not given.keys() <= known:
        raise ValueError(f"a state of this kind has the fields kind, {', '.join(sorted(known))}")
    for name, content in given.items():
        if not _FIELD_TYPES[name](content):
            raise ValueError(f"'{name}' has the wrong type")
    if "reason" in known and "reason" not in given:
        raise ValueError("'reason' is missing")
    return cls(**given)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@final
@dataclass(frozen=True, slots=True)
class HealthStatus:
    """What one check found: the state, how long it took (seconds), what else it learnt, and when (UTC).

    ``metadata`` holds JSON values; treat it as read-only.
    """

    state: HealthState
    latency_s: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    checked_at: datetime = field(default_factory=_utc_now)

    @classmethod
    def healthy(cls, *, latency_s: float = 0.0, metadata: Mapping[str, Any] | None = None) -> Self:
        """A check that found all well."""
        return cls(Healthy(), latency_s, metadata or {})

    @classmethod
    def degraded(
        cls,
        reason: str,
        impact: float = 0.5,
        *,
        latency_s: float = 0.0,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """A check that found it working worse than it should."""
        return cls(Degraded(reason, impact), latency_s, metadata or {})

    @classmethod
    def unhealthy(
        cls,
        reason: str,
        *,
        recoverable: bool = True,
        latency_s: float = 0.0,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """A check that found it not working."""
        return cls(Unhealthy(reason, recoverable), latency_s, metadata or {})

    @classmethod
    def unknown(cls, *, latency_s: float = 0.0, metadata: Mapping[str, Any] | None = None) -> Self:
        """A check that found nothing out."""
        return cls(Unknown(), latency_s, metadata or {})

    def score(self) -> float:
        """The state's score, 1 to 0."""
        return self.state.score()

    def is_usable(self) -> bool:
        """Whether the state lets callers be served."""
        return self.state.is_usable()


class Postponed(Exception):
    """A probe found nothing to check with: all instances are in use and there is no room for a fresh one.

    It says nothing about health: real use is the evidence then, and a recovery attempt is put off, not failed.
    """


class HealthCheckable(ABC):
    """Beside `Resource`: a resource that knows how to check one of its instances.

    Without it a check is ``create``, ``is_valid``, ``cleanup``. The two times win over the policy's where a resource
    sets them, on its class or on the instance.
    """

    health_check_interval: float = 30.0
    """Seconds between two checks."""
    health_check_timeout: float = 5.0
    """Seconds one check may take."""

    @abstractmethod
    async def health_check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """Check ``instance``; an exception counts as Unhealthy."""

    def own_health_time(self, name: Literal["health_check_interval", "health_check_timeout"]) -> float | None:
        """Seconds that this resource sets for ``name`` itself; None when it left the default to the policy."""
        classes = type(self).__mro__
        own = classes[: classes.index(HealthCheckable)]
        if name in getattr(self, "__dict__", {}) or any(name in vars(cls) for cls in own):
            return float(getattr(self, name))
        return None


class HealthStage(ABC):
    """One step of a health check; a pipeline runs several in order."""

    name: str
    """Unique in its pipeline; it names the stage in reasons and metrics."""
    timeout: float | None = None
    """Seconds this stage may take; None: only the whole check's limit counts."""

    @abstractmethod
    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """Look at ``instance`` from this stage's side; an exception counts as Unhealthy, naming the stage."""

    def fresh(self) -> HealthStage:
        """Return a stage that remembers no earlier check, for one more resource; one without memory returns itself."""
        return self

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def name_of(stage: HealthStage) -> str:
            return stage.name

        # Code does not fit into JSON: a stage is written by its name and accepted only as an object.
        return core_schema.is_instance_schema(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(name_of)
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """How often health is checked, and what makes a resource unhealthy or well again. Times are seconds.

    ``interval`` between checks, spread by ± ``jitter`` (a share); ``timeout`` of one check. ``failure_threshold``
    failures in a row make the resource Unhealthy, ``success_threshold`` passes in a row make it well again. Where
    quarantine is off, each failure stretches the interval by ``backoff`` up to ``max_interval`` (1 turns that off;
    an ``interval`` above ``max_interval`` stays as it is). ``stages``
    replace the resource's own check (code: the one field that a JSON round trip does not carry). An Unhealthy or
    quarantined resource degrades its dependents ``propagate_depth`` levels deep. ``limit_degraded`` lets fewer
    instances of a degraded resource out.

    Raises:
        ValidationFailed: with every rule that is broken.
    """

    interval: float = 30.0
    timeout: float = 5.0
    failure_threshold: int = 3
    success_threshold: int = 2
    backoff: float = 1.5
    max_interval: float = 150.0
    jitter: float = 0.1
    stages: tuple[HealthStage, ...] | None = None
    propagate_depth: int = 3
    limit_degraded: bool = False

    def __post_init__(self) -> None:
        rules = Rules()
        rules.number("interval", self.interval, above=0)
        rules.number("timeout", self.timeout, above=0)
        rules.count("failure_threshold", self.failure_threshold, least=1)
        rules.count("success_threshold", self.success_threshold, least=1)
        rules.number("backoff", self.backoff, least=1)
        rules.number("max_interval", self.max_interval, above=0)
        rules.number("jitter", self.jitter, least=0, most=1)
        rules.count("propagate_depth", self.propagate_depth, least=0)
        rules.flag("limit_degraded", self.limit_degraded)
        self._settle_stages(rules)
        rules.raise_if_broken()

    def _settle_stages(self, rules: Rules) -> None:
        """Turn any sequence of stages into a tuple; note what is no stage, and names used twice."""
        if self.stages is None:
            return
        given = cast("object", self.stages)
        stages = tuple(cast("Iterable[object]", given)) if isinstance(given, list | tuple) else ()
        named = [stage for stage in stages if isinstance(stage, HealthStage) and hasattr(stage, "name")]
        if len(named) < len(stages) or not isinstance(given, list | tuple):
            rules.breach("stages", "must be a list of named HealthStage", type(cast("object", self.stages)))
            return
        if len({stage.name for stage in named}) < len(named):
            rules.breach("stages", "must have different names", len(named))
        object.__setattr__(self, "stages", tuple(named))
