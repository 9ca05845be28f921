"""Keys: which resources are asked for where, with which types, and which of them exist."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from typing import Annotated, Any, Union, get_args, get_origin

from nebula_resource.errors import FieldViolation
from nebula_resource.manager import Manager
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.near import did_you_mean

__all__ = ["Keys", "type_name"]


class Keys:
    """Collects every use of a key; `violations` then tells what does not fit together.

    Args:
        manager: whose registrations exist; None: nothing is known of that, so no key is unknown.
        expected: keys that exist although they are not registered yet.
    """

    def __init__(self, manager: Manager | None, expected: Iterable[str] = ()) -> None:
        self._known: set[str] | None = None
        if manager is not None:
            self._known = {str(registration.key) for registration in manager.registry} | set(expected)
            for source in manager.registry.sources:
                self._known.update(map(str, getattr(source, "keys", ())))
        self._used: dict[str, list[str]] = {}
        self._types: dict[str, dict[type[Any], str]] = {}
        self._annotations: list[tuple[str, str, Any]] = []

    def use(self, key: str, where: str, annotation: Any = inspect.Parameter.empty) -> None:
        """Note that ``where`` asks for ``key``, as a parameter with this annotation if it is one."""
        self._used.setdefault(str(key), []).append(where)
        if isinstance(key, ResourceKey) and isinstance(key.type, type):
            self._types.setdefault(str(key), {}).setdefault(key.type, where)
        if annotation is not inspect.Parameter.empty:
            self._annotations.append((str(key), where, annotation))

    def type_of(self, key: str) -> type[Any] | None:
        """The one type that is known of a key."""
        found = self._types.get(str(key), {})
        return next(iter(found)) if len(found) == 1 else None

    def violations(self) -> list[FieldViolation]:
        """What does not fit, of all that was noted."""
        return [*self._unknown(), *self._of_two_types(), *self._of_another_type()]

    def _unknown(self) -> Iterable[FieldViolation]:
        if self._known is None:
            return
        for key, places in self._used.items():
            if key in self._known:
                continue
            hint = did_you_mean(key, self._known)
            for where in places:
                yield FieldViolation(where, f"must ask for a registered resource{hint}", repr(key))

    def _of_two_types(self) -> Iterable[FieldViolation]:
        for key, found in self._types.items():
            if len(found) > 1:
                told = ", ".join(f"{type_name(each)} in {where}" for each, where in found.items())
                yield FieldViolation(f"key {key!r}", "must have one type everywhere", told)

    def _of_another_type(self) -> Iterable[FieldViolation]:
        for key, where, annotation in self._annotations:
            expected = self.type_of(key)
            if expected is not None and not _fits(expected, annotation):
                yield FieldViolation(
                    where,
                    f"must be annotated {type_name(expected)}, which is what {key!r} leases",
                    type_name(annotation),
                )


def type_name(annotation: Any) -> str:
    """A type as one writes it, without what ``Annotated`` adds to it."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def _fits(given: type[Any], annotation: Any) -> bool:
    """Whether a value of this type may be a parameter so annotated; what cannot be decided here fits."""
    if annotation is Any:
        return True
    origin = get_origin(annotation)
    if origin is Annotated:
        return _fits(given, get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return any(_fits(given, each) for each in get_args(annotation))
    plain = origin if isinstance(origin, type) else annotation
    if not isinstance(plain, type) or getattr(plain, "_is_protocol", False):
        return annotation is not None  # a variable, text, a protocol: for type checkers
    return issubclass(given, plain)
