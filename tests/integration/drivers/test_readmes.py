"""READMEs of drivers: their examples run as they stand."""

from pathlib import Path

import pytest

from tests.architecture.tree import ROOT
from tests.docs.blocks import run_blocks


@pytest.mark.parametrize("driver", ["http", "sqlalchemy"])
def test_the_examples_of_a_driver_run(driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of the driver's page run in order, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    assert run_blocks(ROOT / "nebula_resource" / "drivers" / driver / "README.md", f"{driver}_page") >= 1
