"""Scope: who a resource is for and who asks, as a value: a chain of (level, id) fields."""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias, final
from urllib.parse import quote, unquote_to_bytes

from pydantic_core import core_schema

from nebula_resource.errors import ConfigurationError, InvalidScope

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

__all__ = ["FieldId", "Scope", "ScopeLevel", "Strategy"]

MAX_ID_LENGTH = 128
"""Longest id of a scope, in characters (SPEC §3)."""

FieldId: TypeAlias = "str | tuple[str, str]"
"""The id of one field; that of a custom field is the pair (name, value)."""

_Ids: TypeAlias = (
    "tuple[None, str | None, str | None, str | None, str | None, str | None, tuple[str, str] | None]"
)


class ScopeLevel(IntEnum):
    """How deep a scope is; a greater level is a narrower scope."""

    GLOBAL = 0
    TENANT = 1
    USER = 2
    WORKFLOW = 3
    EXECUTION = 4
    ACTION = 5
    CUSTOM = 6

    @classmethod
    def parse(cls, level: ScopeLevel | str) -> ScopeLevel:
        """Return the level for a member or its lower-case name.

        Raises:
            ConfigurationError: there is no such level.
        """
        if isinstance(level, ScopeLevel):
            return level
        found = _LEVELS.get(level)
        if found is None:
            raise ConfigurationError(f"no such scope level; the levels are {', '.join(_LEVELS)}")
        return found


class Strategy(StrEnum):
    """Which registration serves a caller: the equal one, the deepest that contains it, or the first else the second."""

    STRICT = "strict"
    HIERARCHICAL = "hierarchical"
    FALLBACK = "fallback"

    @classmethod
    def parse(cls, strategy: Strategy | str) -> Strategy:
        """Return the strategy for a member or its lower-case name.

        Raises:
            ConfigurationError: there is no such strategy.
        """
        try:
            return cls(strategy)
        except ValueError:
            pass
        raise ConfigurationError(f"no such strategy; the strategies are {', '.join(cls)}")


_GLOBAL, _TENANT, _USER, _WORKFLOW, _EXECUTION, _ACTION, _CUSTOM = ScopeLevel
_LEVELS = {level.name.lower(): level for level in ScopeLevel}
_NAMES = tuple(_LEVELS)
_BITS = tuple(1 << int(level) for level in ScopeLevel)
_GLOBAL_BIT, _TENANT_BIT, _USER_BIT, _WORKFLOW_BIT, _EXECUTION_BIT, _ACTION_BIT, _CUSTOM_BIT = _BITS
_DEEPEST = (_GLOBAL, *(ScopeLevel(bits.bit_length() - 1) for bits in range(1, 1 << len(ScopeLevel))))
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_set = object.__setattr__


@final
class Scope:
    """An immutable chain of (level, id) fields; any field above its own level may be missing.

    Build one with ``Scope.GLOBAL``, ``Scope.tenant``, ``user``, ``workflow``, ``execution``, ``action``, ``custom``,
    ``of`` or ``parse``. Equal scopes have equal fields; the hash is computed once.
    """

    __slots__ = ("_bits", "_fields", "_hash", "_ids", "_level", "_text")

    GLOBAL: ClassVar[Scope]
    """The scope without fields: it contains every other."""

    # _fields, _hash and _text are worked out when they are first asked for: most executions never are.
    _bits: int  # the levels it names, 1 << level for each; GLOBAL names itself
    _fields: tuple[tuple[ScopeLevel, FieldId], ...]
    _hash: int
    _ids: _Ids  # one place per level, so that a field is found by its level
    _level: ScopeLevel
    _text: str

    def __init__(self) -> None:
        raise TypeError(
            "build a scope with Scope.GLOBAL, Scope.tenant(...), Scope.of(...) or Scope.parse(...)"
        )

    # ── making one ────────────────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def tenant(cls, id: str) -> Scope:
        """Return the scope of one tenant. Raises InvalidScope for a bad id, as every constructor here."""
        return _build(_checked(id, _TENANT), None, None, None, None, None)

    @classmethod
    def user(cls, id: str, *, tenant: str | None = None) -> Scope:
        """Return the scope of one user."""
        return _build(_optional(tenant, _TENANT), _checked(id, _USER), None, None, None, None)

    @classmethod
    def workflow(cls, id: str, *, tenant: str | None = None, user: str | None = None) -> Scope:
        """Return the scope of one workflow."""
        return _build(
            _optional(tenant, _TENANT), _optional(user, _USER), _checked(id, _WORKFLOW), None, None, None
        )

    @classmethod
    def execution(
        cls, id: str, *, tenant: str | None = None, user: str | None = None, workflow: str | None = None
    ) -> Scope:
        """Return the scope of one execution (a request, a run of a workflow)."""
        return _build(
            _optional(tenant, _TENANT),
            _optional(user, _USER),
            _optional(workflow, _WORKFLOW),
            _checked(id, _EXECUTION),
            None,
            None,
        )

    @classmethod
    def action(
        cls,
        id: str,
        *,
        tenant: str | None = None,
        user: str | None = None,
        workflow: str | None = None,
        execution: str | None = None,
    ) -> Scope:
        """Return the scope of one action."""
        return _build(
            _optional(tenant, _TENANT),
            _optional(user, _USER),
            _optional(workflow, _WORKFLOW),
            _optional(execution, _EXECUTION),
            _checked(id, _ACTION),
            None,
        )

    @classmethod
    def custom(
        cls,
        name: str,
        value: str,
        *,
        parent: Scope | None = None,
        tenant: str | None = None,
        user: str | None = None,
        workflow: str | None = None,
        execution: str | None = None,
        action: str | None = None,
    ) -> Scope:
        """Return a scope of a kind of your own; its id is the pair ``(name, value)``.

        ``parent`` and the keywords name the outer fields; where both do they must agree.

        Raises:
            InvalidScope: a bad id, a parent that is itself custom, or fields that disagree.
        """
        pair = (_checked(name, _CUSTOM), _checked(value, _CUSTOM))
        leaf = _build(
            _optional(tenant, _TENANT),
            _optional(user, _USER),
            _optional(workflow, _WORKFLOW),
            _optional(execution, _EXECUTION),
            _optional(action, _ACTION),
            pair,
        )
        return leaf if parent is None else parent.nest(leaf)

    @classmethod
    def of(
        cls,
        *,
        tenant: str | None = None,
        user: str | None = None,
        workflow: str | None = None,
        execution: str | None = None,
        action: str | None = None,
    ) -> Scope:
        """Return the scope whose level is the deepest one named; GLOBAL when none is."""
        return _build(
            _optional(tenant, _TENANT),
            _optional(user, _USER),
            _optional(workflow, _WORKFLOW),
            _optional(execution, _EXECUTION),
            _optional(action, _ACTION),
            None,
        )

    def nest(self, child: Scope) -> Scope:
        """Return ``child`` inside this scope: the fields of both.

        Raises:
            InvalidScope: the child is not deeper, or both name a level with different ids.
        """
        if child._level <= self._level:
            raise InvalidScope(
                f"a {_NAMES[child._level]} scope cannot be nested in a {_NAMES[self._level]} scope: it is not deeper"
            )
        if self._level == 0:
            return child
        ids: list[Any] = list(child._ids)  # Any: a list cannot say that place 6 is a pair
        for level, mine in self.fields:
            theirs = ids[level]
            if theirs is not None and theirs != mine:
                raise InvalidScope(f"the two scopes name different ids at level {_NAMES[level]}")
            ids[level] = mine
        return _build(*ids[1:])

    def with_execution(self, id: str) -> Scope:
        """Return one execution in this scope: ``nest(Scope.execution(id))``, for who opens one with every request.

        Raises:
            InvalidScope: this scope names an execution already, or something inside one; or the id is bad.
        """
        if self._level >= _EXECUTION:
            raise InvalidScope(
                f"a execution scope cannot be nested in a {_NAMES[self._level]} scope: it is not deeper"
            )
        checked = _checked(id, _EXECUTION)
        _, tenant, user, workflow, _, _, _ = self._ids
        scope = object.__new__(Scope)
        _set(scope, "_ids", (None, tenant, user, workflow, checked, None, None))
        _set(scope, "_level", _EXECUTION)
        _set(scope, "_bits", self._bits & ~_GLOBAL_BIT | _EXECUTION_BIT)
        return scope

    def with_action(self, id: str) -> Scope:
        """Return one action in this scope: ``nest(Scope.action(id))``, for who opens one with every call.

        Raises:
            InvalidScope: this scope names an action already, or something inside one; or the id is bad.
        """
        if self._level >= _ACTION:
            raise InvalidScope(
                f"a action scope cannot be nested in a {_NAMES[self._level]} scope: it is not deeper"
            )
        checked = _checked(id, _ACTION)
        _, tenant, user, workflow, execution, _, _ = self._ids
        scope = object.__new__(Scope)
        _set(scope, "_ids", (None, tenant, user, workflow, execution, checked, None))
        _set(scope, "_level", _ACTION)
        _set(scope, "_bits", self._bits & ~_GLOBAL_BIT | _ACTION_BIT)
        return scope

    # ── reading it ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def level(self) -> ScopeLevel:
        """The deepest level it names."""
        return self._level

    @property
    def fields(self) -> tuple[tuple[ScopeLevel, FieldId], ...]:
        """Its fields, outermost first."""
        try:
            return self._fields
        except AttributeError:
            named = enumerate(self._ids)
            fields = tuple((ScopeLevel(level), mine) for level, mine in named if mine is not None)
            _set(self, "_fields", fields)
            return fields

    def ids_to(self, level: int) -> tuple[FieldId | None, ...]:
        """One place for each level down to ``level``, this one included: its id, or None where it is not named."""
        return self._ids[: level + 1]

    @property
    def tenant_id(self) -> str | None:
        """The tenant's id, if named."""
        return self._ids[1]

    @property
    def user_id(self) -> str | None:
        """The user's id, if named."""
        return self._ids[2]

    @property
    def workflow_id(self) -> str | None:
        """The workflow's id, if named."""
        return self._ids[3]

    @property
    def execution_id(self) -> str | None:
        """The execution's id, if named."""
        return self._ids[4]

    @property
    def action_id(self) -> str | None:
        """The action's id, if named."""
        return self._ids[5]

    @property
    def parent(self) -> Scope | None:
        """This scope without its deepest field; None for GLOBAL."""
        if self._level == 0:
            return None
        ids: list[Any] = list(self._ids)
        ids[self._level] = None
        return _build(*ids[1:])

    def ancestors(self) -> tuple[Scope, ...]:
        """Return the parent, its parent and so on, nearest first, ending in GLOBAL; empty for GLOBAL."""
        found: list[Scope] = []
        parent = self.parent
        while parent is not None:
            found.append(parent)
            parent = parent.parent
        return tuple(found)

    def is_child_of(self, other: Scope) -> bool:
        """Say whether ``other`` is one of the ancestors."""
        return other._level < self._level and self.fields[: len(other.fields)] == other.fields

    def contains(self, other: Scope) -> bool:
        """Say whether a resource of this scope may serve a caller in ``other``; deny by default.

        True for GLOBAL; for an equal scope; and, below CUSTOM, for a deeper scope that has every field of this one.
        """
        level = self._level
        if level == 0 or self is other:
            return True
        if level >= other._level:
            return self._ids == other._ids
        ids = other._ids
        for at, mine in self.fields:  # noqa: SIM110  # all() makes a generator: twice the time, on the request path
            if ids[at] != mine:
                return False
        return True

    # ── as a value ────────────────────────────────────────────────────────────────────────────────────────────────

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Scope):
            return NotImplemented
        return self._ids == other._ids

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            value = hash(self._ids)
            _set(self, "_hash", value)
            return value

    def __str__(self) -> str:
        try:
            return self._text
        except AttributeError:
            text = "/".join(f"{_NAMES[level]}:{_written(field)}" for level, field in self.fields) or "global"
            _set(self, "_text", text)
            return text

    def __repr__(self) -> str:
        return f"<Scope {self}>"

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Return the scope that ``str`` wrote: ``tenant:acme/workflow:w1``, ``custom:region=eu``, ``global``.

        Levels stand outermost first; ``% / : =`` inside an id are percent-escaped.

        Raises:
            InvalidScope: anything else.
        """
        return _parse(text)

    def to_json(self) -> str:
        """Return the JSON value: the canonical text."""
        return str(self)

    @classmethod
    def from_json(cls, value: str) -> Scope:
        """Return the scope that ``to_json`` gave. Raises InvalidScope."""
        return cls.parse(value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _from_field, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "examples": ["global", "tenant:acme/workflow:w1"]}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a scope cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a scope cannot be changed")

    def __copy__(self) -> Scope:
        return self

    def __deepcopy__(self, memo: object) -> Scope:
        return self

    def __reduce__(self) -> tuple[Callable[[str], Scope], tuple[str]]:
        return Scope.parse, (str(self),)  # built anew: a str's hash differs between processes


# ── helpers, in calling order ─────────────────────────────────────────────────────────────────────────────────────


def _build(
    tenant: str | None,
    user: str | None,
    workflow: str | None,
    execution: str | None,
    action: str | None,
    custom: tuple[str, str] | None,
) -> Scope:
    """Put checked ids together."""
    bits = 0
    if tenant is not None:
        bits |= _TENANT_BIT
    if user is not None:
        bits |= _USER_BIT
    if workflow is not None:
        bits |= _WORKFLOW_BIT
    if execution is not None:
        bits |= _EXECUTION_BIT
    if action is not None:
        bits |= _ACTION_BIT
    if custom is not None:
        bits |= _CUSTOM_BIT
    scope = object.__new__(Scope)
    _set(scope, "_ids", (None, tenant, user, workflow, execution, action, custom))
    _set(scope, "_level", _DEEPEST[bits])
    _set(scope, "_bits", bits or _GLOBAL_BIT)
    return scope


def _optional(id: str | None, level: ScopeLevel) -> str | None:
    return None if id is None else _checked(id, level)


def _checked(id: object, level: ScopeLevel) -> str:
    """Return the id as a plain str (a subclass could compare as it likes), or raise InvalidScope."""
    if type(id) is str and id.isascii() and id.isprintable() and 0 < len(id) <= MAX_ID_LENGTH:
        return id
    name = _NAMES[level]
    if not isinstance(id, str):
        raise InvalidScope(f"a {name} id is a str, not {type(id).__name__}")
    plain = str.__str__(id)
    if not 0 < len(plain) <= MAX_ID_LENGTH:
        raise InvalidScope(f"a {name} id has 1 to {MAX_ID_LENGTH} characters, not {len(plain)}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in plain):
        raise InvalidScope(f"a {name} id has no control characters, line breaks or lone surrogates")
    if not unicodedata.is_normalized("NFC", plain):
        raise InvalidScope(f"a {name} id is in Unicode normal form C; normalise it where it comes in")
    return plain


def _written(id: FieldId) -> str:
    return quote(id, safe="") if isinstance(id, str) else f"{quote(id[0], safe='')}={quote(id[1], safe='')}"


def _parse(text: object) -> Scope:
    if not isinstance(text, str) or not text:
        raise InvalidScope("a scope is written as 'global' or as level:id parts joined by '/'")
    if text == "global":
        return Scope.GLOBAL
    ids: list[Any] = [None] * 6
    last = _GLOBAL
    for part in text.split("/"):
        name, colon, rest = part.partition(":")
        level = _LEVELS.get(name, _GLOBAL) if colon else _GLOBAL
        if level <= last:
            raise InvalidScope(f"a scope names each of {', '.join(_NAMES[1:])} at most once, in this order")
        ids[level - 1] = _read_pair(rest) if level is _CUSTOM else _checked(_read(rest), level)
        last = level
    return _build(*ids)


def _read(text: str) -> str:
    """Undo the percent-escapes of one id."""
    if ":" in text or "=" in text or _ESCAPE.search(text):
        raise InvalidScope("inside an id of a written scope, % / : and = are percent-escaped")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        pass
    raise InvalidScope("the percent-escapes of a written scope are not UTF-8")


def _read_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidScope("a custom field is written custom:name=value")
    return _checked(_read(name), _CUSTOM), _checked(_read(value), _CUSTOM)


def _from_field(value: object) -> Scope:
    """Validate a pydantic field."""
    if isinstance(value, Scope):
        return value
    try:
        return _parse(value)
    except InvalidScope as error:
        why = error.message
    raise ValueError(why)  # what pydantic collects


Scope.GLOBAL = _build(None, None, None, None, None, None)
