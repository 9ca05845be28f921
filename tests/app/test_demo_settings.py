"""Settings: what the environment says, all that is wrong at once, and no value repeated."""

from pathlib import Path

import pytest

from app.settings import Settings
from nebula_resource.errors import ValidationFailed


def test_nothing_said_is_the_default() -> None:
    """No variable, and empty ones: the documented defaults."""
    assert Settings.from_environment({}) == Settings()
    empty = {"PORT": "", "DATA": "", "LOG_LEVEL": "", "LOG_FORMAT": ""}
    assert Settings.from_environment(empty) == Settings(port=8000, data=Path(".data"), traffic=True)


def test_all_of_it_is_read() -> None:
    """Every variable has its say."""
    assert Settings.from_environment(
        {"PORT": "0", "DATA": "/somewhere", "TRAFFIC": "0", "LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"}
    ) == Settings(port=0, data=Path("/somewhere"), traffic=False, log_format="json", log_level="DEBUG")


@pytest.mark.parametrize("port", ["eighty", "-1", "65536", "8000.0", "٨٠", "9" * 5000])
def test_a_wrong_port_is_refused(port: str) -> None:
    """What is no port number is named, and not repeated."""
    with pytest.raises(ValidationFailed, match="PORT: must be a whole number from 0 to 65535") as caught:
        Settings.from_environment({"PORT": port})
    assert port not in str(caught.value)


def test_everything_wrong_is_said_at_once() -> None:
    """One error with all violations."""
    wrong = {"PORT": "x", "TRAFFIC": "maybe", "DATA": "a\0b", "LOG_FORMAT": "xml", "LOG_LEVEL": "LOUD"}
    with pytest.raises(ValidationFailed) as caught:
        Settings.from_environment(wrong)
    assert [each.field for each in caught.value.violations] == [
        "PORT",
        "TRAFFIC",
        "DATA",
        "LOG_FORMAT",
        "LOG_LEVEL",
    ]
