"""Leaks: which parts of an input are secret, and whether a text gives one of them away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from nebula_resource.model.secret_names import SECRET_TYPES, holds_secret, is_secret_name, parts_of, values_of

__all__ = ["Leaks", "is_plain_scalar", "is_secret_place", "step"]

_SHORTEST = 4
"""Characters from which an ordinary text of the input counts when a message repeats it."""
_WINDOW = 6
"""Characters of a longer secret that give it away: messages quote beginnings."""
_MAX_DEPTH = 40
_SCALARS = (int, float, complex, str, Decimal, date, timedelta, NoneType, Enum)


def step(annotations: list[Any], part: str | int) -> tuple[list[Any], bool]:
    """Return what is declared one key further, and whether the key is a declared field.

    Below a container it is what the container declares for its items.
    """
    found: list[Any] = []
    for annotation in annotations:
        for declared in parts_of(annotation):
            if isinstance(declared, type) and issubclass(declared, BaseModel):
                found.extend(
                    field.annotation
                    for name, field in declared.model_fields.items()
                    if part in (name, field.alias, field.validation_alias)
                )
    if found:
        return found, True
    items = [item for annotation in annotations for item in values_of(annotation)]
    return (items or [Any]), False


def is_secret_place(part: str | int, annotations: list[Any]) -> bool:
    """Say whether a secret may stand under this key, by its name or by what is declared there."""
    return (isinstance(part, str) and is_secret_name(part)) or any(map(holds_secret, annotations))


def is_plain_scalar(annotation: Any) -> bool:
    """Say whether only numbers, words, dates and the like are declared: no model or mapping that holds others."""
    return all(isinstance(part, type) and issubclass(part, _SCALARS) for part in parts_of(annotation))


@dataclass(frozen=True, slots=True)
class Leaks:
    """The texts of one input: the secret ones, and all others."""

    secrets: frozenset[str]
    others: frozenset[str]

    @classmethod
    def of(cls, entries: Mapping[Any, Any], model_type: type[BaseModel]) -> Leaks:
        """Collect the texts of an input meant for ``model_type``."""
        secrets: set[str] = set()
        others: set[str] = set()
        for text, secret in _texts(entries, [model_type], False, 0):
            (secrets if secret else others).add(text)
        return cls(frozenset(secrets - {""}), frozenset(others - {""}))

    def into(self, message: str, *, written_by_users: bool) -> bool:
        """Say whether the message repeats something of the input.

        Pydantic's own messages quote next to nothing, so a short secret that is part of a word there is chance.
        """
        shortest = 1 if written_by_users else _SHORTEST
        if any(_repeats(message, text) for text in self.others if len(text) >= _SHORTEST):
            return True
        if any(_repeats(message, secret) for secret in self.secrets if len(secret) >= shortest):
            return True
        return written_by_users and any(_quotes(message, secret) for secret in self.secrets)


def _repeats(message: str, text: str) -> bool:
    """Say whether the text stands in the message, as it is or as programs like to write it."""
    message = message.casefold()
    written = (text, repr(text)[1:-1], quote(text, errors="replace"))
    return any(variant.casefold() in message for variant in written)


def _quotes(message: str, secret: str) -> bool:
    """Say whether a stretch of a longer secret stands in the message."""
    message, secret = message.casefold(), secret.casefold()
    return any(secret[at : at + _WINDOW] in message for at in range(len(secret) - _WINDOW + 1))


def _texts(value: Any, annotations: list[Any], secret: bool, depth: int) -> Iterator[tuple[str, bool]]:
    """Yield every text of the input with whether it is, or may be, secret."""
    if depth > _MAX_DEPTH or value is None or isinstance(value, bool):
        return
    if isinstance(value, SECRET_TYPES):
        yield from _texts(value.get_secret_value(), annotations, True, depth + 1)
    elif isinstance(value, BaseModel):
        yield from _texts(value.__dict__, [type(value)], secret, depth + 1)
    elif isinstance(value, str):
        yield str(value), secret
    elif isinstance(value, bytes | bytearray):
        yield bytes(value).decode("utf-8", "replace"), secret
    elif isinstance(value, Mapping):
        for key, item in value.items():
            further, declared = step(annotations, key)
            if secret and not declared:
                yield from _texts(key, annotations, True, depth + 1)
            yield from _texts(item, further, secret or is_secret_place(key, further), depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _texts(item, annotations, secret, depth + 1)
    elif secret:
        yield str(value), True  # a number where a secret belongs
