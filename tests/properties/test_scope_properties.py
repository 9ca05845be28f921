"""The laws of scopes (SPEC §3), a thousand examples each."""

import json
import unicodedata
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nebula_resource.errors import InvalidScope
from nebula_resource.model.scope import Scope

laws = settings(max_examples=1000)

LEVELS = ("tenant", "user", "workflow", "execution", "action")

# Few ids, so that two scopes often share some; many ids, so that writing is tried on everything.
few = st.sampled_from(["a", "b", "a/b", "A", "é"])
any_id = (
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40)
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(bool)
)


def build(ids: dict[str, str], custom: tuple[str, str] | None) -> Scope:
    """Make a scope from the ids of its levels."""
    outer = Scope.of(**ids)
    return outer if custom is None else Scope.custom(*custom, parent=outer)


def scopes(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Scope]:
    """Scopes of every level, with gaps."""
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys(LEVELS, ids))
    return st.builds(build, fields, st.none() | st.none() | st.tuples(ids, ids))


def oracle(resource: Scope, caller: Scope) -> bool:
    """Containment as SPEC §3 words it, rule by rule, over dictionaries of names."""
    mine: dict[str, Any] = {level.name: id_ for level, id_ in resource.fields}
    theirs: dict[str, Any] = {level.name: id_ for level, id_ in caller.fields}
    if not mine:
        return True
    if not theirs:
        return False
    if "CUSTOM" in mine:
        return mine == theirs
    if resource.level == caller.level:
        return mine == theirs
    return caller.level > resource.level and mine.items() <= theirs.items()


@laws
@given(scopes(any_id))
def test_containment_is_reflexive(scope: Scope) -> None:
    """A scope contains itself, also when built a second time."""
    assert scope.contains(scope)
    assert scope.contains(Scope.parse(str(scope)))


@laws
@given(scopes(few), scopes(few))
def test_containment_is_antisymmetric(one: Scope, other: Scope) -> None:
    """Two scopes that contain each other are one."""
    if one.contains(other) and other.contains(one):
        assert one == other


@laws
@given(scopes(few), scopes(few), scopes(few))
def test_containment_is_transitive(one: Scope, two: Scope, three: Scope) -> None:
    """What contains a container contains the contained; chains are built as well as found."""
    if one.contains(two) and two.contains(three):
        assert one.contains(three)
    try:
        below = two.nest(three)
    except InvalidScope:
        return
    if one.contains(two):
        assert one.contains(below)


@laws
@given(scopes(few), scopes(few), scopes(few))
def test_containment_is_monotone_in_nesting(resource: Scope, caller: Scope, child: Scope) -> None:
    """Going deeper never takes a resource away."""
    try:
        nested = caller.nest(child)
    except InvalidScope:
        return
    assert caller.contains(nested)
    if resource.contains(caller):
        assert resource.contains(nested)


@laws
@given(scopes(few), scopes(few))
def test_containment_is_what_the_rules_say(resource: Scope, caller: Scope) -> None:
    """An independent reading of the four rules agrees on every pair."""
    assert resource.contains(caller) is oracle(resource, caller)


@laws
@given(scopes(few), scopes(few))
def test_containment_between_tenants_is_impossible(one: Scope, other: Scope) -> None:
    """Two scopes that name different tenants never contain each other."""
    if one.tenant_id is not None and other.tenant_id is not None and one.tenant_id != other.tenant_id:
        assert not one.contains(other)
        assert not other.contains(one)


@laws
@given(scopes(any_id))
@example(Scope.tenant("global"))
@example(Scope.custom("a=b", "c/d:e%41"))
def test_writing_is_reversible_and_canonical(scope: Scope) -> None:
    """parse(str(s)) == s, by JSON too; and the text is plain ASCII without anything a log or URL would mind."""
    text = str(scope)
    assert Scope.parse(text) == scope
    assert str(Scope.parse(text)) == text
    assert hash(Scope.parse(text)) == hash(scope)
    assert Scope.from_json(json.loads(json.dumps(scope.to_json()))) == scope
    assert text.isascii()
    assert text.isprintable()


@laws
@given(
    st.text(max_size=60)
    | st.from_regex(r"(tenant:|user:|custom:|/|=|%[0-9a-f]{2}|[a-z]){1,8}", fullmatch=True)
)
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    """Parsing raises InvalidScope or gives a scope whose own text is its fixed point; nothing else comes out."""
    try:
        scope = Scope.parse(text)
    except InvalidScope:
        return
    assert Scope.parse(str(scope)) == scope


@laws
@given(scopes(any_id), scopes(any_id))
def test_scopes_are_equal_exactly_when_their_fields_and_texts_are(one: Scope, other: Scope) -> None:
    """Equality, fields and text tell the same."""
    assert (one == other) is (one.fields == other.fields) is (str(one) == str(other))
    if one == other:
        assert hash(one) == hash(other)


@laws
@given(scopes(few), scopes(few))
def test_nesting_adds_up_or_is_refused(parent: Scope, child: Scope) -> None:
    """The result has exactly the fields of both; refused exactly when not deeper or disagreeing."""
    mine, theirs = dict(parent.fields), dict(child.fields)
    disagree = any(mine[level] != theirs[level] for level in mine.keys() & theirs.keys())
    try:
        nested = parent.nest(child)
    except InvalidScope:
        assert disagree or child.level <= parent.level
        return
    assert not disagree
    assert child.level > parent.level
    assert dict(nested.fields) == mine | theirs
    assert nested.level == child.level


@laws
@given(scopes(any_id))
def test_ancestors_are_one_field_apart(scope: Scope) -> None:
    """Each ancestor lacks the deepest field of the one before; the last is GLOBAL; below CUSTOM all contain it."""
    chain = (scope, *scope.ancestors())
    assert chain[-1] == Scope.GLOBAL
    assert [len(each.fields) for each in chain] == list(range(len(scope.fields), -1, -1))
    for ancestor in chain[1:]:
        assert ancestor.contains(scope)
        assert scope.is_child_of(ancestor)


LOOK_ALIKES = st.sampled_from(
    [
        lambda text: text.upper(),
        lambda text: text.lower(),
        lambda text: text.casefold(),
        lambda text: f" {text}",
        lambda text: f"{text} ",
        lambda text: text.replace("a", "а"),  # Cyrillic
        lambda text: f"{text}\u200b",  # zero width
        lambda text: f"\u202e{text}",  # written backwards
        lambda text: text.replace("1", "１"),  # full width
        lambda text: text.replace("/", "%2F"),
        lambda text: text.replace("%", "%25"),
        lambda text: unicodedata.normalize("NFD", text),
        lambda text: unicodedata.normalize("NFKC", text),
        lambda text: f"{text}/workflow:w1",
        lambda text: f"{text}=eu",
        lambda text: text + "\x00",
        lambda text: text + "\n",
    ]
)


@laws
@given(any_id, LOOK_ALIKES)
@example("a1/ﬁé%", lambda text: unicodedata.normalize("NFKC", text))
def test_look_alike_ids_are_never_equal(text: str, change: Any) -> None:
    """Whatever looks like an id and is another text is another tenant, or no id at all."""
    other = change(text)
    assume(other != text)
    try:
        fake = Scope.tenant(other)
    except InvalidScope:
        return
    real = Scope.tenant(text)
    assert fake != real
    assert str(fake) != str(real)
    assert not fake.contains(real)
    assert not real.contains(Scope.workflow("w1", tenant=other))
