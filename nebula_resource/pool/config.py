"""PoolConfig: every setting of a pool, validated all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, TypeVar

from nebula_resource.errors import FieldViolation, ValidationFailed
from nebula_resource.model.backoff import Backoff

__all__ = ["Backpressure", "OnError", "PoolConfig", "PoolStrategy", "Sharing", "UseTiming"]

E = TypeVar("E", bound=Enum)


class PoolStrategy(Enum):
    """Which idle instance is lent next."""

    FIFO = "fifo"
    """Oldest idle first: all are used evenly."""
    LIFO = "lifo"
    """Newest idle first: the cold ones expire."""


class Sharing(Enum):
    """Whether an instance has one user at a time."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"
    """One resident instance, many handles."""


class Backpressure(Enum):
    """What happens to a caller for whom nothing is free."""

    WAIT = "wait"
    FAIL_FAST = "fail_fast"


class UseTiming(Enum):
    """Which uses are timed."""

    SAMPLED = "sampled"
    """One in 64."""
    ALWAYS = "always"
    OFF = "off"


class OnError(Enum):
    """What happens to an instance whose body raised or was cancelled."""

    RECYCLE = "recycle"
    """``recycle`` must prove it clean; where a resource has none, it is retired."""
    RETIRE = "retire"


_ENUMS: Mapping[str, type[Enum]] = {
    "strategy": PoolStrategy,
    "sharing": Sharing,
    "backpressure": Backpressure,
    "use_timing": UseTiming,
    "on_error": OnError,
}
_COUNTS = {
    "min_size": 0,
    "max_size": 1,
    "max_concurrent_creates": 1,
    "warm_concurrency": 1,
    "circuit_threshold": 1,
}
_POSITIVE = ("acquire_timeout", "circuit_open_for")
_POSITIVE_OR_NONE = (
    "create_timeout", "validate_timeout", "lease_timeout", "recycle_timeout", "cleanup_timeout", "idle_timeout",
    "max_lifetime", "keepalive_interval", "maintenance_interval", "leak_threshold",
)  # fmt: skip  # a list of names, not a layout


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How a pool behaves; times are seconds, sizes are counts. Enums may be given by their lower-case names.

    Raises `ValidationFailed` with every violation.
    """

    min_size: int = 1
    max_size: int = 10
    max_waiting: int | None = None
    acquire_timeout: float = 30.0
    create_timeout: float | None = 30.0
    validate_timeout: float | None = 5.0
    lease_timeout: float | None = 30.0
    recycle_timeout: float | None = 5.0
    cleanup_timeout: float | None = 10.0
    idle_timeout: float | None = 600.0
    max_lifetime: float | None = 3600.0
    validation_interval: float | None = 30.0
    keepalive_interval: float | None = None
    maintenance_interval: float | None = 60.0
    strategy: PoolStrategy = PoolStrategy.FIFO
    max_concurrent_creates: int = 3
    warm_on_register: bool = True
    warm_concurrency: int = 3
    create_backoff: Backoff = Backoff(base=0.2, factor=2.0, max=15.0, jitter=0.2)
    circuit_threshold: int = 5
    circuit_open_for: float = 30.0
    sharing: Sharing = Sharing.EXCLUSIVE
    backpressure: Backpressure = Backpressure.WAIT
    use_timing: UseTiming = UseTiming.SAMPLED
    leak_threshold: float | None = None
    on_error: OnError = OnError.RECYCLE

    def __post_init__(self) -> None:
        violations: list[FieldViolation] = []
        for name, kind in _ENUMS.items():
            self._accept_enum(name, kind, violations)
        self._accept_backoff(violations)
        violations.extend(self._violations())
        if violations:
            raise ValidationFailed(violations)

    @classmethod
    def of(cls, value: PoolConfig | Mapping[str, Any] | None) -> PoolConfig:
        """A config as it is, from a mapping of its fields, or the default; unknown fields are violations too."""
        if value is None:
            return cls()
        if isinstance(value, PoolConfig):
            return value
        if not isinstance(value, Mapping):
            rule = "must be a PoolConfig or a mapping of its fields"
            raise ValidationFailed([FieldViolation("pool", rule, _shown(value))])
        known = {field.name for field in fields(cls)}
        unknown = [
            FieldViolation(name, "is no setting of a pool", "an unknown field")
            for name in value
            if name not in known
        ]
        try:
            config = cls(**{name: value[name] for name in value if name in known})
        except ValidationFailed as error:
            raise ValidationFailed([*unknown, *error.violations]) from None
        if unknown:
            raise ValidationFailed(unknown)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; ``PoolConfig.of`` reads them back."""
        plain = asdict(self)
        return {name: value.value if isinstance(value, Enum) else value for name, value in plain.items()}

    @property
    def tick(self) -> float | None:
        """Seconds between two looks at what is due; None when nothing ever is.

        Half the smallest positive interval, so that nothing is lent unchecked later than 1.5 × validation_interval.
        """
        intervals = [
            seconds
            for seconds in (
                self.validation_interval,
                self.idle_timeout,
                self.max_lifetime,
                self.keepalive_interval,
                self.leak_threshold,
            )
            if seconds
        ]
        return min(intervals) / 2 if intervals else None

    def _accept_enum(self, name: str, kind: type[Enum], violations: list[FieldViolation]) -> None:
        value = getattr(self, name)
        if isinstance(value, kind):
            return
        try:
            object.__setattr__(self, name, kind(value))
        except ValueError:
            choices = ", ".join(str(member.value) for member in kind)
            violations.append(FieldViolation(name, f"must be one of {choices}", _shown(value)))

    def _accept_backoff(self, violations: list[FieldViolation]) -> None:
        value: object = self.create_backoff
        if isinstance(value, Backoff):
            return
        try:
            if not isinstance(value, Mapping):
                raise TypeError
            object.__setattr__(self, "create_backoff", Backoff(**value))
        except TypeError:
            violations.append(
                FieldViolation("create_backoff", "must be a Backoff or its fields", _shown(value))
            )
        except ValidationFailed as error:
            violations.extend(
                FieldViolation(f"create_backoff.{each.field}", each.constraint, each.actual)
                for each in error.violations
            )

    def _violations(self) -> list[FieldViolation]:
        found: list[FieldViolation] = []
        for name, least in _COUNTS.items():
            if not _is_int(value := getattr(self, name)) or value < least:
                found.append(
                    FieldViolation(name, f"must be a whole number of at least {least}", _shown(value))
                )
        if self.max_waiting is not None and (not _is_int(self.max_waiting) or self.max_waiting < 0):
            found.append(
                FieldViolation("max_waiting", "must be None or at least 0", _shown(self.max_waiting))
            )
        for name in _POSITIVE:
            if not _is_seconds(value := getattr(self, name)) or value <= 0:
                found.append(FieldViolation(name, "must be above 0 seconds", _shown(value)))
        for name in _POSITIVE_OR_NONE:
            if (value := getattr(self, name)) is not None and (not _is_seconds(value) or value <= 0):
                found.append(FieldViolation(name, "must be None or above 0 seconds", _shown(value)))
        interval = self.validation_interval
        if interval is not None and (not _is_seconds(interval) or interval < 0):
            found.append(
                FieldViolation("validation_interval", "must be None or at least 0 seconds", _shown(interval))
            )
        if not isinstance(self.warm_on_register, bool):
            found.append(
                FieldViolation("warm_on_register", "must be true or false", _shown(self.warm_on_register))
            )
        if _is_int(self.min_size) and _is_int(self.max_size) and self.min_size > self.max_size >= 1:
            found.append(
                FieldViolation(
                    "min_size", f"must not be above max_size ({self.max_size})", str(self.min_size)
                )
            )
        if self.sharing is Sharing.SHARED:
            found.extend(self._shared_violations())
        return found

    def _shared_violations(self) -> list[FieldViolation]:
        found: list[FieldViolation] = []
        if _is_int(self.max_size) and self.max_size < 2:
            why = "must be at least 2 when shared: the old instance counts until its last holder leaves"
            found.append(FieldViolation("max_size", why, str(self.max_size)))
        if _is_int(self.min_size) and self.min_size > 1:
            found.append(FieldViolation("min_size", "must be 0 or 1 when shared", str(self.min_size)))
        return found


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: object) -> bool:
    """Whether it is a number that a clock can be asked for: no int beyond the floats either."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: object) -> str:
    """Numbers and short words as they are; of anything else the type alone."""
    if isinstance(value, bool | int | float) or value is None:
        return str(value)
    return f"a {type(value).__name__}"
