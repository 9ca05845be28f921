"""ScopeEnd: everything that an open scope holds is given back, the last first, with the outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nebula_resource._aio import cancel_soundly
from nebula_resource.errors import CleanupError
from nebula_resource.manager.held import END_TIMEOUT, end_held, end_in_time, lose_held

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope

__all__ = ["end_scopes"]

log = logging.getLogger("nebula_resource.manager")


async def end_scopes(scopes: list[OpenScope], error: BaseException | None, *, counted: bool = True) -> None:
    """Close scopes, the last first, with what their block raised; raise what goes wrong.

    It goes on through any number of cancellations of the caller, who then raises the last of them, and by itself when
    the caller's coroutine is closed, which may not wait. Close errors become notes on the block's error, and on a
    cancellation that came meanwhile; without either, a single one is raised as itself, several as one `ExceptionGroup`.
    ``counted`` says whether the manager was told that they opened.
    """
    innermost = scopes[-1]
    innermost.refuse_more()
    if isinstance(error, GeneratorExit) and asyncio._get_running_loop() is None:
        _lose(scopes, counted)
        return
    closing = innermost.tasks.spawn(_end_all(scopes, error, counted), name="close", awaited=True)
    if isinstance(error, GeneratorExit):  # a coroutine that is being closed may not wait
        closing.add_done_callback(_report)
        return
    cancelled: asyncio.CancelledError | None = None
    while not closing.done():
        try:
            await asyncio.wait((closing,))
        except asyncio.CancelledError as raised:
            cancelled = raised  # put off, not swallowed
        except GeneratorExit:
            closing.add_done_callback(_report)
            raise
    errors = closing.result()
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


def _report(closing: asyncio.Task[list[BaseException]]) -> None:
    """Nobody waits for this end: what went wrong in it is logged."""
    for error in () if closing.cancelled() else closing.result():
        log.error("a scope that was left behind did not end well", extra={"error": type(error).__name__})


async def _end_all(
    scopes: list[OpenScope], error: BaseException | None, counted: bool
) -> list[BaseException]:
    """Close one after the other; returns what went wrong on the way."""
    errors: list[BaseException] = []
    while scopes:
        scope = scopes.pop()
        scope.refuse_more()
        try:
            errors += await _end(scope, error or scope.outcome)
        finally:
            if counted:
                scope.manager.scope_closed(scope.scope)
        if error is None and errors:
            error = errors[0]  # the outer ones do not end well either
    return errors


def _lose(scopes: list[OpenScope], counted: bool) -> None:
    """Let their pools hear, when their loop runs again, that nobody gives back what they hold. Nothing else can be done."""
    while scopes:
        scope = scopes.pop()
        scope.refuse_more()
        unended = len(scope.finalizers)
        while (held := scope.pop()) is not None:
            unended += not lose_held(held)
        if unended:
            log.warning("a scope was lost with its loop: what it kept was not ended", extra={"kept": unended})
        if counted:
            scope.manager.scope_closed(scope.scope)


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
