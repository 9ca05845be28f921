"""Printable: texts in which nothing can begin a line of its own, steer a terminal or turn the reading direction."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["printable"]


def printable(value: object) -> object:
    """Return ``value`` with every character that is not printable written as an escape.

    Line breaks (U+2028 and U+2029 too), control characters, bidirectional marks, lone surrogates and odd spaces become
    ``\\n``, ``\\x1b``, ``\\u202e``. Lists, tuples and mappings are gone through; whatever is neither text nor one of
    these is returned as it is.
    """
    if isinstance(value, str):
        # `str` itself, not a subclass whose methods could say otherwise.
        return str(value) if value.isprintable() else "".join(map(_visible, value))
    if isinstance(value, Mapping):
        return {printable(name): printable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [printable(one) for one in value]
    return value


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
