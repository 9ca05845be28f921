"""Sessions: browsers that have shown a key once; a cookie stands for it, and a token guards what they change."""

from __future__ import annotations

import asyncio
import hashlib
import secrets

__all__ = ["Session", "Sessions"]

IDLE = 1800.0
"""Seconds without a request after which one ends."""
LONGEST = 43_200.0
"""Seconds after which one ends whatever happens."""
MOST = 1024
"""Sessions a process keeps; the one unused longest goes."""
MOST_OF_A_KEY = 64
"""The same of one key, so that who signs in again and again signs nobody else out."""


class Session:
    """One browser. It holds the key's id only: the key is looked up each time, so a revoked one ends it."""

    __slots__ = ("csrf", "ends", "key_id", "used")

    def __init__(self, key_id: str, now: float) -> None:
        self.key_id = key_id
        self.csrf = secrets.token_urlsafe(24)
        self.used = now
        self.ends = now + LONGEST

    def is_over(self, now: float) -> bool:
        """Whether its time is over."""
        return now >= self.ends or now - self.used >= IDLE


class Sessions:
    """By the digest of the cookie's token: the store gives no token away."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, key_id: str) -> tuple[str, Session]:
        """A new session, under a token that nobody had before."""
        now = asyncio.get_running_loop().time()
        self._sessions = {name: each for name, each in self._sessions.items() if not each.is_over(now)}
        for names, most in ((self._of(key_id), MOST_OF_A_KEY), (list(self._sessions), MOST)):
            if len(names) >= most:
                del self._sessions[min(names, key=lambda name: self._sessions[name].used)]
                break
        token = secrets.token_urlsafe(32)
        session = self._sessions[_digest(token)] = Session(key_id, now)
        return token, session

    def _of(self, key_id: str) -> list[str]:
        return [name for name, each in self._sessions.items() if each.key_id == key_id]

    def get(self, token: str, *, touch: bool) -> Session | None:
        """The session of a cookie; ``touch``: a person did something, so it lives on."""
        now = asyncio.get_running_loop().time()
        session = self._sessions.get(_digest(token))
        if session is None or session.is_over(now):
            return None
        if touch:
            session.used = now
        return session

    def end(self, token: str) -> None:
        """It is over."""
        self._sessions.pop(_digest(token), None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
