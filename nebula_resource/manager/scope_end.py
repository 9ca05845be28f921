"""ScopeEnd: everything that an open scope holds is given back, the last first, with the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nebula_resource._aio import cancel_soundly
from nebula_resource.errors import CleanupError
from nebula_resource.manager.held import END_TIMEOUT, end_held, end_in_time

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope

__all__ = ["end_scope", "end_scopes"]


async def end_scopes(scopes: list[OpenScope], error: BaseException | None, *, counted: bool = True) -> None:
    """Close scopes, the last first, with what their block raised; raise what goes wrong.

    Close errors become notes on the block's error, and on a cancellation that came meanwhile; without either, a single
    one is raised as itself, several as one `ExceptionGroup`. ``counted`` says whether the manager was told that they
    opened.
    """
    errors: list[BaseException] = []
    outcome = error
    cancelled: asyncio.CancelledError | None = None
    while scopes:
        scope = scopes.pop()
        try:
            failed, again = await end_scope(scope, outcome)
        finally:
            if counted:
                scope.manager.scope_closed(scope.scope)
        errors += failed
        if outcome is None and failed:
            outcome = failed[0]  # the outer ones do not end well either
        cancelled = again or cancelled  # the other levels close first
    if cancelled is not None:
        _note(cancelled, errors)
        raise cancelled
    if error is not None:
        _note(error, errors)
    elif len(errors) == 1:
        raise errors[0]
    elif errors:
        raise BaseExceptionGroup("several leases could not be ended", errors)


def _note(error: BaseException, others: Iterable[BaseException]) -> None:
    for each in others:
        error.add_note(f"closing the scope also raised {type(each).__name__}")


async def end_scope(
    scope: OpenScope, error: BaseException | None
) -> tuple[list[BaseException], asyncio.CancelledError | None]:
    """Close one scope.

    It goes on through any number of cancellations of the caller. Returns what went wrong on the way, and the last of
    those cancellations, which the caller raises.
    """
    scope.refuse_more()
    closing = scope.tasks.spawn(_end(scope, error or scope.outcome), name="close", awaited=True)
    cancelled: asyncio.CancelledError | None = None
    while not closing.done():
        try:
            await asyncio.wait((closing,))
        except asyncio.CancelledError as raised:
            cancelled = raised  # put off, not swallowed
    return closing.result(), cancelled


async def _end(scope: OpenScope, error: BaseException | None) -> list[BaseException]:
    errors = await _cancel_pending(scope)
    error = error or (errors[0] if errors else None)
    finalizers = scope.finalizers
    while finalizers:
        try:
            step = finalizers.pop()(error)
            if step is not None:
                await end_in_time(step, scope.tasks)
        except BaseException as raised:
            errors.append(raised)
            error = error or raised  # what is ended after it did not end well
    while (held := scope.pop()) is not None:
        try:
            await end_held(held, error)
        except BaseException as raised:
            if raised is not error:
                errors.append(raised)
            error = error or raised
    return errors


async def _cancel_pending(scope: OpenScope) -> list[BaseException]:
    pending = scope.pending()
    for task in pending:
        cancel_soundly(task)
    if not pending:
        return []
    _, late = await asyncio.wait(pending, timeout=END_TIMEOUT)
    scope.give_up(late)
    return [
        CleanupError(
            TimeoutError(f"{task.get_name()}: it did not stop within {END_TIMEOUT:g} s of being cancelled")
        )
        for task in late
    ]
