"""Blame: whether a create failed by itself, or because we refuse something that it needs."""

from __future__ import annotations

from collections.abc import Collection

from nebula_resource.errors import CreateFailed, InitializationError, ResourceError

__all__ = ["refused_dependency"]


def refused_dependency(error: BaseException, dependencies: Collection[str]) -> ResourceError | None:
    """The refusal that a create met when it acquired a dependency; None: it failed for a reason of its own.

    A refusal of ours (quarantined, circuit, not open) must not begin a streak of failures one floor up: what a person
    isolates for an hour would take everything above along. It does not end one either: a resource that has failed
    itself and cannot even make an instance now is failing still. A dependency that was really tried and failed is
    evidence like any other.
    """
    if not isinstance(error, CreateFailed):
        return None
    cause = error.cause
    while isinstance(cause, ExceptionGroup) and len(cause.exceptions) == 1:
        cause = cause.exceptions[0]
    if not isinstance(cause, ResourceError) or isinstance(cause, InitializationError):
        return None
    return cause if cause.resource_id in dependencies else None
