"""Censor: takes a configuration's secrets out of what a user's code says of its health, or why it refuses."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from pydantic import BaseModel, SecretBytes, SecretStr

from nebula_resource.model.config_display import MASK, mask_userinfo
from nebula_resource.model.health import Degraded, HealthState, HealthStatus, Unhealthy
from nebula_resource.model.secret_names import SECRET_TYPES, is_secret_name

__all__ = ["censored", "censored_words"]

_SHORTEST = 4  # characters: replacing shorter ones would garble a text without hiding anything
_SETTING = re.compile(r"""([A-Za-z_][\w.-]*)(\s*=\s*)('[^']*'|"[^"]*"|[^\s&;,'"]+)""")


def censored(status: HealthStatus, config: object) -> HealthStatus:
    """Return what a check found, without the secrets of what was checked: its configuration, or several things that hold some.

    A check is a user's code: a reason such as ``f"cannot reach {dsn}"`` is quickly written, and would stand in events,
    logs and answers. Masked are every Secret of the configuration, in the spellings of URLs, JSON and base64, and
    within it a password of a URL; moreover the login in any URL, and what is assigned to a name that looks secret.
    """
    because = status.state.because
    if not because and not status.metadata:
        return status
    forms = _forms(config)
    return replace(
        status,
        state=_state(status.state, forms),
        metadata=cast("dict[str, Any]", _value(dict(status.metadata), forms)),
    )


def censored_words(words: object, config: object) -> str:
    """Return a reason that a user's code gave, masked as `censored` masks those of checks; a text, whatever it was."""
    return str(_value(words, _forms(config)))


def _forms(config: object) -> list[str]:
    """Each spelling of each secret, the longest first. Not kept from one use to the next: secrets stand in memory once."""
    return sorted({form for secret in _secrets(config) for form in _spellings(secret)}, key=len, reverse=True)


def _state(state: HealthState, forms: list[str]) -> HealthState:
    if isinstance(state, Unhealthy | Degraded):
        return replace(state, reason=_text(state.reason, forms))
    return state


def _value(value: object, forms: list[str]) -> object:
    if isinstance(value, str):
        return _text(value, forms)
    if isinstance(value, SECRET_TYPES):
        return MASK
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {_text(str(key), forms): _value(held, forms) for key, held in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(held, forms) for held in cast("list[object]", value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return _text(value.decode("utf-8", "replace"), forms)
    try:
        return _text(str(value), forms)  # an error, say: written out later it would be so uncensored
    except Exception:
        return type(value).__name__


def _text(text: str, forms: list[str]) -> str:
    for form in forms:
        text = text.replace(form, MASK)
    if "=" in text:
        text = _SETTING.sub(_setting, text)
    return mask_userinfo(text)


def _setting(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}{MASK}" if is_secret_name(match[1]) else match[0]


# ── what is secret ──


def _secrets(value: object) -> Iterator[str]:
    """Every secret of a configuration, and what is secret within each."""
    if isinstance(value, BaseModel):
        for _, held in value:
            yield from _secrets(held)
    elif isinstance(value, Mapping):
        for held in cast("Mapping[Any, object]", value).values():
            yield from _secrets(held)
    elif isinstance(value, list | tuple | set | frozenset):
        for held in cast("list[object]", value):
            yield from _secrets(held)
    elif isinstance(value, SecretStr | SecretBytes):
        held = value.get_secret_value()
        text = held if isinstance(held, str) else held.decode("utf-8", "replace")
        yield text
        yield from _within(text)


def _within(secret: str) -> Iterator[str]:
    """The secret parts of a URL or of a line of settings."""
    try:
        parts = urlsplit(secret)
    except ValueError:
        return
    if parts.password:
        yield parts.password
        yield unquote(parts.password)
    for name, held in parse_qsl(parts.query):
        if is_secret_name(name):
            yield held
    for match in _SETTING.finditer(secret):
        if is_secret_name(match[1]):
            yield match[3].strip("'\"")


def _spellings(secret: str) -> Iterator[str]:
    if len(secret) < _SHORTEST:
        return
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    raw = secret.encode("utf-8", "replace")
    yield base64.b64encode(raw).decode()
    yield base64.urlsafe_b64encode(raw).decode()
