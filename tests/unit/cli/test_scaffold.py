"""Scaffold: what is made works: its own tests pass; what is there is left alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from nebula_resource.cli.failure import ExitCode, Failure
from nebula_resource.cli.scaffold import scaffold

ROOT = Path(__file__).parents[3]


def test_the_tests_that_it_makes_pass(tmp_path: Path) -> None:
    """Against a real socket, in a process of their own."""
    made = scaffold("my_thing", tmp_path)
    top = tmp_path / "nebula-my-thing"
    assert top / "nebula_my_thing" / "resource.py" in made
    assert not any(
        "@" in path.read_text().replace("@asynccontextmanager", "").replace("@property", "") for path in made
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=top,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout


@pytest.mark.parametrize("name", ["", "9x", "Upper", "a-b", "../x", "class", "x" * 60])
def test_a_name_that_cannot_be_a_module_is_refused(name: str, tmp_path: Path) -> None:
    """Usage; nothing is written."""
    with pytest.raises(Failure) as caught:
        scaffold(name, tmp_path)
    assert caught.value.code is ExitCode.USAGE
    assert ("no word of Python's own" in caught.value.message) == (name == "class")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """Refused, and as it was."""
    kept = tmp_path / "nebula-x"
    kept.mkdir()
    with pytest.raises(Failure, match="is there already"):
        scaffold("x", tmp_path)
    assert list(kept.iterdir()) == []
    with pytest.raises(Failure, match="cannot write"):
        scaffold("y", tmp_path / "nowhere")
