"""Errors: the table of SPEC §8, as data: flags, statuses, fields, pickles, and texts that betray nothing."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import pytest

import nebula_resource
from nebula_resource import Scope, errors
from nebula_resource.errors import FieldViolation, ResourceError
from nebula_resource.model.health import HealthStatus
from nebula_resource.model.problems import problem_of, status_of

SECRET = "hunter2-do-not-show"
OTHER_TENANT = "globex-the-other"


@dataclass(frozen=True)
class Row:
    """One row of the table: how to make it, whether a retry may help, its status, whether it says when."""

    error: ResourceError
    retryable: bool
    status: int
    says_when: bool = False


def foreign() -> Exception:
    """What a driver may raise: full of what must not be seen."""
    return ConnectionRefusedError(f"postgres://app:{SECRET}@{OTHER_TENANT}.db refused")


TABLE = [
    Row(errors.ConfigurationError("declared wrongly", resource_id="db"), False, 422),
    Row(
        errors.ValidationFailed([FieldViolation("size", "must be positive", "0")], resource_id="db"),
        False,
        422,
    ),
    Row(errors.CircularDependency(["a", "b", "a"]), False, 422),
    Row(errors.InvalidScope("no such scope"), False, 422),
    Row(errors.InitializationError("not up", resource_id="db"), False, 503),
    Row(errors.CreateFailed(foreign(), resource_id="db"), True, 503),
    Row(errors.CreateFailed(ValueError(SECRET), resource_id="db"), False, 503),
    Row(errors.CreateFailed(TimeoutError(), resource_id="db"), True, 503),
    Row(errors.CreateFailed(errors.MissingCredential("db.password"), resource_id="db"), False, 503),
    Row(errors.CreateFailed(errors.CredentialRevoked("db.password"), resource_id="db"), True, 503),
    Row(errors.Unavailable("not_open", resource_id="db"), False, 503, True),
    Row(errors.Unavailable("draining", resource_id="db", retryable=True, retry_after=3.0), True, 503, True),
    Row(errors.Unavailable("quarantined", resource_id="db", retryable=True), True, 503, True),
    Row(errors.Unavailable("unhealthy", resource_id="db"), False, 503, True),
    Row(errors.Unavailable("closed", resource_id="db"), False, 503, True),
    Row(errors.ResourceNotFound("db", scope=Scope.tenant("acme")), False, 404),
    Row(errors.NotRegistered("db"), False, 404),
    Row(errors.ScopeNotFound(Scope.tenant("acme")), False, 404),
    Row(errors.NotQuarantined("db"), False, 404),
    Row(errors.AlreadyRegistered("db"), False, 409),
    Row(errors.AlreadyQuarantined("db"), False, 409),
    Row(errors.AmbiguousScope("db", candidates=["db", "db~abcdefghij"]), False, 409),
    Row(errors.AmbiguousScope("db"), False, 409),
    Row(errors.InvalidStateTransition("old", "new", resource_id="db"), False, 409),
    Row(errors.HookCancelled("audit", "not today", resource_id="db"), False, 409),
    Row(errors.ProbeFailed(HealthStatus.unhealthy("down"), resource_id="db"), True, 409),
    Row(errors.HealthCheckFailed("down", resource_id="db"), False, 503),
    Row(errors.DependencyFailure("net", resource_id="db"), False, 503),
    Row(errors.MissingCredential("db.password", resource_id="db"), False, 503),
    Row(errors.AcquireCancelled(resource_id="db"), False, 503),
    Row(errors.CredentialRevoked("db.password", resource_id="db"), True, 503),
    Row(errors.BackendUnavailable("redis is away"), True, 503),
    Row(errors.AcquireTimeout("acquire", 1.5, resource_id="db"), True, 503, True),
    Row(errors.CircuitOpen("create", resource_id="db", retry_after=9.0), True, 503, True),
    Row(errors.CircuitOpen("create", resource_id="db"), True, 503, True),
    Row(errors.PoolExhausted(10, 3, resource_id="db"), True, 503, True),
    Row(errors.QuotaExceeded("max_connections", 10, 10, resource_id="db"), True, 429, True),
    Row(errors.TooManyScopes(10_000, 10_000), True, 429, True),
    Row(errors.NoOpenScope("wrap the call"), False, 500),
    Row(errors.HandleReleased(resource_id="db"), False, 500),
    Row(errors.WrongEventLoop(resource_id="db"), False, 500),
    Row(errors.WrongEventLoop(resource_id="db", forked=True), False, 500),
    Row(errors.CleanupError(foreign(), resource_id="db"), False, 500),
    Row(errors.InternalError("a rule was broken", resource_id="db"), False, 500),
]


def name_of(row: Row) -> str:
    """What a row is called in a report."""
    return type(row.error).__name__


def test_the_table_has_every_class() -> None:
    """No error of the library is missing here, in ``__all__``, at the top level, or in the table of statuses."""
    public = {name for name in errors.__all__ if name not in {"FieldViolation", "ResourceError"}}
    assert {type(row.error).__name__ for row in TABLE} == public
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, ResourceError) and value is not ResourceError
    }
    assert defined == public
    assert public <= set(nebula_resource.__all__)


@pytest.mark.parametrize("row", TABLE, ids=name_of)
def test_flags_and_statuses_are_those_of_the_table(row: Row) -> None:
    """Retryable or not, its HTTP status, and when to try again where the table says so."""
    assert row.error.retryable is row.retryable
    problem = problem_of(row.error)
    assert (status_of(row.error), problem.status) == (row.status, row.status)
    assert (problem.retry_after is not None) == row.says_when
    if row.says_when and row.error.retry_after is not None:
        assert problem.retry_after == row.error.retry_after
    assert bool(problem.headers()) == row.says_when


@pytest.mark.parametrize("row", TABLE, ids=name_of)
def test_errors_survive_a_pickle(row: Row) -> None:
    """Class, text and every field: a worker's error is the caller's error."""
    error = row.error
    error.add_note("seen in the worker")
    again: Any = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.message == error.message
    assert set(vars(again)) == set(vars(error))
    for name, value in vars(error).items():
        other = getattr(again, name)
        assert repr(other) == repr(value), name
    assert type(again.__cause__) is type(error.__cause__)


class Stubborn(Exception):
    """A driver's error that cannot be made again from its arguments, or holds what no pickle takes."""

    def __init__(self, code: int, text: str, *, hold: object = None) -> None:
        super().__init__(f"code {code} {text}")
        self.hold = hold


@pytest.mark.parametrize("cause", [Stubborn(1, SECRET), Stubborn(1, SECRET, hold=lambda: None)])
def test_a_cause_that_cannot_be_carried_over_is_named(cause: Exception) -> None:
    """The error survives all the same; in place of its cause stands what it was."""
    again = pickle.loads(pickle.dumps(errors.CreateFailed(cause, resource_id="db")))
    assert again.resource_id == "db"
    assert isinstance(again.cause, errors.InternalError)
    assert again.__cause__ is again.cause
    assert str(again.cause) == "Stubborn (it could not be carried over)"


@pytest.mark.parametrize("row", TABLE, ids=name_of)
def test_texts_name_the_resource_and_nothing_else(row: Row) -> None:
    """Neither a secret nor another tenant stands in a text, a repr, or a problem; a foreign error's words never do."""
    problem = problem_of(row.error)
    for text in (str(row.error), repr(row.error), repr(problem), str(problem.body()), row.error.message):
        assert SECRET not in text
        assert OTHER_TENANT not in text
        assert "acme" not in text, "the caller's scope is a field, not a word"
    assert row.error.code
    assert str(row.error)
    assert "db" not in str(problem.body()), "a client learns no id"


def test_codes_tell_classes_apart() -> None:
    """A code is stable and belongs to one class."""
    codes = {type(row.error): row.error.code for row in TABLE}
    assert len(set(codes.values())) == len(codes)


def test_fields_are_data() -> None:
    """What a text says can be read as a field, in its own type."""
    cause = foreign()
    created = errors.CreateFailed(cause)
    assert created.cause is created.__cause__ is cause
    assert str(created) == "could not create an instance of the resource: ConnectionRefusedError"
    timeout = errors.AcquireTimeout("acquire", 1.5, resource_id="db", scope=Scope.GLOBAL, retry_after=2)
    assert isinstance(timeout, TimeoutError)
    assert (timeout.operation, timeout.waited_s, timeout.resource_id) == ("acquire", 1.5, "db")
    assert (timeout.scope, timeout.retry_after) == (Scope.GLOBAL, 2)
    quota = errors.QuotaExceeded("max_connections", 10, 11)
    assert (quota.quota, quota.limit, quota.current) == ("max_connections", 10, 11)
    assert errors.PoolExhausted(3, 7).waiting == 7
    assert errors.HookCancelled("audit", "no").reason == "no"
    assert errors.TooManyScopes(2, 2).limit == 2
    assert errors.InvalidStateTransition(errors, "b").new == "b"
    assert "try again in 3.0 s" in str(errors.Unavailable("draining", retry_after=3))
    assert "a forked process" in str(errors.WrongEventLoop(forked=True))
    violation = FieldViolation("pool.max_size", "must be at least 1", "0")
    assert str(violation) == "pool.max_size: must be at least 1 (got 0)"
    assert str(errors.ValidationFailed([violation])).startswith(
        "the configuration is not valid: pool.max_size"
    )
    assert errors.CircularDependency([]).resource_id is None
    assert ResourceError("").message == ""


def test_unknown_and_foreign_have_one_text() -> None:
    """Whoever asks for another's learns what he would learn of what does not exist."""
    texts = {
        str(errors.ResourceNotFound("db", scope=Scope.tenant(tenant))) for tenant in ("acme", OTHER_TENANT)
    }
    assert len(texts) == 1
    bodies = {
        str(problem_of(each).body())
        for each in (errors.ResourceNotFound("a"), errors.NotRegistered("b"), errors.NotQuarantined("c"))
    }
    assert len(bodies) == 1
