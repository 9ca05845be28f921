"""Health states are values with a score; policies tell all that is wrong with them; all survive JSON."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from nebula_resource.errors import ValidationFailed
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import (
    Degraded,
    HealthCheckable,
    HealthPolicy,
    HealthStage,
    HealthState,
    HealthStatus,
    Healthy,
    Unhealthy,
    Unknown,
)
from nebula_resource.model.policy import OFF, Off, Rules

states = st.one_of(
    st.just(Healthy()),
    st.just(Unknown()),
    st.builds(Degraded, st.text(), st.floats(-1, 2)),
    st.builds(Unhealthy, st.text(), st.booleans()),
)


@pytest.mark.parametrize(
    ("state", "score", "usable", "kind"),
    [
        (Healthy(), 1.0, True, "healthy"),
        (Unknown(), 0.5, True, "unknown"),
        (Unhealthy("x"), 0.0, False, "unhealthy"),
        (Unhealthy("x", False), 0.0, False, "unhealthy"),
        (Degraded("x", 0.0), 1.0, True, "degraded"),
        (Degraded("x", 0.25), 0.75, True, "degraded"),
        (Degraded("x", math.nextafter(0.8, 0)), pytest.approx(0.2), True, "degraded"),
        (Degraded("x", 0.8), pytest.approx(0.2), False, "degraded"),
        (Degraded("x", 1.0), 0.0, False, "degraded"),
    ],
)
def test_score_and_usability(state: HealthState, score: float, usable: bool, kind: str) -> None:
    """Every state has the score and the usability of §11; the border of 0.8 itself refuses."""
    assert state.score() == score
    assert state.is_usable() is usable
    assert state.kind == kind
    status = HealthStatus(state)
    assert (status.score(), status.is_usable()) == (state.score(), state.is_usable())


@pytest.mark.parametrize(("given", "kept"), [(-3, 0.0), (7, 1.0), (0.3, 0.3), (float("nan"), 1.0), (1, 1.0)])
def test_impact_is_clamped(given: float, kept: float) -> None:
    """An impact outside 0…1 is brought inside; one that is no number counts as the worst."""
    assert Degraded("x", given).impact == kept


def test_states_read_well() -> None:
    """A state says in words what and why."""
    assert str(Healthy()) == "healthy"
    assert str(Unknown()) == "unknown"
    assert str(Unhealthy("no route")) == "unhealthy: no route"
    assert str(Degraded("slow", 0.2)) == "degraded: slow"
    assert repr(OFF) == str(OFF) == "OFF"


def test_class_methods_make_the_same_states() -> None:
    """HealthState.degraded(...) and the like need no further import."""
    assert HealthState.healthy() == Healthy()
    assert HealthState.unknown() == Unknown()
    assert HealthState.degraded("x", 0.1) == Degraded("x", 0.1)
    assert HealthState.unhealthy("x", recoverable=False) == Unhealthy("x", False)
    assert HealthStatus.healthy(latency_s=1).state == Healthy()
    assert HealthStatus.degraded("x", 0.1).state == Degraded("x", 0.1)
    assert HealthStatus.unhealthy("x", recoverable=False).state == Unhealthy("x", False)
    assert HealthStatus.unknown(metadata={"a": 1}).metadata == {"a": 1}


def test_the_base_is_no_state() -> None:
    """Only the four kinds can be asked."""
    with pytest.raises(NotImplementedError):
        HealthState().score()
    with pytest.raises(NotImplementedError):
        HealthState().is_usable()


def test_states_are_frozen() -> None:
    """A state cannot be changed."""
    with pytest.raises(AttributeError):
        Degraded("x", 0.1).impact = 0.9  # type: ignore[misc]  # that is the point


@given(states)
def test_states_survive_json(state: HealthState) -> None:
    """Writing a state as JSON and reading it gives an equal one, as a HealthState and as its own class."""
    for kind in (HealthState, type(state)):
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        assert adapter.validate_json(adapter.dump_json(state)) == state


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    state=states,
    latency=st.floats(0, 1e6),
    metadata=st.dictionaries(st.text(), json_values),
    at=st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants bare bounds and adds the zone
)
def test_statuses_survive_json(
    state: HealthState, latency: float, metadata: dict[str, Any], at: datetime
) -> None:
    """A whole status does too."""
    status = HealthStatus(state, latency, metadata, at)
    adapter = TypeAdapter(HealthStatus)
    assert adapter.validate_json(adapter.dump_json(status)) == status
    hash(status)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"kind": "fine"},
        {"kind": "degraded"},
        {"kind": "degraded", "reason": 3},
        {"kind": "degraded", "reason": "x", "impact": "0.5"},
        {"kind": "degraded", "reason": "x", "impact": True},
        {"kind": "unhealthy", "reason": "x", "recoverable": 1},
        {"kind": "healthy", "reason": "x"},
        "healthy",
        None,
    ],
)
def test_wrong_json_is_refused(wrong: object) -> None:
    """What is no state is a violation for pydantic, and never anything else."""
    with pytest.raises(ValidationError):
        TypeAdapter(HealthState).validate_python(wrong)


def test_a_field_of_one_kind_takes_only_that_kind() -> None:
    """A field typed Unhealthy refuses a Healthy."""

    class Model(BaseModel):
        state: Unhealthy

    assert Model(state=Unhealthy("x")).state == Unhealthy("x")
    with pytest.raises(ValidationError):
        Model.model_validate({"state": {"kind": "healthy"}})
    assert "kind" in str(Model.model_json_schema())


def test_status_times_are_utc() -> None:
    """A status is stamped now, in UTC."""
    stamped = HealthStatus(Healthy()).checked_at
    assert stamped.tzinfo is UTC
    assert abs(datetime.now(UTC) - stamped) < timedelta(minutes=1)


def test_default_policy() -> None:
    """The defaults are those of §11."""
    policy = HealthPolicy()
    assert (policy.interval, policy.timeout, policy.failure_threshold, policy.success_threshold) == (
        30,
        5,
        3,
        2,
    )
    assert (policy.backoff, policy.max_interval, policy.jitter, policy.stages) == (1.5, 150, 0.1, None)
    assert (policy.propagate_depth, policy.limit_degraded) == (3, False)


def test_a_policy_tells_everything_that_is_wrong() -> None:
    """All violations come at once, by field, without repeating a text that was given."""
    wrong: dict[str, Any] = {
        "interval": 0,
        "timeout": "s3cret",
        "failure_threshold": 0,
        "success_threshold": 1.5,
        "backoff": 0.5,
        "max_interval": float("inf"),
        "jitter": -0.1,
        "propagate_depth": True,
        "limit_degraded": "yes",
        "stages": ["s3cret"],
    }
    with pytest.raises(ValidationFailed) as caught:
        HealthPolicy(**wrong)
    assert {violation.field for violation in caught.value.violations} == set(wrong)
    assert "s3cret" not in str(caught.value)


class Stage(HealthStage):
    """A stage for policies."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """All well."""
        return HealthStatus.healthy()


def test_stages_of_a_policy() -> None:
    """Any list of stages becomes a tuple; equal names, things without a name and single stages are refused."""
    stages: Any = [Stage("a"), Stage("b")]
    assert HealthPolicy(stages=stages).stages == tuple(stages)
    nameless = Stage("x")
    del nameless.name
    for wrong in ([Stage("a"), Stage("a")], Stage("a"), [nameless], ["a"]):
        with pytest.raises(ValidationFailed):
            HealthPolicy(stages=wrong)  # type: ignore[arg-type]  # that is the point
    assert b'"stages":["a","b"]' in TypeAdapter(HealthPolicy).dump_json(HealthPolicy(stages=stages))


@given(
    interval=st.floats(0.001, 1e6),
    timeout=st.floats(0.001, 1e6),
    failures=st.integers(1, 100),
    limit=st.booleans(),
)
def test_policies_survive_json(interval: float, timeout: float, failures: int, limit: bool) -> None:
    """A policy without code in it survives JSON."""
    policy = HealthPolicy(
        interval=interval, timeout=timeout, failure_threshold=failures, limit_degraded=limit
    )
    adapter = TypeAdapter(HealthPolicy)
    assert adapter.validate_json(adapter.dump_json(policy)) == policy


class Checked(HealthCheckable):
    """A resource that leaves the times to the policy."""

    async def health_check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        """All well."""
        return HealthStatus.healthy()


class Often(Checked):
    """A resource that wants to be checked often."""

    health_check_interval = 30.0  # the default's value, but chosen


def test_a_resource_that_sets_its_times_is_told_from_one_that_does_not() -> None:
    """Only times that a resource sets, on a class or on itself, are its own."""
    plain, often = Checked(), Often()
    assert plain.own_health_time("health_check_interval") is None
    assert often.own_health_time("health_check_interval") == 30.0
    assert often.own_health_time("health_check_timeout") is None
    plain.health_check_timeout = 0.5
    assert plain.own_health_time("health_check_timeout") == 0.5


def test_off_is_one_value() -> None:
    """OFF is the one member of its type, and stays itself through JSON."""
    assert Off("off") is OFF
    adapter = TypeAdapter(Off)
    assert adapter.validate_json(adapter.dump_json(OFF)) is OFF


def test_rules_show_numbers_and_hide_texts() -> None:
    """A violation shows a number as it was, and of anything else only the type."""
    rules = Rules()
    rules.number("a", 3, least=4, most=5)
    rules.number("b", "s3cret", above=0)
    rules.count("c", None, least=1)
    rules.breach("d", "must be a class", int)
    assert [str(violation) for violation in rules.violations] == [
        "a: must be a number of at least 4, at most 5 (got 3)",
        "b: must be a number above 0 (got str)",
        "c: must be a whole number of at least 1 (got None)",
        "d: must be a class (got int)",
    ]
    with pytest.raises(ValidationFailed):
        rules.raise_if_broken()
