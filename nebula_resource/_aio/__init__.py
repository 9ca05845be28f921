"""Asyncio tricks: owned tasks, work that outlives its caller, deadlines, cancellation tokens and steps; all of them are here.

Invariants:

- A task started here is in exactly one `OwnedTasks` until it ended; its error is either raised into whoever awaits it
  or reported once, never dropped.
- Nobody who was cancelled leaves here without a ``CancelledError``. A task may catch it, but it is raised again.
- A token keeps hold of those who listen and of nobody else.
"""

from nebula_resource._aio.beside import beside
from nebula_resource._aio.deadlines import earliest, until, within
from nebula_resource._aio.owned_tasks import OwnedTasks
from nebula_resource._aio.steps import cancel_soundly, has_started, watch_steps
from nebula_resource._aio.token import CancellationToken
from nebula_resource._aio.token_guard import TokenGuard, race
from nebula_resource._aio.work import WorkCancelled, end_of_all, error_of, finish, leave, run_to_end

__all__ = [
    "CancellationToken",
    "OwnedTasks",
    "TokenGuard",
    "WorkCancelled",
    "beside",
    "cancel_soundly",
    "earliest",
    "end_of_all",
    "error_of",
    "finish",
    "has_started",
    "leave",
    "race",
    "run_to_end",
    "until",
    "watch_steps",
    "within",
]
