"""ResourceKey: the id of a resource that also knows, for type checkers, what a lease of it is."""

from __future__ import annotations

import builtins
import re
from typing import Any, Generic, TypeGuard, TypeVar, cast, get_args

from nebula_resource.errors import FieldViolation, ValidationFailed

__all__ = ["ResourceKey", "check_resource_id", "is_resource_id"]

T_co = TypeVar("T_co", covariant=True)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RULE = "must be 1 to 128 of A-Z a-z 0-9 . _ - and begin with a letter or digit"


def is_resource_id(text: object) -> TypeGuard[str]:
    """Say whether ``text`` is a str that may name a resource: ``^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$``."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def check_resource_id(text: object, *, field: str = "id") -> str:
    """Return ``text`` when it may name a resource; ``field`` is the path that a violation names.

    Raises:
        ValidationFailed: it may not.
    """
    if is_resource_id(text):
        return text
    actual = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
    raise ValidationFailed([FieldViolation(field, _RULE, actual)])


class ResourceKey(str, Generic[T_co]):  # noqa: SLOT000  # typing writes __orig_class__ into the instance
    """A resource's id that carries the type of its lease.

    ``DB = ResourceKey("db", AsyncSession)`` or ``ResourceKey[AsyncSession]("db")``; equal to ``"db"`` and hashing like
    it. ``manager.acquire(DB)`` is then known to give an ``AsyncSession``. The second spelling takes what is no plain
    class: a union, a Protocol, an abstract class.
    """

    _type: builtins.type[Any] | None  # `type` is the property below

    def __new__(cls, id: str, type: builtins.type[T_co] | None = None) -> ResourceKey[T_co]:
        """Make a key; raises ValidationFailed when ``id`` may not name a resource."""
        key = super().__new__(cls, check_resource_id(id))
        key._type = type
        return key

    @property
    def type(self) -> builtins.type[T_co] | None:
        """What a lease is, as given; None when nothing was said."""
        if self._type is not None:
            return self._type
        # typing sets this after construction on what ResourceKey[X](...) makes
        given = get_args(self.__dict__.get("__orig_class__"))
        return cast("builtins.type[T_co]", given[0]) if given and not isinstance(given[0], TypeVar) else None

    def __repr__(self) -> str:
        known = self.type
        shown = "" if known is None else f", {getattr(known, '__qualname__', known)}"
        return f"ResourceKey({str(self)!r}{shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ResourceKey, (str(self), self.type)
