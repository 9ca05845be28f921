"""Violations: pydantic's complaints about a request, with nothing of the request in them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from fastapi.openapi.utils import get_openapi
from starlette.requests import Request

from nebula_resource.model.problems import ProblemField
from nebula_resource.model.rule_words import words_of

__all__ = ["fields_of"]

log = logging.getLogger("nebula_resource.fastapi")

HIDDEN: Final = "*"
"""Stands for a name that the application does not declare: the client made it up, and it may be a secret."""

_PLACES = frozenset({"body", "query", "path", "header", "cookie"})
_NAMES_IN_STATE = "nebula_declared_names"

# What `words_of` has no words for, and is a number of the application's own. All else in an error's context may hold input.
_LIMITS = {
    "multiple_of": "must be a multiple of",
    "min_length": "must have a length of at least",
    "max_length": "must have a length of at most",
}


def fields_of(errors: Sequence[Any], request: Request) -> Iterator[ProblemField]:
    """Each complaint as a pointer, a code and words of ours: pydantic's own message and input stay here."""
    declared = _declared_names(request)
    for error in errors:
        code = str(error.get("type", "invalid"))
        yield ProblemField(_pointer(error, code, declared), code, _words(code, error.get("ctx")))


def _pointer(error: Mapping[str, Any], code: str, declared: frozenset[str]) -> str:
    path: Iterable[Any] = error.get("loc", ())
    if code == "json_invalid":
        path = ("body",)  # the rest is a position in the text
    parts = [
        str(part) if isinstance(part, int) or part in _PLACES or part in declared else HIDDEN for part in path
    ]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _words(code: str, context: Any) -> str:
    if code == "missing":
        return "is required"
    if code == "extra_forbidden":
        return "is not expected"
    words = words_of(code, context if isinstance(context, Mapping) else {})
    if words is not None:
        return words
    if isinstance(context, Mapping):
        limits = [f"{words} {context[name]}" for name, words in _LIMITS.items() if name in context]
        if limits:
            return ", ".join(limits)
    return code.replace("_", " ")


def _declared_names(request: Request) -> frozenset[str]:
    """Every name of a parameter or field that the application declares; found once, when first needed."""
    app = request.app
    kept: frozenset[str] | None = getattr(app.state, _NAMES_IN_STATE, None)
    if kept is None:
        try:
            kept = frozenset(_names(get_openapi(title="names", version="0", routes=app.routes)))
        except Exception:
            # A type of the application's that has no schema; FastAPI serves it all the same. No name is then repeated.
            log.warning("an application has no schema: its 422s cannot name fields", exc_info=True)
            kept = frozenset()
        setattr(app.state, _NAMES_IN_STATE, kept)
    return kept


def _names(schema: Any) -> Iterator[str]:
    """Walk a schema: the keys of every ``properties``, the ``name`` of every parameter."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "properties" and isinstance(value, Mapping):
                yield from value
            elif key == "parameters" and isinstance(value, list):
                yield from (each["name"] for each in value if "name" in each)
            yield from _names(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _names(each)
