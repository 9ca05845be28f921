"""Authority: who a request comes from."""

from __future__ import annotations

from typing import Protocol

from starlette.requests import HTTPConnection

from nebula_resource.admin.auth.principal import LOCAL, Principal

__all__ = ["Authority", "LocalAuthority"]


class Authority(Protocol):
    """Says who sends a request. Must not wait: a stream asks again and again."""

    def identify(self, request: HTTPConnection, /) -> Principal | None:
        """Return who sent it; None: nobody known."""


class LocalAuthority:
    """No credentials are configured: the guard lets only this machine in, and everything is open to it."""

    def identify(self, request: HTTPConnection, /) -> Principal | None:
        """Whoever got here."""
        return LOCAL
