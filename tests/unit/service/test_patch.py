"""Patch: what an operator may put over the file, and how it is put there."""

from typing import Any

import pytest

from nebula_resource.errors import ValidationFailed
from nebula_resource.service.patch import patched

FILE: dict[str, Any] = {
    "admin": {"port": 0, "log_level": "INFO"},
    "resources": {
        "db": {"driver": "sqlite", "pool": {"min_size": 1, "create_backoff": {"base": 1}}, "health": "off"}
    },
}
CANARY = "kuckuck-4711"


def test_a_table_is_gone_into_and_null_takes_out() -> None:
    """RFC 7396; the file's own document stays as it was."""
    before = repr(FILE)
    made, said = patched(
        FILE,
        {
            "admin": {"log_level": "DEBUG"},
            "resources": {
                "db": {
                    "pool": {"max_size": 9, "min_size": None, "create_backoff": {"factor": 3}},
                    "health": {"interval": 5},
                    "quarantine": "off",
                }
            },
        },
    )
    assert made == {
        "admin": {"port": 0, "log_level": "DEBUG"},
        "resources": {
            "db": {
                "driver": "sqlite",
                "pool": {"max_size": 9, "create_backoff": {"base": 1, "factor": 3}},
                "health": {"interval": 5},
                "quarantine": "off",
            }
        },
    }
    assert said == (
        "admin.log_level", "resources.db.pool.max_size", "resources.db.pool.min_size",
        "resources.db.pool.create_backoff.factor", "resources.db.health.interval", "resources.db.quarantine",
    )  # fmt: skip  # one list of names
    assert repr(FILE) == before


def test_nothing_is_no_change() -> None:
    """An empty patch, and empty tables."""
    assert patched(FILE, {}) == (FILE, ())
    assert patched(FILE, {"admin": {}, "resources": {"db": {"pool": {}}}}) == (FILE, ())


@pytest.mark.parametrize(
    ("patch", "where"),
    [
        ({CANARY: {}}, "patch"),
        ({"admin": {"keys_file": CANARY}}, "admin"),
        ({"admin": {"hosts": [CANARY]}}, "admin"),
        ({"admin": {"audit_file": CANARY}}, "admin"),
        ({"resources": {CANARY: {"pool": {"max_size": 2}}}}, "resources"),
        ({"resources": {"db": {"config": {"path": "file:/etc/passwd"}}}}, "resources.db"),
        ({"resources": {"db": {"driver": CANARY}}}, "resources.db"),
        ({"resources": {"db": {"required": False}}}, "resources.db"),
        ({"resources": {"db": {"pool": {CANARY: 1}}}}, "resources.db.pool"),
        ({"resources": {"db": {"health": {"stages": CANARY}}}}, "resources.db.health"),
        ({"resources": {"db": {"quarantine": {"backoff": {CANARY: 1}}}}}, "resources.db.quarantine.backoff"),
        ({"admin": None}, "admin"),
        ({"resources": None}, "resources"),
        ({"resources": {"db": None}}, "resources.db"),
    ],
)
def test_what_a_patch_may_not_say_is_refused_and_not_repeated(patch: dict[str, Any], where: str) -> None:
    """Who gets in, what is read, what is connected to, what is there at all: none of it comes from a request."""
    with pytest.raises(ValidationFailed) as caught:
        patched(FILE, patch)
    (violation,) = caught.value.violations
    assert violation.field == where
    assert CANARY not in str(violation)


def test_everything_wrong_is_told_at_once() -> None:
    """Also what a variable or an option has decided: it would not hold."""
    with pytest.raises(ValidationFailed) as caught:
        patched(
            FILE, {"admin": {"log_level": "DEBUG", "port": 1}, "resources": {"x": {}}}, fixed={"log_level"}
        )
    assert [each.field for each in caught.value.violations] == ["admin", "resources", "admin.log_level"]
