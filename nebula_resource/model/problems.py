"""Problem: what an error looks like to an HTTP client (RFC 9457); data, and no framework.

The table of SPEC §8 stands here once, for every integration that answers over HTTP. A problem repeats nothing that a
client sent and names no resource: one that was not found, is foreign or is not quarantined has one and the same body.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import nebula_resource.errors as errors
from nebula_resource.errors import FieldViolation, ResourceError

__all__ = ["PROBLEM_MEDIA_TYPE", "Problem", "ProblemField", "problem_of", "problem_of_status", "status_of"]

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:nebula:problem:"


@dataclass(frozen=True, slots=True)
class ProblemField:
    """One field of a request that breaks one rule.

    ``pointer`` is a JSON pointer (``/config/max_size``), ``code`` the rule in a word, ``message`` the rule in words;
    what was sent is in none of them.
    """

    pointer: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as an HTTP client sees it.

    ``code`` is stable and safe to match on; ``type`` is the same as a URN. ``detail`` is a sentence for people,
    ``retry_after`` is in seconds, ``errors`` lists the fields that were wrong.
    """

    status: int
    code: str
    title: str
    detail: str | None = None
    retry_after: float | None = None
    errors: tuple[ProblemField, ...] = ()

    @property
    def type(self) -> str:
        """The problem's kind as a URN."""
        return TYPE_PREFIX + self.code.replace("_", "-")

    def body(self, **members: Any) -> dict[str, Any]:
        """The members of the JSON object, the empty ones left out; ``members`` are added (RFC 9457 §3.2)."""
        body: dict[str, Any] = {"type": self.type, "title": self.title, "status": self.status}
        if self.detail is not None:
            body["detail"] = self.detail
        body["code"] = self.code
        if self.retry_after is not None:
            body["retry_after_s"] = self.retry_after
        if self.errors:
            body["errors"] = [
                {"pointer": each.pointer, "code": each.code, "message": each.message} for each in self.errors
            ]
        return body | members

    def headers(self) -> dict[str, str]:
        """What the response needs beside its content type: ``Retry-After`` in whole seconds, at least one."""
        if self.retry_after is None:
            return {}
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table; ``retry_after`` (seconds) is said when the error itself names no time."""

    status: int
    code: str
    title: str
    retry_after: float | None = None


_NOT_FOUND = _Row(404, "not_found", "Not found")
_INTERNAL = _Row(500, "internal", "Internal error")
_CONFIGURATION = _Row(422, "configuration", "The request asks for something that cannot be")

# Seconds to wait when the error does not know: a pool's line moves within one, a refusal stands longer.
_SOON, _LATER = 1.0, 5.0

_TABLE: Mapping[type[BaseException], _Row] = MappingProxyType(
    {
        errors.ConfigurationError: _CONFIGURATION,
        errors.ValidationFailed: _Row(422, "validation_failed", "Not valid"),
        errors.CircularDependency: _Row(
            422, "circular_dependency", "Resources would need each other in a circle"
        ),
        errors.InvalidScope: _Row(422, "invalid_scope", "This scope cannot be"),
        errors.InitializationError: _Row(503, "initialization_failed", "Temporarily unavailable"),
        errors.CreateFailed: _Row(503, "create_failed", "Temporarily unavailable"),
        errors.Unavailable: _Row(503, "unavailable", "Temporarily unavailable", _LATER),
        errors.ResourceNotFound: _NOT_FOUND,
        errors.ScopeNotFound: _NOT_FOUND,
        errors.NotQuarantined: _NOT_FOUND,
        errors.AlreadyRegistered: _Row(409, "already_registered", "Already registered"),
        errors.AlreadyQuarantined: _Row(409, "already_quarantined", "Already quarantined"),
        errors.AmbiguousScope: _Row(409, "ambiguous_scope", "More than one registration fits"),
        errors.InvalidStateTransition: _Row(409, "invalid_state_transition", "Not possible in this state"),
        errors.HookCancelled: _Row(409, "hook_cancelled", "Refused by a hook"),
        errors.ProbeFailed: _Row(409, "probe_failed", "Not well yet: its probe failed"),
        errors.HealthCheckFailed: _Row(503, "health_check_failed", "Temporarily unavailable"),
        errors.DependencyFailure: _Row(503, "dependency_failure", "Temporarily unavailable"),
        errors.MissingCredential: _Row(503, "missing_credential", "Temporarily unavailable"),
        errors.AcquireCancelled: _Row(503, "acquire_cancelled", "Cancelled while it waited"),
        errors.CredentialRevoked: _Row(503, "credential_revoked", "Temporarily unavailable"),
        errors.BackendUnavailable: _Row(503, "backend_unavailable", "Temporarily unavailable"),
        errors.AcquireTimeout: _Row(503, "acquire_timeout", "Timed out waiting for a resource", _SOON),
        errors.CircuitOpen: _Row(503, "circuit_open", "Temporarily unavailable", _LATER),
        errors.PoolExhausted: _Row(503, "pool_exhausted", "Too busy", _SOON),
        errors.QuotaExceeded: _Row(429, "quota_exceeded", "Quota used up", _SOON),
        errors.TooManyScopes: _Row(429, "too_many_scopes", "Too many scopes", _LATER),
        errors.NoOpenScope: _INTERNAL,
        errors.HandleReleased: _INTERNAL,
        errors.WrongEventLoop: _INTERNAL,
        errors.CleanupError: _INTERNAL,
        errors.InternalError: _INTERNAL,
    }
)

# RFC 9110's names, written out because the standard library's change between Python versions.
_STATUS_TITLES: Mapping[int, str] = MappingProxyType(
    {
        400: "Bad request",
        401: "Unauthenticated",
        403: "Forbidden",
        404: _NOT_FOUND.title,
        405: "Method not allowed",
        406: "Not acceptable",
        408: "Request timeout",
        409: "Conflict",
        410: "Gone",
        411: "Length required",
        412: "Precondition failed",
        413: "Content too large",
        414: "URI too long",
        415: "Unsupported media type",
        416: "Range not satisfiable",
        418: "I'm a teapot",
        422: "Not valid",
        423: "Locked",
        424: "Failed dependency",
        425: "Too early",
        428: "Precondition required",
        429: "Too many requests",
        431: "Request header fields too large",
        451: "Unavailable for legal reasons",
        500: _INTERNAL.title,
        501: "Not implemented",
        502: "Bad gateway",
        503: "Temporarily unavailable",
        504: "Gateway timeout",
    }
)
_STATUS_CODES: Mapping[int, str] = MappingProxyType(
    {418: "teapot", 422: "validation_failed", 500: _INTERNAL.code, 503: "unavailable"}
)


def status_of(error: BaseException) -> int:
    """The HTTP status of an error: SPEC §8's for ours, 500 for any other."""
    return _row_of(error).status


def problem_of(error: BaseException) -> Problem:
    """What an error looks like to a client; one that is not ours is a 500 that tells nothing.

    Neither the message nor any field of the error goes out, save the time to wait and, of `ValidationFailed`, which
    fields break which rules (not what they held).
    """
    row = _row_of(error)
    retry_after = row.retry_after
    if isinstance(error, ResourceError) and error.retry_after is not None and row.status in {429, 503}:
        retry_after = error.retry_after
    violations = error.violations if isinstance(error, errors.ValidationFailed) else ()
    return Problem(
        row.status, row.code, row.title, retry_after=retry_after, errors=tuple(_fields(violations))
    )


def problem_of_status(
    status: int,
    *,
    detail: str | None = None,
    retry_after: float | None = None,
    errors: Iterable[ProblemField] = (),
) -> Problem:
    """A problem that is no error of ours, by its HTTP status (400 to 599); ``retry_after`` is in seconds."""
    title = _STATUS_TITLES.get(status, "Error")
    code = _STATUS_CODES.get(status)
    if code is None:
        code = title.lower().replace(" ", "_") if status in _STATUS_TITLES else f"http_{status}"
    return Problem(status, code, title, detail, retry_after, tuple(errors))


def _row_of(error: BaseException) -> _Row:
    for kind in type(error).__mro__:
        row = _TABLE.get(kind)
        if row is not None:
            return row
    return _INTERNAL


def _fields(violations: Iterable[FieldViolation]) -> Iterable[ProblemField]:
    for violation in violations:
        yield ProblemField("/" + violation.field.replace(".", "/"), "violation", violation.constraint)
