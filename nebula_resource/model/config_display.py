"""Display of a configuration: the same shape, with every secret masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from nebula_resource.model.secret_names import SECRET_TYPES, is_secret_name, is_url

__all__ = ["MASK", "mask_userinfo", "redacted", "shown"]

MASK = "**********"
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")


def redacted(config: BaseModel) -> dict[str, Any]:
    """Return a configuration for people to read: JSON values, secrets masked.

    Masked are ``Secret`` and its kin, the user and password inside a URL, and the values of plain mappings whose key
    looks secret (``headers: {"Authorization": ...}``).
    """
    return {name: _redacted(value) for name, value in _fields(config).items()}


def mask_userinfo(text: str) -> str:
    """Return the text with ``user:password@`` of each URL in it masked."""
    return _USERINFO.sub(f"{MASK}@", text) if "@" in text else text


def shown(value: Any) -> Any:
    """Return what may stand in a repr for a field's value: the same value where it shows nothing."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return mask_userinfo(value)
    if isinstance(value, bytes | bytearray | Mapping | list | tuple | set | frozenset):
        return _redacted(value)
    return mask_userinfo(str(value)) if is_url(value) else value


def _fields(model: BaseModel) -> dict[str, Any]:
    return dict(model)


def _redacted(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() if not isinstance(value, Enum):
            return value
        case Enum():
            return _redacted(value.value)
        case str():
            return mask_userinfo(str(value))
        case BaseModel():
            return redacted(value)
        case Mapping():
            return {
                str(key): MASK if is_secret_name(str(key)) and item is not None else _redacted(item)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_redacted(item) for item in value]
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case _ if isinstance(value, SECRET_TYPES):
            return MASK
        case _ if is_url(value):
            return mask_userinfo(str(value))
        case _:
            return _plain(value)


def _plain(value: Any) -> Any:
    """Return a date, path, duration, address and the like as JSON has it; of anything else the type's name."""
    try:
        known = to_jsonable_python(value, serialize_unknown=False)
    except (PydanticSerializationError, ValueError, TypeError):
        return f"<{type(value).__name__}>"
    return _redacted(known) if isinstance(known, None | bool | int | float | str | list | dict) else MASK
