"""Refreshing: credentials of a manager's registrations, asked for again a minute before they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from nebula_resource.errors import MissingCredential
from nebula_resource.hooks import CredentialRefreshHook, HookPayload

if TYPE_CHECKING:
    from nebula_resource.manager.operations import Operations
    from nebula_resource.manager.registration import Registration

__all__ = ["credential_refresh"]


def credential_refresh(
    manager: Operations,
    *,
    ahead: float = 60.0,
    timeout: float | None = 30.0,
    retry_after: float = 5.0,
    now: Callable[[], datetime] | None = None,
) -> CredentialRefreshHook:
    """A hook that looks after the credentials of everything registered: ``manager.hooks.add(credential_refresh(manager))``.

    What a resource names in ``credential_keys`` is asked of its provider at the first acquire, and again by an acquire
    within ``ahead`` seconds of the earliest end. With another edition of one of them the pool's instances are replaced,
    busy ones on return: what is handed out from then on was made with it. As long as the provider has nothing newer it
    is asked every ``retry_after`` seconds, and the log says so.

    Args:
        manager: whose registrations and providers.
        ahead: seconds before the end.
        timeout: seconds for the provider to answer; None: none.
        retry_after: seconds between two askings in vain.
        now: the wall clock (UTC).
    """
    clock = now or partial(datetime.now, UTC)
    editions = _Editions(manager, clock, timedelta(seconds=ahead))
    return CredentialRefreshHook(
        editions.expires_at, editions.renew, ahead=ahead, timeout=timeout, retry_after=retry_after, now=clock
    )


@dataclass(frozen=True, slots=True)
class _Edition:
    """What the provider last gave: the version by key, and the earliest end."""

    versions: Mapping[str, str]
    expires_at: datetime | None


class _StillOld(Exception):
    """The provider has nothing newer, and the end is near."""


class _Editions:
    """Which edition of its credentials each registration has; a registration that is gone is forgotten."""

    def __init__(self, manager: Operations, now: Callable[[], datetime], ahead: timedelta) -> None:
        self._manager = manager
        self._now = now
        self._ahead = ahead
        self._known: WeakKeyDictionary[Registration, _Edition] = WeakKeyDictionary()

    def expires_at(self, payload: HookPayload) -> datetime | None:
        """When the first of them ends; never looked at counts as near its end: looked at, and nobody waits for that."""
        registration = self._manager.registry.get(payload.public_id)
        if registration is None or not _keys(registration):
            return None
        known = self._known.get(registration)
        # A resource may come to know what it needs when it first creates (the drivers do).
        if known is None or known.versions.keys() != set(_keys(registration)):
            return self._now() + self._ahead
        return known.expires_at

    async def renew(self, payload: HookPayload) -> None:
        """Ask the provider; other editions mean other instances. Raises what it raises."""
        registration = self._manager.registry.get(payload.public_id)
        if registration is None:
            return  # deregistered while the hook started
        provider = self._manager.credentials_of(registration)
        keys = _keys(registration)
        if provider is None:
            raise MissingCredential(keys[0], resource_id=registration.key)
        found = {key: await provider.get(key) for key in keys}
        before = self._known.get(registration)
        ends = min((each.expires_at for each in found.values() if each.expires_at), default=None)
        edition = _Edition({key: each.version for key, each in found.items()}, ends)
        self._known[registration] = edition
        if before is not None and any(
            before.versions.get(key, version) != version for key, version in edition.versions.items()
        ):
            registration.pool.recycle_all()
        if ends is not None and ends - self._now() <= self._ahead:
            raise _StillOld


def _keys(registration: Registration) -> tuple[str, ...]:
    return tuple(getattr(registration.resource, "credential_keys", ()))
