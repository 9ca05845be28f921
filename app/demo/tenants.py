"""Tenants: the three of the demo, and the token that says who is one."""

from __future__ import annotations

from hmac import compare_digest

__all__ = ["TENANTS", "tenant_of", "token_of"]

TENANTS = ("acme", "globex", "initech")


def token_of(tenant: str) -> str:
    """The bearer token of a tenant: a demo's, so everybody may know it."""
    return f"demo-{tenant}"


def tenant_of(token: str) -> str | None:
    """Whose token it is, or None.

    It is compared with each, in constant time, so that the time says nothing about a wrong one.
    """
    given = token.encode()
    found = [tenant for tenant in TENANTS if compare_digest(token_of(tenant).encode(), given)]
    return found[0] if found else None
