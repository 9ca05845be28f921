"""Authority: who a request comes from."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from typing import Protocol

from starlette.requests import HTTPConnection

from nebula_resource.admin.auth.key import Key, digest_of, split
from nebula_resource.admin.auth.key_source import KeySource
from nebula_resource.admin.auth.principal import LOCAL, Principal
from nebula_resource.admin.auth.role import Role
from nebula_resource.admin.auth.sessions import Session, Sessions
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.model.printable import printable

__all__ = ["CSRF_HEADER", "Authority", "KeyAuthority", "LocalAuthority", "cookie_name"]

CSRF_HEADER = "x-nebula-csrf"
MAX_FAILURES = 5
"""Wrong keys a second from one address that are told they are wrong; the next are told to wait."""
MAX_ADDRESSES = 4096
MAX_LOGGED = 16
"""Addresses with wrong keys that stand in the log, once a second each; more in one second are a flood, and are counted."""

log = logging.getLogger("nebula_resource.admin")

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Authority(Protocol):
    """Says who sends a request. Must not wait: a stream asks again and again."""

    def identify(self, request: HTTPConnection, /) -> Principal | None:
        """Return who sent it; None: nobody known."""

    def admit(self, request: HTTPConnection, /) -> Principal | None:
        """The same for a new request. Raises `AdminProblem` where it must not even be tried."""


class LocalAuthority:
    """No credentials are configured: the guard lets only this machine in, and everything is open to it."""

    def identify(self, request: HTTPConnection, /) -> Principal | None:
        """Whoever got here."""
        return LOCAL

    def admit(self, request: HTTPConnection, /) -> Principal | None:
        """The same."""
        return LOCAL


class KeyAuthority:
    """Knows bearers of keys, and browsers that have shown one."""

    def __init__(self, keys: KeySource) -> None:
        self._keys = keys
        self.sessions = Sessions()
        self._failures: dict[str, tuple[float, int]] = {}
        # Compared with where an id is unknown: that takes as long as a wrong secret.
        self._nobody = Key(id="nobody", digest=digest_of(secrets.token_hex(32)), role=Role.METRICS)

    def identify(self, request: HTTPConnection, /) -> Principal | None:
        """By the Authorization header, else by the session's cookie."""
        authorization = request.headers.get("authorization")
        if authorization is not None:
            scheme, _, text = authorization.partition(" ")
            return self.principal_of(text.strip()) if scheme.lower() == "bearer" else None
        session = self.session_of(request, touch=False)
        return None if session is None else self._principal_of_session(session)

    def admit(self, request: HTTPConnection, /) -> Principal | None:
        """The same; counts wrong keys, and asks what a browser changes for its session's token."""
        principal = self.identify(request)
        if "authorization" in request.headers:
            if principal is None:
                self.count_failure(request, request.headers["authorization"].partition(" ")[2].strip())
            return principal
        session = self.session_of(request, touch=True)
        if principal is not None and session is not None and request.scope["method"] not in _SAFE:
            token = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(token.encode(), session.csrf.encode()):
                raise AdminProblem(403, "csrf", "a session's changes need its token in X-Nebula-Csrf")
        return principal

    # ── keys ──

    def key_of(self, text: str) -> Key | None:
        """The key with this text, if there is one and its time is not over."""
        parts = split(text)
        id_, secret = parts or ("", "")
        key = self._keys.get(id_)
        fits = (key or self._nobody).opens_with(secret)
        return key if key is not None and fits and not key.has_ended() else None

    def principal_of(self, text: str) -> Principal | None:
        """Who has the key with this text."""
        key = self.key_of(text)
        return None if key is None else key.principal

    # ── sessions ──

    def session_of(self, request: HTTPConnection, *, touch: bool) -> Session | None:
        """The session whose cookie the request carries."""
        token = request.cookies.get(cookie_name(request))
        return None if not token else self.sessions.get(token, touch=touch)

    def _principal_of_session(self, session: Session) -> Principal | None:
        key = self._keys.get(session.key_id)
        return None if key is None or key.has_ended() else key.principal

    # ── patience ──

    def count_failure(self, request: HTTPConnection, text: str) -> None:
        """One more wrong key from this address. Raises `AdminProblem` (429) where it has shown too many in a second.

        Of ``text`` the log gets the key's id alone, if it has the form of a key: it tells a key that was taken out
        and is still in use somewhere from somebody who guesses.
        Called for wrong keys only: behind one proxy there are many people, and none keeps those out whose key is right.
        What keeps guessers out is the length of a secret; this keeps their noise apart.
        """
        now = asyncio.get_running_loop().time()
        address = _address(request)
        failures = self._failures  # oldest first: each stands where its second began
        while failures and now - next(iter(failures.values()))[0] >= 1.0:
            del failures[next(iter(failures))]
        since, count = failures.get(address, (now, 0))
        if address not in failures and len(failures) >= MAX_ADDRESSES:
            del failures[next(iter(failures))]
        failures[address] = (since, count + 1)
        if count == 0 and len(failures) <= MAX_LOGGED:
            id_, _ = split(text) or (None, "")
            log.warning("wrong key", extra={"address": printable(address), "key": id_})
        if count >= MAX_FAILURES:
            raise AdminProblem(429, "too_many_failures", "too many wrong keys", retry_after=1.0)


def cookie_name(request: HTTPConnection) -> str:
    """With TLS a name that browsers accept only from this host, over TLS."""
    return "__Host-nebula" if request.url.scheme == "https" else "nebula_session"


def _address(request: HTTPConnection) -> str:
    return request.client.host if request.client is not None else ""
