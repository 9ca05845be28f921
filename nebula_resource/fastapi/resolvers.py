"""Resolvers: who is asking, read from a request at the border.

A resolver is called with the connection and answers with `Claims`, with None (nobody says who they are) or by raising
`Refused`; it may be a coroutine function. One with an attribute ``challenge`` has it sent with every 401. The middleware makes the request's scope of the claims, so whatever a
resolver returns is trusted from there on.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import HTTPConnection

from nebula_resource.errors import ConfigurationError, InvalidScope
from nebula_resource.model.scope import Scope

__all__ = [
    "BearerResolver",
    "ClaimResolver",
    "Claims",
    "HeaderResolver",
    "PathResolver",
    "Refused",
    "Resolver",
]

MAX_TOKEN: Final = 4096
"""Characters; a longer token is refused before anybody looks at it (a signed token of a few claims has under 2,000)."""

CLAIMS_IN_STATE: Final = "nebula_claims"


@dataclass(frozen=True, slots=True)
class Claims:
    """Who is asking, as somebody trustworthy said: ids of a tenant, a user, a workflow and an execution.

    Without an ``execution`` the request gets an id of its own.
    """

    tenant: str | None = None
    user: str | None = None
    workflow: str | None = None
    execution: str | None = None


class Refused(Exception):
    """The request is not let in: 401 (nobody we know), 403 or 404; ``challenge`` is the WWW-Authenticate header."""

    def __init__(self, status: int = 401, *, challenge: str | None = None) -> None:
        super().__init__(f"refused with {status}")
        self.status = status
        self.challenge = challenge


Found = Claims | None
Resolver = Callable[[HTTPConnection], Found | Awaitable[Found]]
Verdict = bool | Claims | None


class ClaimResolver:
    """The identity that an authenticating middleware or server put into the request; the default.

    It reads, in this order: ``request.state.nebula_claims`` (a `Claims`; whoever sets it has authenticated), then
    ``request.user`` of Starlette's AuthenticationMiddleware, if ``is_authenticated``: its ``tenant`` or ``tenant_id``
    and its ``identity``. Whatever else arrives with a request is not evidence.

    Args:
        read: reads your own kind of identity instead; what it returns is trusted.
    """

    __slots__ = ("_read",)

    def __init__(self, read: Resolver | None = None) -> None:
        self._read = read

    def __call__(self, conn: HTTPConnection) -> Found | Awaitable[Found]:
        """The claims of this request, if it is authenticated."""
        if self._read is not None:
            return self._read(conn)
        state = conn.scope.get("state")
        if state:
            claims = state.get(CLAIMS_IN_STATE)
            if isinstance(claims, Claims):
                return claims
        user = conn.scope.get("user")
        return None if user is None else _claims_of_user(user)


def _claims_of_user(user: Any) -> Claims | None:
    if getattr(user, "is_authenticated", False) is not True:
        return None
    tenant = getattr(user, "tenant", None) or getattr(user, "tenant_id", None)
    try:
        identity = user.identity
    except (AttributeError, NotImplementedError):  # Starlette's base user has the property and no value
        identity = None
    return Claims(
        tenant=None if tenant is None else str(tenant), user=None if identity is None else str(identity)
    )


class BearerResolver:
    """``Authorization: Bearer <token>``, verified by a function of yours.

    Args:
        verify: gets the token and returns `Claims`, or None for one it does not know; may be a coroutine function.
        max_length: longest token in characters that ``verify`` is bothered with.

    No header: no claim. A header that is not one bearer token, or a token that ``verify`` does not know: 401.
    """

    __slots__ = ("_max_length", "_verify")

    challenge = "Bearer"
    """What a 401 says is expected (the WWW-Authenticate header)."""

    def __init__(
        self, verify: Callable[[str], Found | Awaitable[Found]], *, max_length: int = MAX_TOKEN
    ) -> None:
        self._verify = verify
        self._max_length = max_length

    async def __call__(self, conn: HTTPConnection) -> Claims | None:
        """The claims that the token carries."""
        raw = _single_header(conn, b"authorization")
        if raw is None:
            return None
        # The longest of `Bearer `, blanks and token: measured before anything is decoded or split.
        if len(raw) > self._max_length + 16:
            raise Refused
        scheme, _, token = raw.decode("latin-1").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            raise Refused
        claims = self._verify(token)
        if claims is not None and not isinstance(claims, Claims):
            claims = await claims
        if claims is None:
            raise Refused(challenge='Bearer error="invalid_token"')
        return claims


_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1


class HeaderResolver:
    """A header that a proxy of yours sets, and that nobody else can: it names the tenant.

    Args:
        name: the header, ``x-tenant-id`` say.
        user: another header, that names the user.
        trusted: True says that every request comes through that proxy and that it removes what clients send.
        verify: instead, says whether this connection may claim this tenant (checks a signature, the peer's address, …);
            True, False, or other `Claims`; may be a coroutine function.

    Sent twice: 401, since one of the two is not the proxy's.
    """

    __slots__ = ("_name", "_user", "_verify")

    def __init__(
        self,
        name: str,
        *,
        user: str | None = None,
        trusted: bool = False,
        verify: Callable[[str, HTTPConnection], Verdict | Awaitable[Verdict]] | None = None,
    ) -> None:
        if trusted is (verify is not None):
            raise ConfigurationError(
                f"anybody can send the header '{name}': pass verify= to check it, or trusted=True when a proxy of "
                "yours sets it and removes what clients send (one of the two)"
            )
        self._name = name.lower().encode("latin-1")
        self._user = None if user is None else user.lower().encode("latin-1")
        self._verify = verify

    async def __call__(self, conn: HTTPConnection) -> Claims | None:
        """The claims in the header."""
        raw = _single_header(conn, self._name)
        if raw is None:
            return None
        tenant = _text(raw)
        user = None if self._user is None else _single_header(conn, self._user)
        claims = Claims(tenant=tenant, user=None if user is None else _text(user))
        return claims if self._verify is None else await _verified(claims, tenant, self._verify, conn, 401)


class PathResolver:
    """The tenant in the path: ``PathResolver("/t/{tenant}")``; a path that does not fit makes no claim.

    A path is no evidence of who is asking. Without ``verify`` this is for what every visitor of a tenant may do.

    Args:
        template: how the path begins, with ``{tenant}`` as one segment of it.
        verify: says whether this connection may have this tenant: True, False (404, as for a tenant that is not
            there), or `Claims`; may be a coroutine function.
    """

    __slots__ = ("_pattern", "_verify")

    def __init__(
        self,
        template: str,
        *,
        verify: Callable[[str, HTTPConnection], Verdict | Awaitable[Verdict]] | None = None,
    ) -> None:
        before, marker, after = template.partition("{tenant}")
        if (
            not marker
            or not before.startswith("/")
            or not before.endswith("/")
            or (after and not after.startswith("/"))
        ):
            raise ConfigurationError("the template holds {tenant} as a whole segment: '/t/{tenant}'")
        end = re.escape(after.rstrip("/"))
        self._pattern = re.compile(rf"{re.escape(before)}(?P<tenant>[^/]+){end}(?:/|$)")
        self._verify = verify

    async def __call__(self, conn: HTTPConnection) -> Claims | None:
        """The claims in the path."""
        path: str = conn.scope["path"]
        root: str = conn.scope.get("root_path", "")
        if root and path.startswith(root):
            path = path[len(root) :]
        found = self._pattern.match(path)
        if found is None:
            return None
        tenant = found["tenant"]
        try:
            Scope.tenant(tenant)
        except InvalidScope:
            raise Refused(404) from None
        claims = Claims(tenant=tenant)
        return claims if self._verify is None else await _verified(claims, tenant, self._verify, conn, 404)


async def _verified(
    claims: Claims,
    value: str,
    verify: Callable[[str, HTTPConnection], Verdict | Awaitable[Verdict]],
    conn: HTTPConnection,
    status: int,
) -> Claims:
    verdict = verify(value, conn)
    if verdict is not None and not isinstance(verdict, bool | Claims):
        verdict = await verdict
    if isinstance(verdict, Claims):
        return verdict
    if verdict is True:
        return claims
    raise Refused(status)


def _single_header(conn: HTTPConnection, name: bytes) -> bytes | None:
    """The value of a header that may be sent once; None when it was not sent."""
    found: bytes | None = None
    for key, value in conn.scope["headers"]:
        if key == name:
            if found is not None:
                raise Refused
            found = value
    return found


def _text(raw: bytes) -> str:
    """A header's value as text; what is not UTF-8 is nobody's id."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused from None
