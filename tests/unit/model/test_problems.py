"""Problems: the table of errors to statuses, and what a body may hold."""

from __future__ import annotations

import inspect
import json

import pytest
from pydantic import TypeAdapter

from nebula_resource import errors
from nebula_resource.errors import FieldViolation, ResourceError, ValidationFailed
from nebula_resource.model.problems import Problem, ProblemField, problem_of, problem_of_status, status_of

CANARY = "hunter2-do-not-repeat-me"

# SPEC §8, written out a second time: the table in the code is held to it.
STATUSES = {
    422: "ConfigurationError ValidationFailed CircularDependency InvalidScope",
    404: "ResourceNotFound NotRegistered ScopeNotFound NotQuarantined",
    409: "AlreadyRegistered AlreadyQuarantined AmbiguousScope InvalidStateTransition HookCancelled ProbeFailed",
    429: "QuotaExceeded TooManyScopes",
    500: "NoOpenScope HandleReleased WrongEventLoop CleanupError InternalError ResourceError",
    503: "InitializationError CreateFailed Unavailable HealthCheckFailed DependencyFailure MissingCredential "
    "AcquireCancelled CredentialRevoked BackendUnavailable AcquireTimeout CircuitOpen PoolExhausted",
}
RETRY_AFTER = {
    "Unavailable",
    "AcquireTimeout",
    "CircuitOpen",
    "PoolExhausted",
    "QuotaExceeded",
    "TooManyScopes",
}
CLASSES = {
    name: kind
    for name in errors.__all__
    if inspect.isclass(kind := getattr(errors, name)) and issubclass(kind, ResourceError)
}


def an(kind: type[ResourceError]) -> ResourceError:
    """An error of a class, with a canary in its message and nothing else set."""
    error = kind.__new__(kind, CANARY)
    ResourceError.__init__(error, CANARY, resource_id=CANARY, scope=CANARY)
    if isinstance(error, ValidationFailed):
        error.violations = (FieldViolation("pool.max_size", "at least 1", CANARY),)
    return error


def test_every_error_has_its_status() -> None:
    """All classes of the library, and no other, have the status that the table of §8 gives them."""
    told = {name: status for status, names in STATUSES.items() for name in names.split()}
    assert {name: status_of(an(kind)) for name, kind in CLASSES.items()} == told


@pytest.mark.parametrize("name", CLASSES)
def test_a_problem_tells_nothing_of_its_error(name: str) -> None:
    """No message, id, scope or value of the error is in the body; waiting is said where it helps."""
    problem = problem_of(an(CLASSES[name]))
    text = json.dumps(problem.body()) + str(problem.headers())
    assert CANARY not in text
    assert ("Retry-After" in problem.headers()) is (name in RETRY_AFTER)
    assert problem.body()["type"].startswith("urn:nebula:problem:")


def test_not_found_has_one_body() -> None:
    """Unknown, foreign, not registered, not quarantined and no such scope cannot be told apart."""
    bodies = [json.dumps(problem_of(an(CLASSES[name])).body()) for name in STATUSES[404].split()]
    bodies.append(json.dumps(problem_of_status(404).body()))
    assert len(set(bodies)) == 1


def test_a_subclass_is_what_it_derives_from() -> None:
    """A user's own error has the status of ours that it is."""

    class Mine(errors.PoolExhausted):
        pass

    assert problem_of(an(Mine)) == problem_of(an(errors.PoolExhausted))


@pytest.mark.parametrize("error", [ValueError(CANARY), KeyError(CANARY), TimeoutError(CANARY)])
def test_a_foreign_error_is_a_500_that_tells_nothing(error: Exception) -> None:
    """Whatever nobody knows is an internal error."""
    assert problem_of(error) == Problem(500, "internal", "Internal error")


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (30.0, "30")]
)
def test_the_time_to_wait_is_whole_seconds_and_at_least_one(seconds: float, header: str) -> None:
    """A client that comes back at once would not be let in."""
    problem = problem_of(errors.QuotaExceeded("rate", 1, 2, retry_after=seconds))
    assert problem.headers() == {"Retry-After": header}
    assert problem.body()["retry_after_s"] == seconds


def test_violations_are_told_by_field_and_rule() -> None:
    """Which fields break which rules, not what they held."""
    problem = problem_of(an(ValidationFailed))
    assert problem.body()["errors"] == [
        {"pointer": "/pool/max_size", "code": "violation", "message": "at least 1"}
    ]


@pytest.mark.parametrize(
    ("status", "code", "title"),
    [
        (401, "unauthenticated", "Unauthenticated"),
        (405, "method_not_allowed", "Method not allowed"),
        (422, "validation_failed", "Not valid"),
        (500, "internal", "Internal error"),
        (503, "unavailable", "Temporarily unavailable"),
        (599, "http_599", "Error"),
    ],
)
def test_a_status_is_a_problem_of_its_own(status: int, code: str, title: str) -> None:
    """What is no error of ours has the same shape."""
    problem = problem_of_status(status, detail="why", retry_after=2.0, errors=[ProblemField("/a", "b", "c")])
    assert problem.body(extra=1) == {
        "type": f"urn:nebula:problem:{code.replace('_', '-')}",
        "title": title,
        "status": status,
        "detail": "why",
        "code": code,
        "retry_after_s": 2.0,
        "errors": [{"pointer": "/a", "code": "b", "message": "c"}],
        "extra": 1,
    }


def test_a_problem_survives_json() -> None:
    """There and back it is the same value."""
    kept = TypeAdapter(Problem)
    problem = problem_of_status(422, errors=[ProblemField("/a", "b", "c")])
    assert kept.validate_json(kept.dump_json(problem)) == problem
