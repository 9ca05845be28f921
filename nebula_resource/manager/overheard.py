"""Overheard: the credentials that a registration's provider gave, known again when a check quotes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nebula_resource.model.config import Secret
    from nebula_resource.model.credentials import Credential, CredentialProvider

__all__ = ["Overheard", "Secrets"]

KEPT = 2
"""Editions of one credential: while it is rotated, instances of the old one are checked, too."""


class Secrets:
    """What a registration's provider gave last, by key: a check is censored by it. Shown nowhere."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[str, tuple[Secret, ...]] = {}

    def __repr__(self) -> str:
        return f"<Secrets of {len(self._by_key)} credentials>"

    def add(self, key: str, secret: Secret) -> None:
        """A create, or a check, was given it."""
        before = self._by_key.get(key, ())
        if secret not in before:
            self._by_key[key] = (*before, secret)[-KEPT:]

    def all(self) -> tuple[Secret, ...]:
        """Each of them."""
        return tuple(secret for held in self._by_key.values() for secret in held)


class Overheard:
    """A provider, as the resource sees it."""

    __slots__ = ("_provider", "_secrets")

    def __init__(self, provider: CredentialProvider, secrets: Secrets) -> None:
        self._provider = provider
        self._secrets = secrets

    def __repr__(self) -> str:
        return repr(self._provider)

    async def get(self, key: str, /) -> Credential:
        """Return the credential as it is now. Raises what the provider raises."""
        credential = await self._provider.get(key)
        self._secrets.add(key, credential.value)
        return credential
