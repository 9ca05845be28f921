"""Entries and policies of quarantine are values: they tell what is wrong with them, read well, and survive JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from nebula_resource.errors import ValidationFailed
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine import (
    CascadeFailure,
    ConsecutiveFailures,
    Manual,
    QuarantineEntry,
    QuarantinePolicy,
    QuarantineReason,
    RecoveryBackoff,
    RecoveryStrategy,
)
from nebula_resource.quarantine.case import as_wait, later
from nebula_resource.quarantine.entry import reason_of
from nebula_resource.quarantine.levels import Levels

times = st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants bare bounds and adds the zone
reasons = st.one_of(
    st.builds(ConsecutiveFailures, st.integers(1, 1000)),
    st.builds(CascadeFailure, st.text()),
    st.builds(Manual, st.text()),
)
entries = st.builds(
    QuarantineEntry,
    resource_id=st.text(),
    scope=st.sampled_from([Scope.GLOBAL, Scope.tenant("acme"), Scope.user("u", tenant="acme")]),
    reason=reasons,
    quarantined_at=times,
    attempts=st.integers(0, 100),
    max_attempts=st.integers(1, 100),
    next_attempt_at=st.none() | times,
    phase=st.sampled_from(["waiting", "probing", "parked", "stopped"]),
    by=st.text(),
    expires_at=st.none() | times,
)


@given(entries)
def test_entries_survive_json(entry: QuarantineEntry) -> None:
    """Writing an entry as JSON and reading it gives an equal one."""
    adapter = TypeAdapter(QuarantineEntry)
    assert adapter.validate_json(adapter.dump_json(entry)) == entry
    hash(entry)


@given(
    base=st.floats(0.01, 10),
    attempts=st.integers(1, 100),
    then=st.sampled_from(["park", "stop"]),
    park=st.floats(0.1, 1e6),
)
def test_policies_survive_json(base: float, attempts: int, then: Any, park: float) -> None:
    """A policy without code in it survives JSON."""
    policy = QuarantinePolicy(
        backoff=RecoveryBackoff(base=base), max_attempts=attempts, on_exhausted=then, park_interval=park
    )
    adapter = TypeAdapter(QuarantinePolicy)
    assert adapter.validate_json(adapter.dump_json(policy)) == policy


def test_a_strategy_is_written_by_name() -> None:
    """Code does not fit into JSON; the rest of the policy does."""
    adapter = TypeAdapter(QuarantinePolicy)
    assert b'"strategy":"RecoveryStrategy"' in adapter.dump_json(
        QuarantinePolicy(strategy=RecoveryStrategy())
    )
    with pytest.raises(ValidationError):
        adapter.validate_python({"strategy": "RecoveryStrategy"})


def test_defaults() -> None:
    """The defaults are those of §12."""
    policy = QuarantinePolicy()
    assert policy.backoff == RecoveryBackoff(base=1, factor=2, max=60, jitter=0.2)
    assert (policy.max_attempts, policy.on_exhausted, policy.park_interval) == (10, "park", 300)


def test_a_policy_tells_everything_that_is_wrong() -> None:
    """All violations come at once, by field, without repeating a text that was given."""
    wrong: dict[str, Any] = {
        "backoff": "s3cret",
        "max_attempts": 0,
        "on_exhausted": "s3cret",
        "park_interval": -1,
        "strategy": RecoveryStrategy,
    }
    with pytest.raises(ValidationFailed) as caught:
        QuarantinePolicy(**wrong)
    assert {violation.field for violation in caught.value.violations} == set(wrong)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ValidationFailed):
        RecoveryBackoff(base=0)


def test_reasons_read_well() -> None:
    """What a log line says."""
    assert str(ConsecutiveFailures(3)) == "health check failed (3 in a row)"
    assert str(ConsecutiveFailures(1)) == "failed once"
    assert str(CascadeFailure("db")) == "failed with 'db'"
    assert reason_of("orders", CascadeFailure("db")) == "failed with 'db'"
    assert reason_of("db", CascadeFailure("db")) == "most of what needs it fails"
    assert reason_of("db", Manual("maintenance")) == "manual: maintenance"
    assert str(Manual("maintenance")) == "manual: maintenance"
    adapter: TypeAdapter[Any] = TypeAdapter(QuarantineReason)
    assert adapter.validate_python({"kind": "cascade", "root": "db"}) == CascadeFailure("db")


@pytest.mark.parametrize(
    ("answer", "wait"),
    [(0, 0.0), (2.5, 2.5), (-1, None), (float("inf"), None), (float("nan"), None), (True, None), ("1", None)],
)
def test_what_counts_as_a_wait(answer: object, wait: float | None) -> None:
    """A finite number of at least 0, and nothing else."""
    assert as_wait(answer) == wait


def test_later_never_fails() -> None:
    """A wait beyond the calendar ends at its last moment."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert later(start, 60) == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert later(start, 1e300) == datetime.max.replace(tzinfo=UTC)


def test_levels_decay_and_forget() -> None:
    """One step back per step of health; what came down to nothing is not remembered."""
    levels = Levels()
    levels.released("a", level=3, now=0.0, step=60)
    assert [levels.at("a", now) for now in (0, 59, 60, 120, 179, 180, 1e9)] == [3, 3, 2, 1, 1, 0, 0]
    levels.released("b", level=1, now=200.0, step=60)
    assert len(levels) == 1
    levels.released("c", level=0, now=200.0, step=60)
    assert levels.at("c", 200.0) == 0
    levels.forget("b")
    assert len(levels) == 0
