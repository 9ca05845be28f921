"""Idempotency: a change that is sent again under the same key is done once, and answered as the first time."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.problems import AdminProblem

__all__ = ["Answers", "IdempotentRoute"]

HEADER = "idempotency-key"
KEPT_FOR = 86_400.0
"""Seconds that an answer is given again."""
MOST = 1024
"""Answers that are kept; the oldest goes."""
MOST_OF_ONE = 256
"""The same of one principal: who sends many makes nobody else's change be done twice."""

_KEY = re.compile(r"[\x21-\x7e]{1,128}")

Slot = tuple[Principal, str, str]
"""Whose key, on which path, which key: another principal's is another."""


@dataclass(slots=True)
class _Answer:
    """``response`` is None while the change is under way."""

    at: float
    body: bytes
    response: Response | None = None


class Answers:
    """What was answered under which key; one for each application."""

    def __init__(self) -> None:
        self._known: dict[Slot, _Answer] = {}

    def __len__(self) -> int:
        return len(self._known)

    def begin(self, slot: Slot, body: bytes) -> Response | None:
        """The answer of the first time; None when this is the first time, which is noted.

        Raises `AdminProblem`: 422 when the key was used for something else, 409 while that is under way.
        """
        now = asyncio.get_running_loop().time()
        while self._known and now - next(iter(self._known.values())).at >= KEPT_FOR:
            del self._known[next(iter(self._known))]
        digest = hashlib.sha256(body).digest()
        known = self._known.get(slot)
        if known is None:
            self._make_room(slot[0])
            self._known[slot] = _Answer(now, digest)
            return None
        if known.body != digest:
            raise AdminProblem(422, "idempotency_mismatch", "this Idempotency-Key was used with another body")
        if known.response is None:
            raise AdminProblem(409, "in_progress", "the change with this Idempotency-Key is under way")
        return known.response

    def _make_room(self, who: Principal) -> None:
        """Forget the oldest, but none that is under way: it would be done a second time."""
        answered = [slot for slot, each in self._known.items() if each.response is not None]
        own = [slot for slot in answered if slot[0] == who]
        if len(own) >= MOST_OF_ONE:
            del self._known[own[0]]
        elif answered and len(self._known) >= MOST:
            del self._known[answered[0]]

    def end(self, slot: Slot, response: Response | None) -> None:
        """Keep the answer; None: it failed, and may be tried again."""
        known = self._known.get(slot)
        if known is None:
            return
        if response is None:
            del self._known[slot]
        else:
            known.response = response


class IdempotentRoute(APIRoute):
    """A route whose POST heeds ``Idempotency-Key``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the look at what was answered before."""
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method != "POST":
                return await handle(request)
            who = request.app.state.admin.authority.identify(request)
            if who is None:
                return await handle(request)
            if not _KEY.fullmatch(key):
                raise AdminProblem(
                    400, "bad_idempotency_key", "an Idempotency-Key has 1 to 128 visible ASCII characters"
                )
            answers = cast("Answers", request.app.state.admin.answers)
            slot = (who, request.url.path, key)
            before = answers.begin(slot, await request.body())
            if before is not None:
                again = Response(before.body, before.status_code, media_type=before.media_type)
                again.raw_headers = [*before.raw_headers, (b"idempotency-replayed", b"true")]
                return again
            try:
                response = await handle(request)
            except BaseException:
                answers.end(slot, None)
                raise
            answers.end(slot, response)
            return response

        return handle_once
