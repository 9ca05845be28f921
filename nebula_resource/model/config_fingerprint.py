"""Fingerprint: a digest by which two configurations are seen to be the same, secrets included."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel

from nebula_resource.model.secret_names import SECRET_TYPES

__all__ = ["fingerprint"]


def fingerprint(config: BaseModel, *, key: bytes = b"") -> str:
    """Return 32 hex digits, equal for equal configurations in any process, different when anything differs.

    It covers the values of secrets and tells none of them. A short password could still be guessed by trying, so where
    strangers see a fingerprint give a ``key`` (up to 64 secret bytes): without it nobody can try.
    """
    digest = hashlib.blake2b(key=key, digest_size=16)
    for piece in _pieces(config):
        digest.update(len(piece).to_bytes(8, "big"))  # so that pieces cannot run into one another
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    """Yield a reading of the value that no other value has: its kind, its size, its content."""
    yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
    match value:
        case Enum():
            yield value.name.encode()
        case str():
            yield str.encode(value, "utf-8", "surrogatepass")
        case bytes() | bytearray():
            yield bytes(value)
        case _ if isinstance(value, SECRET_TYPES):
            yield from _pieces(value.get_secret_value())
        case BaseModel():
            yield from _entries(dict(value))
        case Mapping():
            yield from _entries(value)
        case list() | tuple():
            yield str(len(value)).encode()
            for item in value:
                yield from _pieces(item)
        case set() | frozenset():
            yield from sorted(_one(item) for item in value)
            yield b"end"
        case _ if is_dataclass(value) and not isinstance(value, type):
            yield from _entries({field.name: getattr(value, field.name) for field in fields(value)})
        case type():
            yield f"{value.__module__}.{value.__qualname__}".encode()
        case _:
            # Of numbers, dates, paths and URLs the repr says all. An object without one shows its address: two such
            # never look the same, which costs a needless reload and never misses a change.
            yield repr(value).encode("utf-8", "surrogatepass")


def _entries(entries: Mapping[Any, Any]) -> Iterator[bytes]:
    """Yield the entries in an order that does not hang on how the mapping was filled."""
    yield str(len(entries)).encode()
    for name, item in sorted((_one(name), item_bytes) for name, item_bytes in _encoded(entries)):
        yield name
        yield item


def _encoded(entries: Mapping[Any, Any]) -> Iterator[tuple[Any, bytes]]:
    for name, item in entries.items():
        yield name, _one(item)


def _one(value: Any) -> bytes:
    return b"".join(len(piece).to_bytes(8, "big") + piece for piece in _pieces(value))
