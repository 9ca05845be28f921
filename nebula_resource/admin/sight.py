"""Sight: what of a text about one resource a caller may read: names of what does not exist for it are left out."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nebula_resource.events import Event, HealthChanged, Quarantined

if TYPE_CHECKING:
    from nebula_resource.admin.auth.principal import Principal
    from nebula_resource.admin.sse.frame import Notice
    from nebula_resource.manager import Manager, Registration

__all__ = ["Sight"]

NAMELESS = "a dependency"

_ID = r"[A-Za-z0-9][A-Za-z0-9._~-]*"
_NAMED = re.compile(
    # Every text of the library that names what a resource needs, and how the name stands in it.
    rf"dependency '({_ID})'|(?<=failed with )'({_ID})'|'({_ID})'(?=, which (?:it needs|is not open))|^dependency ({_ID})$"
)


class Sight:
    """A resource of a tenant may need one that is everybody's; a key of that tenant sees only registrations that name it.

    Such a key is told that something below is ill, and since when, but not what: neither in fields nor in words.
    A name that is registered no more is one that it may not see.
    """

    def __init__(self, manager: Manager, who: Principal) -> None:
        self.manager = manager
        self.who = who

    def shows(self, name: str) -> bool:
        """Whether a public id, or a resource's id, is one of something that exists for the caller."""
        if self.who.tenant is None:
            return True
        registry = self.manager.registry
        exact = registry.get(name)
        found = registry.named(name) if exact is None else (exact,)
        return any(self.who.sees(each.scope) for each in found)

    def text(self, text: str) -> str:
        """The text without names that the caller does not see."""
        return text if self.who.tenant is None else _NAMED.sub(self._named, text)

    def found(self, found: object, registration: Registration) -> Any:
        """JSON that a check of a resource found, without what stands under the name of a need that the caller does not see."""
        needs = {
            *registration.resource.dependencies,
            *self.manager.dependencies.dependencies(registration.public_id),
        }
        return self._without(found, {name for name in needs if not self.shows(name)})

    def _without(self, found: object, hidden: Collection[str]) -> Any:
        if isinstance(found, dict):
            return {name: self._without(each, hidden) for name, each in found.items() if name not in hidden}
        if isinstance(found, list):
            return [self._without(each, hidden) for each in found]
        return self.text(found) if isinstance(found, str) else found

    def event(self, event: Event | Notice) -> Event | Notice:
        """The event as the caller is told of it."""
        if isinstance(event, HealthChanged):
            return replace(event, because=tuple(map(self.text, event.because)))
        if isinstance(event, Quarantined) and event.reason != "manual":
            return replace(event, detail=self.text(event.detail))
        return event

    def _named(self, match: re.Match[str]) -> str:
        return match[0] if self.shows(match[match.lastindex or 0]) else NAMELESS
