"""Paging: where a list goes on, as a signed text that tells its holder nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from nebula_resource.admin.problems import AdminProblem

__all__ = ["DEFAULT_LIMIT", "MAX_LIMIT", "Cursors"]

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
_MAC = 12  # bytes

T = TypeVar("T")


class Cursors:
    """Makes cursors and reads them; one key per process, so a restart invalidates them (a list starts again)."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def page(
        self,
        items: Sequence[T],
        *,
        key: Callable[[T], tuple[Any, ...]],
        limit: int,
        cursor: str | None,
        descending: bool = False,
    ) -> tuple[list[T], str | None]:
        """Return one page of ``items`` sorted by ``key`` (unique, JSON values), and the cursor of the next.

        Raises `AdminProblem` (400) for a cursor that is not ours.
        """
        ordered = sorted(items, key=key, reverse=descending)
        if cursor is not None:
            last = tuple(self._read(cursor))
            try:
                ordered = [each for each in ordered if (key(each) < last if descending else key(each) > last)]
            except TypeError:
                raise _bad() from None
        page = ordered[:limit]
        more = len(ordered) > limit
        return page, self._make(key(page[-1])) if more else None

    def _make(self, key: tuple[Any, ...]) -> str:
        body = json.dumps(key).encode()
        return base64.urlsafe_b64encode(self._mac(body) + body).decode().rstrip("=")

    def _read(self, cursor: str) -> list[Any]:
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raise _bad() from None
        mac, body = raw[:_MAC], raw[_MAC:]
        if not hmac.compare_digest(mac, self._mac(body)):
            raise _bad()
        last: list[Any] = json.loads(body)
        return last

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_MAC]


def _bad() -> AdminProblem:
    return AdminProblem(
        400, "bad_cursor", "the cursor is none of ours, or from before a restart: list from the start"
    )
