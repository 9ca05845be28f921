"""Plan: what has to be done so that one configuration takes the place of another; pure values."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nebula_resource.service.declaration import Declaration
from nebula_resource.service.resource_section import DeclaredResource

__all__ = ["Plan", "plan_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Resources to add (each after what it needs), to change (old, new) and to take out.

    ``resources`` is everything that is declared when it is done.
    """

    added: tuple[DeclaredResource, ...] = ()
    changed: tuple[tuple[DeclaredResource, DeclaredResource], ...] = ()
    removed: tuple[DeclaredResource, ...] = ()
    resources: tuple[DeclaredResource, ...] = ()


def plan_of(old: Declaration, new: Declaration) -> Plan:
    """Compare two declarations by id and scope; a table that was only renamed is no change."""
    before = {each.key: each for each in old.resources}
    after = {each.key: each for each in new.resources}
    # A resource that is made alike is the same one: its instances' owner stays.
    kept = {
        key: replace(each, resource=before[key].resource)
        if key in before and each.is_made_like(before[key])
        else each
        for key, each in after.items()
    }
    return Plan(
        added=tuple(each for key, each in kept.items() if key not in before),
        changed=tuple(
            (before[key], each)
            for key, each in kept.items()
            if key in before and not each.says_the_same_as(before[key])
        ),
        removed=tuple(each for key, each in before.items() if key not in after),
        resources=tuple(kept.values()),
    )
