"""RuleWords: what pydantic's rules are called by us: what must be, with the limit, and never what was given."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["words_of"]

_TEXT, _WHOLE, _NUMBER, _FLAG = (
    "must be a text", "must be a whole number", "must be a number", "must be true or false",
)  # fmt: skip  # one list of words
_MAPPING, _LIST = "must be a mapping of names", "must be a list"

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "missing": "is missing",
        "extra_forbidden": "is not known here",
        "string_type": _TEXT,
        "string_unicode": _TEXT,
        "int_type": _WHOLE,
        "int_parsing": _WHOLE,
        "int_parsing_size": _WHOLE,
        "int_from_float": _WHOLE,
        "float_type": _NUMBER,
        "float_parsing": _NUMBER,
        "finite_number": "must be a finite number",
        "bool_type": _FLAG,
        "bool_parsing": _FLAG,
        "model_type": _MAPPING,
        "model_attributes_type": _MAPPING,
        "dict_type": _MAPPING,
        "mapping_type": _MAPPING,
        "list_type": _LIST,
        "tuple_type": _LIST,
        "set_type": _LIST,
        "frozen_set_type": _LIST,
        "path_type": "must be a path",
        "greater_than": "must be more than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be less than {lt}",
        "less_than_equal": "must be at most {le}",
        "string_too_short": "must have at least {min_length} characters",
        "string_too_long": "must have at most {max_length} characters",
        "too_short": "must have at least {min_length} items",
        "too_long": "must have at most {max_length} items",
        "string_pattern_mismatch": "must match {pattern}",
        "literal_error": "must be {expected}",
        "enum": "must be {expected}",
    }
)


def words_of(kind: str, limits: Mapping[str, Any]) -> str | None:
    """The words for a rule, by pydantic's name for it and its limits (``ctx``); None: there are none of ours."""
    words = _WORDS.get(kind)
    if words is None:
        return None
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in limits.items()}
    try:
        return words.format_map(shown)
    except KeyError:  # an error of a user's own under a name of pydantic's
        return None
