"""Scopes as values: construction, nesting, writing, containment."""

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from nebula_resource.errors import ConfigurationError, InvalidScope
from nebula_resource.model.scope import MAX_ID_LENGTH, Scope, ScopeLevel, Strategy

ACME = Scope.tenant("acme")
W1 = Scope.workflow("w1", tenant="acme")
FULL = Scope.custom(
    "region", "eu", parent=Scope.action("a1", execution="e1", workflow="w1", user="u7", tenant="acme")
)


# ── levels and strategies ─────────────────────────────────────────────────────────────────────────────────────────


def test_levels_are_ordered_from_wide_to_narrow() -> None:
    """GLOBAL < TENANT < USER < WORKFLOW < EXECUTION < ACTION < CUSTOM."""
    names = ["GLOBAL", "TENANT", "USER", "WORKFLOW", "EXECUTION", "ACTION", "CUSTOM"]
    assert [level.name for level in sorted(ScopeLevel)] == names


@pytest.mark.parametrize("level", ScopeLevel)
def test_a_level_is_read_from_its_lower_case_name(level: ScopeLevel) -> None:
    """A member and its lower-case name mean the same."""
    assert ScopeLevel.parse(level) is level
    assert ScopeLevel.parse(level.name.lower()) is level


@pytest.mark.parametrize("bad", ["", "Tenant", "tenants", 1, None])
def test_an_unknown_level_is_refused(bad: Any) -> None:
    """Anything else is refused with the levels there are."""
    with pytest.raises(ConfigurationError, match="global, tenant, user, workflow, execution, action, custom"):
        ScopeLevel.parse(bad)


def test_strategies_are_read_from_their_lower_case_names() -> None:
    """Three strategies; anything else is refused with their names."""
    assert [Strategy.parse(name) for name in ("strict", "hierarchical", "fallback")] == list(Strategy)
    assert Strategy.parse(Strategy.STRICT) is Strategy.STRICT
    with pytest.raises(ConfigurationError, match="strict, hierarchical, fallback"):
        Strategy.parse("loose")


# ── making ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_lines_of_the_specification() -> None:
    """The examples of SPEC §3 work as written."""
    assert Scope.GLOBAL.fields == ()
    assert Scope.user("u7", tenant="acme").user_id == "u7"
    assert Scope.execution("e1", workflow="w1", tenant="acme").execution_id == "e1"
    assert Scope.action("a1", execution="e1", workflow="w1", tenant="acme").action_id == "a1"
    assert Scope.custom("region", "eu", parent=ACME).fields[-1] == (ScopeLevel.CUSTOM, ("region", "eu"))
    assert ACME.nest(Scope.workflow("w1")) == W1


def test_ids_are_read_by_level() -> None:
    """Each field has its property; a level that is not named is None."""
    ids = (FULL.tenant_id, FULL.user_id, FULL.workflow_id, FULL.execution_id, FULL.action_id)
    assert ids == ("acme", "u7", "w1", "e1", "a1")
    assert FULL.level is ScopeLevel.CUSTOM
    assert Scope.GLOBAL.level is ScopeLevel.GLOBAL
    assert (W1.user_id, W1.execution_id, W1.action_id, Scope.GLOBAL.tenant_id) == (None, None, None, None)


def test_custom_takes_every_outer_level_too() -> None:
    """Keywords and a parent both name the outer fields, and must agree."""
    by_keywords = Scope.custom(
        "region", "eu", action="a1", execution="e1", workflow="w1", user="u7", tenant="acme"
    )
    assert by_keywords == FULL
    assert Scope.custom("region", "eu", parent=ACME, workflow="w1") == Scope.custom("region", "eu", parent=W1)
    with pytest.raises(InvalidScope):
        Scope.custom("region", "eu", parent=ACME, tenant="globex")
    with pytest.raises(InvalidScope):
        Scope.custom("zone", "a", parent=FULL)


def test_of_builds_the_deepest_level_named() -> None:
    """The keywords of ``manager.scope(...)`` make the scope whose level is the deepest of them."""
    assert Scope.of() == Scope.of(tenant=None) == Scope.GLOBAL
    assert Scope.of(tenant="acme", workflow="w1") == W1
    assert Scope.of(tenant="acme", action="a1") == Scope.action("a1", tenant="acme")
    assert Scope.of(user="u7").level is ScopeLevel.USER


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("", "1 to 128"),
        ("x" * 129, "1 to 128"),
        ("é" * 129, "1 to 128"),
        ("a\nb", "control"),
        ("a\x00", "control"),
        ("\x7f", "control"),
        ("a\x85b", "control"),
        ("a\u2028b", "control"),
        ("a\ud800", "control"),
        ("cafe\u0301", "normal form C"),
        ("\u212b", "normal form C"),
        (7, "str, not int"),
        (b"acme", "str, not bytes"),
        (("region", "eu"), "str, not tuple"),
    ],
)
def test_a_bad_id_is_refused_at_every_level_and_not_repeated(bad: Any, why: str) -> None:
    """Empty, long, unnormalised and control characters are refused, not changed; the text does not echo them."""
    makers: list[Callable[[], Scope]] = [
        lambda: Scope.tenant(bad),
        lambda: Scope.user("u", tenant=bad),
        lambda: Scope.workflow(bad),
        lambda: Scope.execution("e", user=bad),
        lambda: Scope.action("a", execution=bad),
        lambda: Scope.custom(bad, "eu"),
        lambda: Scope.custom("region", bad),
        lambda: Scope.of(workflow=bad),
    ]
    for make in makers:
        with pytest.raises(InvalidScope, match=why) as refused:
            make()
        if isinstance(bad, str) and bad:
            assert bad not in str(refused.value)


@pytest.mark.parametrize(
    "good", ["a", "a b", "x" * MAX_ID_LENGTH, "é" * 128, "日本", "👩‍🚀", "a/b:c=d%e", "global"]
)
def test_a_good_id_is_kept_as_it_is(good: str) -> None:
    """Any printable NFC text of 1 to 128 characters is an id."""
    assert Scope.tenant(good).tenant_id == good
    assert Scope.parse(str(Scope.tenant(good))) == Scope.tenant(good)


def test_a_str_subclass_cannot_pretend_to_be_another_id() -> None:
    """An id is a plain str afterwards, so a class with its own equality makes no two tenants one."""

    class Everyone(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("acme")

        def __str__(self) -> str:
            return "acme"

    class Tenant(StrEnum):
        ACME = "acme"

    fake = Scope.tenant(Everyone("globex"))
    assert fake != ACME
    assert not fake.contains(W1)
    assert not ACME.contains(Scope.workflow("w1", tenant=Everyone("globex")))
    assert fake.tenant_id == "globex"
    assert type(fake.tenant_id) is str
    assert Scope.tenant(Tenant.ACME) == ACME


def test_a_scope_is_not_built_by_its_class() -> None:
    """``Scope()`` says how to make one."""
    with pytest.raises(TypeError, match=r"Scope\.tenant"):
        Scope()


# ── nesting and family ────────────────────────────────────────────────────────────────────────────────────────────


def test_nest_adds_the_childs_fields() -> None:
    """The result has the fields of both; GLOBAL adds nothing."""
    assert Scope.GLOBAL.nest(W1) == W1
    nested = Scope.user("u7", tenant="acme").nest(Scope.execution("e1", workflow="w1"))
    assert nested == Scope.execution("e1", workflow="w1", user="u7", tenant="acme")
    assert ACME.nest(W1) == W1


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        (ACME, Scope.workflow("w1", tenant="globex")),
        (ACME, ACME),
        (W1, ACME),
        (ACME, Scope.GLOBAL),
        (Scope.GLOBAL, Scope.GLOBAL),
        (FULL, Scope.custom("zone", "a")),
        (FULL, Scope.action("a1")),
    ],
)
def test_what_cannot_be_nested(parent: Scope, child: Scope) -> None:
    """Disagreeing fields and a child that is not deeper are refused, without naming an id."""
    with pytest.raises(InvalidScope) as refused:
        parent.nest(child)
    assert "acme" not in str(refused.value)
    assert "globex" not in str(refused.value)


def test_ancestors_run_from_the_nearest_to_global() -> None:
    """Each ancestor lacks one more field; GLOBAL has none."""
    assert [str(each) for each in FULL.ancestors()] == [
        "tenant:acme/user:u7/workflow:w1/execution:e1/action:a1",
        "tenant:acme/user:u7/workflow:w1/execution:e1",
        "tenant:acme/user:u7/workflow:w1",
        "tenant:acme/user:u7",
        "tenant:acme",
        "global",
    ]
    assert FULL.parent == FULL.ancestors()[0]
    assert Scope.GLOBAL.parent is None
    assert Scope.GLOBAL.ancestors() == ()


def test_a_child_is_below_each_of_its_ancestors_and_of_nobody_else() -> None:
    """Being a child of is being somewhere below."""
    assert all(FULL.is_child_of(ancestor) for ancestor in FULL.ancestors())
    assert not FULL.is_child_of(FULL)
    assert not ACME.is_child_of(W1)
    assert not W1.is_child_of(Scope.tenant("globex"))
    assert not FULL.is_child_of(W1), "a workflow without the user is no ancestor, though it contains"


# ── containment ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("resource", "caller", "expected"),
    [
        (Scope.GLOBAL, Scope.GLOBAL, True),
        (Scope.GLOBAL, FULL, True),
        (ACME, Scope.GLOBAL, False),
        (ACME, ACME, True),
        (ACME, W1, True),
        (ACME, FULL, True),
        (ACME, Scope.tenant("globex"), False),
        (ACME, Scope.workflow("w1"), False),
        (ACME, Scope.workflow("w1", tenant="globex"), False),
        (W1, ACME, False),
        (W1, FULL, True),
        (W1, Scope.workflow("w1"), False),
        (W1, Scope.workflow("w1", tenant="acme", user="u7"), False),
        (Scope.workflow("w1"), Scope.execution("e1", workflow="w1", tenant="acme"), True),
        (Scope.user("u7", tenant="acme"), W1, False),
        (Scope.user("u7", tenant="acme"), Scope.workflow("w1", user="u7", tenant="acme"), True),
        (Scope.tenant("a"), Scope.user("a"), False),
        (FULL, FULL, True),
        (Scope.custom("region", "eu"), Scope.custom("region", "eu", parent=ACME), False),
        (ACME, Scope.custom("region", "eu", parent=ACME), True),
        (Scope.custom("a", "b=c"), Scope.custom("a=b", "c"), False),
    ],
)
def test_containment_by_example(resource: Scope, caller: Scope, expected: bool) -> None:
    """The four rules of SPEC §3, each side of each."""
    assert resource.contains(caller) is expected


# ── writing and reading ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_canonical_text() -> None:
    """Levels outermost first, ids percent-escaped."""
    assert str(Scope.GLOBAL) == "global"
    assert str(W1) == "tenant:acme/workflow:w1"
    assert str(Scope.custom("region", "eu")) == "custom:region=eu"
    assert str(Scope.tenant("a/b:c=d%e é")) == "tenant:a%2Fb%3Ac%3Dd%25e%20%C3%A9"
    assert repr(W1) == "<Scope tenant:acme/workflow:w1>"
    assert str(W1) is str(W1), "written once"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "acme",
        "tenant:",
        "tenant",
        "Tenant:acme",
        "global:",
        "global:x",
        "global/tenant:acme",
        "tenant:acme/",
        "/tenant:acme",
        "tenant:acme//workflow:w1",
        "workflow:w1/tenant:acme",
        "tenant:acme/tenant:acme",
        "tenant:acme/tenant:globex",
        "planet:mars",
        "tenant:a:b",
        "tenant:a=b",
        "tenant:a%",
        "tenant:a%2",
        "tenant:a%zz",
        "tenant:%ff",
        "tenant:%00",
        "tenant:%0a",
        "tenant:cafe%CC%81",
        "custom:region",
        "custom:=eu",
        "custom:region=",
        "custom:region=eu=fr",
        " tenant:acme\n",
        "tenant:acme\n",
        "tenant:" + "x" * 129,
        None,
        7,
    ],
)
def test_a_text_that_is_no_scope_is_refused(bad: Any) -> None:
    """Parsing is strict: order, levels, escapes, ids."""
    with pytest.raises(InvalidScope) as refused:
        Scope.parse(bad)
    assert refused.value.__context__ is None
    assert not refused.value.retryable


def test_reading_takes_unescaped_characters_that_are_no_part_of_the_grammar() -> None:
    """What a person types without escapes is read, and written canonically."""
    assert Scope.parse("tenant:café & co") == Scope.tenant("café & co")
    assert Scope.parse("tenant:%61cme") == ACME


# ── as a value ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scope", [Scope.GLOBAL, ACME, W1, FULL])
def test_a_scope_survives_json_pickling_and_copying(scope: Scope) -> None:
    """Every way out and back gives an equal scope."""
    assert Scope.from_json(json.loads(json.dumps(scope.to_json()))) == scope
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(scope, protocol)) == scope
    assert copy.copy(scope) is scope
    assert copy.deepcopy(scope) is scope


def test_a_scope_that_comes_from_another_process_hashes_as_one_of_ours() -> None:
    """Text hashes differ from process to process; a pickled scope takes none along."""
    program = (
        "import pickle, sys; from nebula_resource.model.scope import Scope;"
        "sys.stdout.buffer.write(pickle.dumps(Scope.workflow('w1', tenant='acme')))"
    )
    sent = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    assert {W1: "ours"}[pickle.loads(sent)] == "ours"


def test_a_scope_cannot_be_changed() -> None:
    """Neither its fields nor anything new can be set or deleted."""
    for name in ("level", "_level", "tenant_id", "anything"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(W1, name, 1)
        with pytest.raises(AttributeError, match="cannot be changed"):
            delattr(W1, name)
    assert not hasattr(W1, "__dict__")


def test_a_scope_equals_only_scopes() -> None:
    """Its text and its fields are not it."""
    assert W1 != "tenant:acme/workflow:w1"
    fields: object = W1.fields
    assert fields != W1
    assert Scope.workflow("w1", tenant="acme") == W1
    assert hash(Scope.workflow("w1", tenant="acme")) == hash(W1)
    assert len({W1, ACME, Scope.parse(str(W1)), Scope.GLOBAL}) == 3


class Ticket(BaseModel):
    """A model with a scope in it."""

    scope: Scope = Scope.GLOBAL
    others: dict[str, Scope] = {}


def test_a_scope_is_a_field_of_pydantic_models() -> None:
    """It is read from a scope or its text and written as its text."""
    ticket = Ticket.model_validate({"scope": "tenant:acme", "others": {"w": W1}})
    assert ticket.scope == ACME
    assert json.loads(ticket.model_dump_json()) == {
        "scope": "tenant:acme",
        "others": {"w": "tenant:acme/workflow:w1"},
    }
    assert Ticket.model_validate_json(ticket.model_dump_json()) == ticket
    assert TypeAdapter(Scope).json_schema()["type"] == "string"
    with pytest.raises(ValidationError, match="at most once, in this order"):
        Ticket.model_validate({"scope": "planet:mars"})
    with pytest.raises(ValidationError):
        Ticket.model_validate({"scope": 7})
