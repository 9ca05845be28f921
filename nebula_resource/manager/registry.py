"""Registry: which registration serves a caller, and which one an operator means."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from nebula_resource.errors import AlreadyRegistered, AmbiguousScope, NotRegistered, ResourceNotFound
from nebula_resource.manager.registration import Registration
from nebula_resource.model.ports import RegistrationSource
from nebula_resource.model.scope import Scope, ScopeLevel, Strategy

__all__ = ["Registry"]

REMEMBERED = 4096
"""Answers that are remembered for one id."""

Fields = tuple[tuple[ScopeLevel, object], ...]
Shape = tuple[ScopeLevel, ...]


class _Shelf:
    """The registrations of one id: by the fields of their scopes, and by which levels those have.

    A caller is looked up once for each *shape* (set of levels) in use, not once for each registration: ten thousand
    tenants with a pool of their own are one shape. What was found is remembered by the caller's ids down to the deepest
    level in use (``reach``), no further: executions come and go, and all of a tenant's have the same answer. Where
    that is deeper than TENANT, callers from below it are remembered apart: a scope serves what is nested in it, but of
    its own level only its equal, and ids alone do not tell these from those.
    """

    __slots__ = ("_shapes", "by_fields", "depths", "found", "found_below", "is_split", "reach")

    def __init__(self) -> None:
        self.by_fields: dict[Fields, Registration] = {}
        self._shapes: dict[Shape, int] = {}
        self.depths: list[tuple[tuple[ScopeLevel, int], list[Shape]]] = []
        """(level, number of fields) with the shapes of that depth, the deepest first."""
        self.found: dict[tuple[object, ...], Registration] = {}
        self.found_below: dict[tuple[object, ...], Registration] = {}
        self.reach = ScopeLevel.TENANT
        self.is_split = False

    def add(self, registration: Registration) -> None:
        fields = registration.scope.fields
        self.by_fields[fields] = registration
        self.forget_answers()
        shape = tuple(level for level, _ in fields)
        self._shapes[shape] = self._shapes.get(shape, 0) + 1
        if self._shapes[shape] == 1:
            self._sort()

    def remove(self, registration: Registration) -> None:
        fields = registration.scope.fields
        del self.by_fields[fields]
        self.forget_answers()
        shape = tuple(level for level, _ in fields)
        self._shapes[shape] -= 1
        if not self._shapes[shape]:
            del self._shapes[shape]
            self._sort()

    def answers_for(self, scope: Scope) -> dict[tuple[object, ...], Registration]:
        """What was found for callers such as this one."""
        return self.found_below if self.is_split and scope.level > self.reach else self.found

    def forget_answers(self) -> None:
        """Something changed."""
        self.found.clear()
        self.found_below.clear()

    def _sort(self) -> None:
        depths: dict[tuple[ScopeLevel, int], list[Shape]] = {}
        for shape in sorted(self._shapes):
            depths.setdefault((shape[-1] if shape else ScopeLevel.GLOBAL, len(shape)), []).append(shape)
        self.depths = sorted(depths.items(), reverse=True)
        # Never above TENANT: a caller with a tenant is not served by what a caller without one may have.
        self.reach = max([ScopeLevel.TENANT, *(level for level, _ in depths)])
        self.is_split = self.reach > ScopeLevel.TENANT


class Registry:
    """All registrations. Scope comes first: what a caller may not see looks exactly like what does not exist."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._by_public_id: dict[str, Registration] = {}
        self._needing: dict[str, dict[Registration, None]] = {}
        """Who declares a dependency on an id; a dict as an ordered set."""
        self.known: dict[str, Registration] = {}
        """Who serves GLOBAL callers, as far as it was asked; this very dict, cleared when anything changes."""
        self.for_all: dict[str, Registration] = {}
        """Who serves every caller, as far as it was asked: the only registration of its key, a GLOBAL one."""
        self.sources: tuple[RegistrationSource, ...] = ()

    def __len__(self) -> int:
        return len(self._by_public_id)

    def __iter__(self) -> Iterator[Registration]:
        return iter(tuple(self._by_public_id.values()))

    def add(self, registration: Registration) -> None:
        """Add one. Raises `AlreadyRegistered`."""
        if registration.public_id in self._by_public_id:
            raise AlreadyRegistered(registration.key, scope=registration.scope)
        self._by_public_id[registration.public_id] = registration
        self._shelves.setdefault(registration.key, _Shelf()).add(registration)
        self._note_needs(registration)
        self.known.clear()
        self.for_all.clear()

    def remove(self, registration: Registration) -> None:
        """Take one out."""
        del self._by_public_id[registration.public_id]
        shelf = self._shelves[registration.key]
        shelf.remove(registration)
        if not shelf.by_fields:
            del self._shelves[registration.key]
        self._drop_needs(registration)
        self.known.clear()
        self.for_all.clear()

    @contextmanager
    def changing(self, registration: Registration) -> Generator[None]:
        """While it gets other dependencies or is seen by others: what was remembered of it no longer counts."""
        self._drop_needs(registration)
        try:
            yield
        finally:
            self._note_needs(registration)
            self._shelves[registration.key].forget_answers()
            self.known.clear()
            self.for_all.clear()

    def _note_needs(self, registration: Registration) -> None:
        for key in registration.dependencies:
            self._needing.setdefault(key, {})[registration] = None

    def _drop_needs(self, registration: Registration) -> None:
        for key in dict.fromkeys(registration.dependencies):
            needing = self._needing[key]
            del needing[registration]
            if not needing:
                del self._needing[key]

    # ── for callers ──

    def find(self, key: str, scope: Scope) -> Registration:
        """The registration that serves a caller in ``scope``, hierarchically. Raises as `search` does."""
        if scope is Scope.GLOBAL:
            registration = self.known.get(key)
            if registration is None:
                registration = self.search(key, scope, Strategy.HIERARCHICAL)
                if self._by_public_id.get(registration.public_id) is registration:
                    self.known[key] = registration
            return registration
        shelf = self._shelves.get(key)
        if shelf is not None:
            # Written out, `answers_for`: this is on everybody's way.
            answers = shelf.found_below if shelf.is_split and scope.level > shelf.reach else shelf.found
            registration = answers.get(scope.ids_to(shelf.reach))
            if registration is not None:
                return registration
        registration = self.search(key, scope, Strategy.HIERARCHICAL)
        shelf = self._shelves.get(key)  # a source may have registered it a moment ago
        if shelf is not None and shelf.by_fields.get(registration.scope.fields) is registration:
            answers = shelf.answers_for(scope)
            if len(answers) >= REMEMBERED:
                answers.clear()
            answers[scope.ids_to(shelf.reach)] = registration
            if registration.scope is Scope.GLOBAL and len(shelf.by_fields) == 1:
                self.for_all[key] = registration
        return registration

    def search(self, key: str, scope: Scope, strategy: Strategy) -> Registration:
        """The same by any strategy, unremembered.

        Raises `ResourceNotFound` (unknown and foreign alike) and `AmbiguousScope` (two of the same depth).
        """
        shelf = self._shelves.get(key)
        found: list[Registration] = []
        if shelf is not None:
            if strategy is Strategy.STRICT:
                equal = shelf.by_fields.get(scope.fields)
                found = [equal] if equal is not None else []
            else:
                found = self._deepest(shelf, scope)
        if len(found) > 1:
            raise AmbiguousScope(key, candidates=[each.public_id for each in found], scope=scope)
        if found:
            return found[0]
        for source in self.sources:
            claimed = source.claim(key, scope)
            if isinstance(claimed, Registration):
                return claimed
        raise ResourceNotFound(key, scope=scope)

    def _deepest(self, shelf: _Shelf, scope: Scope) -> list[Registration]:
        """Those of the greatest depth that contain ``scope`` (FALLBACK is the same: contains is reflexive)."""
        has_tenant = scope.tenant_id is not None
        mine = dict(scope.fields)
        for (level, _), shapes in shelf.depths:
            if level > scope.level:
                continue
            found = []
            for shape in shapes:
                if any(each not in mine for each in shape):
                    continue
                registration = shelf.by_fields.get(tuple((each, mine[each]) for each in shape))
                if registration is None or not registration.scope.contains(scope):
                    continue
                if (
                    has_tenant
                    and shape
                    and registration.scope.tenant_id is None
                    and not registration.cross_tenant
                ):
                    continue
                found.append(registration)
            if found:
                return found
        return []

    # ── for operators ──

    def get(self, public_id: str) -> Registration | None:
        """The registration with this public id, or None."""
        return self._by_public_id.get(public_id)

    def at(self, key: str, scope: Scope) -> Registration | None:
        """The registration of this id in exactly this scope, or None."""
        shelf = self._shelves.get(key)
        return shelf.by_fields.get(scope.fields) if shelf is not None else None

    def named(self, key: str) -> tuple[Registration, ...]:
        """All registrations of one id."""
        shelf = self._shelves.get(key)
        return tuple(shelf.by_fields.values()) if shelf is not None else ()

    def has_others(self, registration: Registration) -> bool:
        """Whether its id is registered in another scope too; costs the same however many there are."""
        shelf = self._shelves.get(registration.key)
        here = shelf is not None and self.get(registration.public_id) is registration
        return shelf is not None and len(shelf.by_fields) > int(here)

    def needing(self, key: str) -> tuple[Registration, ...]:
        """All that declare a dependency on this id, whichever registration of it they mean."""
        return tuple(self._needing.get(key, ()))

    def resolve(self, key: str, scope: Scope | None = None) -> Registration:
        """The one an operator means: an exact public id, else the only one with that id (in ``scope``, if given).

        Raises `NotRegistered`, or `AmbiguousScope` with the public ids to choose from.
        """
        exact = self._by_public_id.get(key)
        if scope is not None:
            found = exact if exact is not None and exact.scope == scope else self.at(key, scope)
            if found is None:
                raise NotRegistered(key, scope=scope)
            return found
        if exact is not None:
            return exact
        candidates = self.named(key)
        if not candidates:
            raise NotRegistered(key)
        only, *others = candidates
        if others:
            raise AmbiguousScope(key, candidates=[each.public_id for each in candidates])
        return only
