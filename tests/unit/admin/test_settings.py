"""AdminSettings: one value, right as a whole, or everything that is wrong with it."""

from pathlib import Path
from typing import Any

import pytest

from nebula_resource import Manager
from nebula_resource.admin import AdminSettings, create_admin
from nebula_resource.errors import ValidationFailed


def broken(given: object) -> set[str]:
    """The fields that break a rule."""
    with pytest.raises(ValidationFailed) as caught:
        AdminSettings.of(given)  # type: ignore[arg-type]  # that is the point
    return {each.field for each in caught.value.violations}


def test_lists_of_any_kind_are_copied() -> None:
    """What the caller changes afterwards changes nothing."""
    hosts, members = ["ops.internal"], {"db"}
    settings = AdminSettings.of({"hosts": hosts, "groups": {"core": members}, "audit_file": "audit.jsonl"})
    hosts.append("evil.example")
    members.clear()
    assert settings == AdminSettings(
        hosts=("ops.internal",), groups={"core": ("db",)}, audit_file=Path("audit.jsonl")
    )
    assert AdminSettings.of(settings) is settings
    assert AdminSettings.of(None) == AdminSettings()


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"hosts": "ops.internal"}, {"hosts"}),
        ({"hosts": ["https://ops.internal", "ops.internal:8443"]}, {"hosts"}),
        ({"groups": ["db"]}, {"groups"}),
        ({"groups": {"core": "db", "all": [1]}}, {"groups.core", "groups.all"}),
        ({"tenant_metrics": {"acme": 1}, "max_streams": 0, "page": "no"}, {"tenant_metrics", "max_streams", "page"}),
        ({"tenant_metrics": tuple(map(str, range(51)))}, {"tenant_metrics"}),
        ({"audit_file": 7}, {"audit_file"}),
        ({"host": ["x"]}, {"host"}),
        ("hosts", {"settings"}),
    ],
)  # fmt: skip  # a case a line
def test_everything_that_is_wrong_is_told_at_once(given: Any, fields: set[str]) -> None:
    """A name where a list belongs is no list of letters, and an unknown setting is none."""
    assert broken(given) == fields
    with pytest.raises(ValidationFailed):
        create_admin(Manager(), None, given)
