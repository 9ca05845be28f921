"""Secret names: which words in a field's name betray a secret, and which fields ignore that."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from nebula_resource.errors import ConfigurationError

__all__ = [
    "SECRET_TYPES",
    "NotSecret",
    "bare_secrets",
    "holds_secret",
    "is_secret_name",
    "is_url",
    "parts_of",
    "values_of",
]

SECRET_TYPES = (SecretStr, SecretBytes, Secret)
"""Types that mask what they hold."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ENDINGS = ("password", "passwd", "passphrase", "passcode", "secret", "token", "apikey", "privatekey")
_WORDS = frozenset({"dsn", "pwd", "jwt"})
_LAST_WORDS = frozenset(
    {"authorization", "bearer", "cookie", "credential", "pass"}
)  # as in db_pass, not in pass_through
_PAIRS = frozenset(
    {
        ("access", "key"),
        ("account", "key"),
        ("api", "key"),
        ("auth", "key"),
        ("connection", "string"),
        ("encryption", "key"),
        ("private", "key"),
        ("secret", "key"),
        ("shared", "key"),
        ("signing", "key"),
    }
)
_TEXTS = (str, bytes, bytearray)


@dataclass(frozen=True, slots=True)
class NotSecret:
    """Says, inside ``Annotated``, why a field with a secret-looking name holds no secret."""

    why: str

    def __post_init__(self) -> None:
        if not self.why.strip():
            raise ConfigurationError('NotSecret wants the reason: NotSecret("the address, not the token")')


def is_secret_name(name: str) -> bool:
    """Say whether a name has a word such as password, token, secret, api_key, private_key or dsn.

    Words are parted by anything but letters and by camelCase: ``dbPassword2``, ``X-Api-Key``, ``accessTokens``.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return False
    singular = [word.removesuffix("s") for word in words]
    if any(word.endswith(_ENDINGS) or word in _WORDS for word in singular):
        return True
    if words[-1] in _LAST_WORDS or singular[-1] in _LAST_WORDS:
        return True
    return any(pair in _PAIRS for pair in zip(words, singular[1:], strict=False))


def bare_secrets(model: type[BaseModel]) -> list[str]:
    """Return the dotted paths of the fields, nested models included, that look secret and are plain text."""
    return list(_bare_secrets(model, "", {model}))


def _bare_secrets(model: type[BaseModel], prefix: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        if any(isinstance(note, NotSecret) for note in field.metadata):
            continue
        parts = list(parts_of(field.annotation))
        if any(map(is_secret_name, _names(name, field))) and any(map(_is_text, parts)):
            yield path
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
                seen.add(part)
                yield from _bare_secrets(part, f"{path}.", seen)


def _names(name: str, field: FieldInfo) -> list[str]:
    """Return what a field is called, aliases included."""
    return [name, *(alias for alias in (field.alias, field.validation_alias) if isinstance(alias, str))]


def holds_secret(annotation: Any) -> bool:
    """Say whether a value of this annotation is, or directly contains, a masked type."""
    return any(isinstance(part, type) and issubclass(part, SECRET_TYPES) for part in parts_of(annotation))


def _is_text(part: Any) -> bool:
    """Say whether a plain text fits here; ``Any`` takes everything."""
    return (
        part is Any
        or part is object
        or (isinstance(part, type) and (issubclass(part, _TEXTS) or is_url(part)))
    )


def is_url(value: object) -> bool:
    """Say whether it is one of pydantic's URL classes or an instance of one; they have no public base class."""
    return hasattr(value, "unicode_string")


def parts_of(annotation: Any) -> Iterator[Any]:
    """Yield the classes an annotation is made of: through unions, containers, aliases and new types; not keys."""
    for member in members_of(annotation):
        arguments = get_args(member)
        if arguments:
            yield get_origin(member)
            for argument in _without_keys(member, arguments):
                yield from parts_of(argument)
        else:
            yield member


def values_of(annotation: Any) -> Iterator[Any]:
    """Yield what is declared for the values of a mapping or the items of another container."""
    for member in members_of(annotation):
        yield from _without_keys(member, get_args(member))


def members_of(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, each out of its aliases and annotations; else the annotation, likewise."""
    if isinstance(annotation, TypeAliasType) or type(annotation).__name__ == "TypeAliasType":
        yield from members_of(annotation.__value__)  # the second: typing's own, from 3.12 on
    elif isinstance(annotation, typing.NewType):
        yield from members_of(annotation.__supertype__)
    elif isinstance(annotation, TypeVar):
        if annotation.__bound__ is not None:
            yield from members_of(annotation.__bound__)
    elif get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        if not any(isinstance(note, NotSecret) for note in notes):
            yield from members_of(inner)
    elif get_origin(annotation) in (typing.Union, types.UnionType):
        for member in get_args(annotation):
            yield from members_of(member)
    elif get_origin(annotation) is not Literal:  # a closed set of words holds no secret
        yield annotation


def _without_keys(container: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    origin = get_origin(container)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return arguments[1:]  # keys are names
    return tuple(argument for argument in arguments if argument is not Ellipsis)
