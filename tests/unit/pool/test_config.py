"""PoolConfig: every rule, all violations at once, and the way to JSON and back."""

import json
from dataclasses import fields
from typing import Any

import pytest

from nebula_resource.errors import ValidationFailed
from nebula_resource.model.backoff import Backoff
from nebula_resource.pool import Backpressure, OnError, PoolConfig, PoolStrategy, Sharing, UseTiming

TIMES_OR_NONE = [
    "create_timeout",
    "validate_timeout",
    "lease_timeout",
    "recycle_timeout",
    "cleanup_timeout",
    "idle_timeout",
    "max_lifetime",
    "keepalive_interval",
    "maintenance_interval",
    "leak_threshold",
]


def violations(**settings: Any) -> dict[str, str]:
    """Field and rule of each violation."""
    with pytest.raises(ValidationFailed) as caught:
        PoolConfig(**settings)
    return {each.field: each.constraint for each in caught.value.violations}


def test_the_defaults_are_those_of_the_specification() -> None:
    """Every default of SPEC §5, written out."""
    assert PoolConfig().to_dict() == {
        "min_size": 1,
        "max_size": 10,
        "max_waiting": None,
        "acquire_timeout": 30.0,
        "create_timeout": 30.0,
        "validate_timeout": 5.0,
        "lease_timeout": 30.0,
        "recycle_timeout": 5.0,
        "cleanup_timeout": 10.0,
        "idle_timeout": 600.0,
        "max_lifetime": 3600.0,
        "validation_interval": 30.0,
        "keepalive_interval": None,
        "maintenance_interval": 60.0,
        "strategy": "fifo",
        "max_concurrent_creates": 3,
        "warm_on_register": True,
        "warm_concurrency": 3,
        "create_backoff": {"base": 0.2, "factor": 2.0, "max": 15.0, "jitter": 0.2},
        "circuit_threshold": 5,
        "circuit_open_for": 30.0,
        "sharing": "exclusive",
        "backpressure": "wait",
        "use_timing": "sampled",
        "leak_threshold": None,
        "on_error": "recycle",
    }


def test_all_violations_come_at_once() -> None:
    """A config that is wrong everywhere says so of every field."""
    wrong: dict[str, Any] = dict.fromkeys((field.name for field in fields(PoolConfig)), "nonsense")
    assert set(violations(**wrong)) == set(wrong)


@pytest.mark.parametrize(
    "name", ["max_size", "max_concurrent_creates", "warm_concurrency", "circuit_threshold"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "3"])
def test_counts_are_whole_and_at_least_one(name: str, value: object) -> None:
    """Zero, negative, broken, boolean and missing counts are refused."""
    assert violations(**{"min_size": 0, name: value}) == {name: "must be a whole number of at least 1"}


def test_zero_is_a_legal_min_size() -> None:
    """A pool may keep nothing."""
    assert PoolConfig(min_size=0).min_size == 0
    assert set(violations(min_size=-1)) == {"min_size"}


def test_min_size_must_fit() -> None:
    """More kept than allowed is refused, and the message has the bound."""
    assert violations(min_size=3, max_size=2) == {"min_size": "must not be above max_size (2)"}


@pytest.mark.parametrize("value", [-1, 0.5, True, "2"])
def test_max_waiting_is_none_or_a_count(value: object) -> None:
    """A negative, broken or boolean line length is refused; 0 means that nobody waits."""
    assert set(violations(max_waiting=value)) == {"max_waiting"}
    assert PoolConfig(max_waiting=0).max_waiting == 0


@pytest.mark.parametrize("name", TIMES_OR_NONE)
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), 10**400, "1", True])
def test_limits_are_positive_or_none(name: str, value: object) -> None:
    """A limit of nothing, of not-a-number or for ever is refused; None says for ever."""
    assert violations(**{name: value}) == {name: "must be None or above 0 seconds"}
    assert getattr(PoolConfig.of({name: None}), name) is None


@pytest.mark.parametrize("name", ["acquire_timeout", "circuit_open_for"])
@pytest.mark.parametrize("value", [0, -1.0, None, float("inf"), 10**400])
def test_some_times_have_no_none(name: str, value: object) -> None:
    """Nobody may wait for ever for an instance, and no circuit stays open for ever."""
    assert violations(**{name: value}) == {name: "must be above 0 seconds"}


@pytest.mark.parametrize("value", [-1, float("nan"), "x"])
def test_validation_interval_may_be_zero_or_none(value: object) -> None:
    """0 checks always, None never; anything below is refused."""
    assert set(violations(validation_interval=value)) == {"validation_interval"}
    assert PoolConfig(validation_interval=0).validation_interval == 0
    assert PoolConfig(validation_interval=None).validation_interval is None


def test_shared_pools_need_room_for_the_replaced_one() -> None:
    """The old instance counts until its last holder leaves; more than one resident makes no sense."""
    assert set(violations(sharing="shared", max_size=1, min_size=0)) == {"max_size"}
    assert set(violations(sharing="shared", min_size=2)) == {"min_size"}


def test_enums_are_accepted_by_their_lower_case_names() -> None:
    """What a TOML file can hold is enough."""
    names = {"strategy": "lifo", "sharing": "shared", "backpressure": "fail_fast", "use_timing": "off"}
    config = PoolConfig.of(names | {"on_error": "retire"})
    assert (config.strategy, config.sharing) == (PoolStrategy.LIFO, Sharing.SHARED)
    assert (config.backpressure, config.use_timing) == (Backpressure.FAIL_FAST, UseTiming.OFF)
    assert config.on_error is OnError.RETIRE


def test_an_unknown_name_lists_the_choices() -> None:
    """The message says what there is; the value itself is not echoed."""
    with pytest.raises(ValidationFailed) as caught:
        PoolConfig(strategy="s3cret")  # type: ignore[arg-type]  # that is the point
    assert "fifo, lifo" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_backoff_is_a_value_or_its_fields() -> None:
    """Its own rules are named with their dotted path; what is neither is refused as a whole."""
    assert PoolConfig(create_backoff={"base": 1.0, "max": 2.0}).create_backoff == Backoff(base=1.0, max=2.0)  # type: ignore[arg-type]  # a mapping is accepted at run time
    assert set(violations(create_backoff={"base": -1.0, "jitter": 3.0})) == {
        "create_backoff.base",
        "create_backoff.jitter",
    }
    assert set(violations(create_backoff={"pace": 1})) == {"create_backoff"}
    assert set(violations(create_backoff=3)) == {"create_backoff"}


def test_of_takes_a_config_a_mapping_or_nothing() -> None:
    """Unknown fields are violations beside the others."""
    config = PoolConfig(max_size=3)
    assert PoolConfig.of(config) is config
    assert PoolConfig.of(None) == PoolConfig()
    assert PoolConfig.of({"max_size": 3}) == config
    with pytest.raises(ValidationFailed) as caught:
        PoolConfig.of({"maxsize": 3})
    assert [each.field for each in caught.value.violations] == ["maxsize"]
    with pytest.raises(ValidationFailed) as caught:
        PoolConfig.of({"maxsize": 3, "max_size": 0})
    assert [each.field for each in caught.value.violations] == ["maxsize", "max_size"]


@pytest.mark.parametrize("value", [3, "fifo", ["max_size"], object()])
def test_what_is_no_settings_at_all_is_a_violation(value: Any) -> None:
    """Not a TypeError from inside, nor one violation for each letter of a word; the value is not echoed."""
    with pytest.raises(ValidationFailed) as caught:
        PoolConfig.of(value)
    [violation] = caught.value.violations
    assert (violation.field, violation.constraint) == (
        "pool",
        "must be a PoolConfig or a mapping of its fields",
    )
    assert violation.actual in {"3", f"a {type(value).__name__}"}


def test_it_survives_json() -> None:
    """Written as JSON and read back it is the same value."""
    config = PoolConfig(
        min_size=0,
        max_waiting=7,
        idle_timeout=None,
        strategy=PoolStrategy.LIFO,
        create_backoff=Backoff(base=1.5),
    )
    assert PoolConfig.of(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("settings", "tick"),
    [
        ({}, 15.0),
        ({"validation_interval": 0}, 300.0),
        ({"validation_interval": None, "idle_timeout": 4.0}, 2.0),
        ({"keepalive_interval": 3.0}, 1.5),
        ({"leak_threshold": 1.0}, 0.5),
        ({"validation_interval": None, "idle_timeout": None, "max_lifetime": None}, None),
    ],
)
def test_the_tick_is_half_the_smallest_interval(settings: dict[str, Any], tick: float | None) -> None:
    """So nothing is lent unchecked later than 1.5 × its interval; without intervals there is no tick."""
    assert PoolConfig(**settings).tick == tick
