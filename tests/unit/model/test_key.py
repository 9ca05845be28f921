"""Keys: an id that is a str in every respect and knows the type of its lease."""

import copy
import json
import pickle
from typing import Any

import pytest

from nebula_resource.errors import ValidationFailed
from nebula_resource.model.key import ResourceKey, check_resource_id, is_resource_id


class Session:
    """What a lease is in these tests."""


DB = ResourceKey("db", Session)
ALIAS = ResourceKey[Session]("db")


@pytest.mark.parametrize("key", [DB, ALIAS])
def test_a_key_is_its_id_everywhere(key: ResourceKey[Session]) -> None:
    """Equality, hash, look-up, formatting and JSON are those of the str."""
    assert key == "db"
    assert hash(key) == hash("db")
    assert {"db": 1}[key] == 1
    by_text: dict[str, int] = {key: 1}
    assert by_text["db"] == 1
    assert f"{key}" == "db"
    assert type(str(key)) is str
    assert json.dumps({"key": key}) == '{"key": "db"}'
    assert isinstance(key, str)


@pytest.mark.parametrize("key", [DB, ALIAS])
def test_both_spellings_know_the_type(key: ResourceKey[Session]) -> None:
    """The type stands in ``type`` and in the repr."""
    assert key.type is Session
    assert repr(key) == "ResourceKey('db', Session)"


def test_a_key_without_a_type() -> None:
    """Nothing said, nothing known."""
    key: ResourceKey[Any] = ResourceKey("db")
    assert key.type is None
    assert repr(key) == "ResourceKey('db')"


def test_the_type_may_be_more_than_a_class() -> None:
    """The subscript takes generic classes and unions."""
    assert ResourceKey[dict[str, int]]("db").type == dict[str, int]
    assert ResourceKey[int | str]("db").type == int | str
    assert repr(ResourceKey[int | str]("db")) == "ResourceKey('db', int | str)"


@pytest.mark.parametrize("key", [DB, ALIAS, ResourceKey[Any]("db")])
def test_a_key_survives_pickling_and_copying(key: ResourceKey[Any]) -> None:
    """The type goes along."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(key, protocol))
        assert (again, again.type, type(again)) == (key, key.type, ResourceKey)
    for again in (copy.copy(key), copy.deepcopy(key)):
        assert (again, again.type) == (key, key.type)


@pytest.mark.parametrize("good", ["a", "0", "db", "Main_DB-2.replica", "x" * 128])
def test_a_good_id(good: str) -> None:
    """1 to 128 characters of A-Z a-z 0-9 . _ -, a letter or digit first."""
    assert is_resource_id(good)
    assert check_resource_id(good) == good
    assert ResourceKey[Any](good) == good


@pytest.mark.parametrize(
    "bad", ["", ".db", "-db", "_db", "a b", "a/b", "é", "db\n", "x" * 129, "٣", None, 7, b"db"]
)
def test_a_bad_id_is_refused_and_not_repeated(bad: Any) -> None:
    """The violation names the field and the rule."""
    assert not is_resource_id(bad)
    with pytest.raises(ValidationFailed) as refused:
        ResourceKey[Any](bad)
    (violation,) = refused.value.violations
    assert violation.field == "id"
    assert "1 to 128" in violation.constraint
    with pytest.raises(ValidationFailed, match=r"resources\.db\.id"):
        check_resource_id(bad, field="resources.db.id")
    if isinstance(bad, str) and len(bad) > 3:
        assert bad not in str(refused.value)
