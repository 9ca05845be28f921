"""Validation of a configuration: every violation at once, and never the input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, PydanticUserError, ValidationError

from nebula_resource.errors import FieldViolation, ValidationFailed
from nebula_resource.model.config_leaks import Leaks, is_plain_scalar, is_secret_place, step
from nebula_resource.model.rule_words import words_of

__all__ = ["validate_config"]

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_DEPTH = 32
"""How deep models, lists and mappings of an input may nest; a configuration that is deeper is a mistake."""

_WHOLE = "config"  # the path of the configuration itself
_COUNTED = re.compile(r",? not \d+")  # pydantic tells a length; of a secret that is too much
_BY_USERS = frozenset({"value_error", "assertion_error"})
_OF_THE_CLASS = frozenset({"literal_error", "enum"})
"""Rules whose words are the choices that the class declares, whatever was given: ``debug`` for ``DEBUG`` is no leak."""


def validate_config(model_type: type[ModelT], value: object, *, path: str = "") -> ModelT:
    """Return ``value``, a mapping or a model, as a valid ``model_type``; models in it are validated again.

    ``path`` stands before the paths of the violations (``resources.db.config``).

    Raises:
        ValidationFailed: with all violations. Neither it nor its causes hold the input.
    """
    found: list[FieldViolation] = []
    model: ModelT | None = None
    if isinstance(value, model_type):
        again = _again(value, _Trail(), found)
        model = cast("ModelT", again)
    elif isinstance(value, Mapping) and not isinstance(value, BaseModel):
        given = cast("Mapping[object, object]", value)
        entries = {name: _fresh(item, _Trail((str(name),)), found) for name, item in given.items()}
        model = _built(model_type, entries, found)
    else:
        found.append(
            FieldViolation("", f"must be a {model_type.__name__} or a mapping", type(value).__name__)
        )
    if found or model is None:
        # Pydantic's error, which holds the input, is gone by now: it is not the __context__ of ours.
        raise ValidationFailed([_under(path, violation) for violation in dict.fromkeys(found)])
    return model


def _under(path: str, violation: FieldViolation) -> FieldViolation:
    whole = ".".join(part for part in (path, violation.field) if part) or _WHOLE
    return FieldViolation(whole, violation.constraint, violation.actual)


# ── validating ────────────────────────────────────────────────────────────────────────────────────────────────────


def _built(
    model_type: type[ModelT], entries: dict[Any, Any], found: list[FieldViolation], *, by_name: bool = False
) -> ModelT | None:
    """Validate; None when violations were added to ``found``."""
    try:
        if by_name:
            return model_type.model_validate(entries, by_alias=True, by_name=True)
        return model_type.model_validate(entries)
    except ValidationError as error:
        leaks = Leaks.of(entries, model_type)
        found.extend(
            _violation(detail, model_type, entries, leaks) for detail in error.errors(include_url=False)
        )
    except PydanticUserError:
        raise  # the class itself is wrong; that text knows no input
    except Exception as error:  # a validator of the user's broke; its text may hold the input
        rule = f"must pass the configuration's own checks, one of which raised {type(error).__name__}"
        found.append(FieldViolation("", rule, model_type.__name__))
    return None


class _Trail(tuple[str, ...]):
    """The keys from the top of the input to where we are."""

    __slots__ = ()

    def to(self, key: object) -> _Trail:
        return _Trail((*self, str(key)))


def _again(model: BaseModel, trail: _Trail, found: list[FieldViolation]) -> BaseModel:
    """Validate a model as if it were new: it may have been changed by force or never validated."""
    held = model.__dict__
    entries = {
        name: _fresh(held[name], trail.to(name), found) for name in type(model).model_fields if name in held
    }
    entries.update(model.__pydantic_extra__ or {})
    inner: list[FieldViolation] = []
    again = _built(type(model), entries, inner, by_name=True)
    found.extend(_under(".".join(trail), violation) if trail else violation for violation in inner)
    return model if again is None else again


def _fresh(value: Any, trail: _Trail, found: list[FieldViolation]) -> Any:
    """Return the value with every model inside it validated again; what holds no model is returned as it is."""
    if len(trail) > MAX_DEPTH:
        found.append(FieldViolation(trail[0], f"must not nest deeper than {MAX_DEPTH} levels", "deeper"))
        return None
    if isinstance(value, BaseModel):
        return _again(value, trail, found)
    if type(value) is dict:
        fresh = {name: _fresh(item, trail.to(name), found) for name, item in value.items()}
        return fresh if any(fresh[name] is not item for name, item in value.items()) else value
    if type(value) in (list, tuple, set, frozenset):
        before = list(value)
        after = [_fresh(item, trail.to(at), found) for at, item in enumerate(before)]
        return type(value)(after) if any(map(_differ, before, after)) else value
    return value


def _differ(one: object, other: object) -> bool:
    return one is not other


# ── telling what was wrong ────────────────────────────────────────────────────────────────────────────────────────


def _violation(
    detail: Mapping[str, Any], model_type: type[BaseModel], entries: Mapping[Any, Any], leaks: Leaks
) -> FieldViolation:
    """Say in words of ours what one of pydantic's error details says, without the input."""
    path, annotations, secret = _place(detail, model_type, entries)
    kind: str = detail["type"]
    rule: str = words_of(kind, detail.get("ctx") or {}) or detail["msg"]
    if kind in _BY_USERS:
        rule = rule.partition(", ")[2] or rule  # without pydantic's "Value error, "
    written_by_users = kind in _BY_USERS or "." in kind or kind == "union_tag_invalid"
    repeats = kind not in _OF_THE_CLASS and leaks.into(rule, written_by_users=written_by_users)
    if (secret and written_by_users) or repeats:
        rule = "must pass the configuration's own check" if kind in _BY_USERS else f"breaks a rule: {kind}"
    if secret:
        rule = _COUNTED.sub("", rule)
    if kind == "missing":
        actual = "nothing"
    elif secret or kind == "extra_forbidden" or not all(map(is_plain_scalar, annotations)):
        actual = type(detail["input"]).__name__
    else:
        actual = _shown(detail["input"])
    return FieldViolation(path, rule, actual)


def _place(
    detail: Mapping[str, Any], model_type: type[BaseModel], entries: Mapping[Any, Any]
) -> tuple[str, list[Any], bool]:
    """Return the dotted path as the user wrote it, what is declared there, and whether a secret may be there.

    Pydantic's own path also names members of unions and the like; a part that does not lead on in the input is one.
    """
    parts: list[str] = []
    annotations: list[Any] = [model_type]
    secret = False
    at: Any = entries
    loc: Sequence[str | int] = detail["loc"]
    for number, part in enumerate(loc):
        last_is_missing = number == len(loc) - 1 and detail["type"] == "missing"
        leads_on, below = _descend(at, part)
        if not leads_on and not last_is_missing:
            continue
        at = below
        annotations, declared = step(annotations, part)
        named = isinstance(part, int) or declared or not secret
        parts.append(str(part) if named else "*")  # a key somebody chose, below a secret: perhaps one itself
        secret = secret or is_secret_place(part, annotations)
    return ".".join(parts), annotations, secret


def _descend(at: Any, part: str | int) -> tuple[bool, Any]:
    if isinstance(at, BaseModel):
        at = at.__dict__
    if isinstance(at, Mapping):
        for key in (part, *((key for key in at if str(key) == part) if isinstance(part, str) else ())):
            if key in at:
                return True, at[key]
    elif isinstance(part, int) and isinstance(at, Sequence) and not isinstance(at, str | bytes):
        return part < len(at), at[part] if part < len(at) else None
    elif isinstance(part, int) and isinstance(at, set | frozenset):
        return True, None
    return False, at


def _shown(value: object) -> str:
    """Return a number, a truth value or None as written; of anything else the type's name."""
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if type(value) is int and abs(value) < 10**18:
        return repr(value)
    return type(value).__name__
