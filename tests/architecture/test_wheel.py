"""Wheel: it holds nebula_resource alone, and works where nothing but its declared needs is installed."""

import hashlib
import json
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.architecture.test_extras import MODULES
from tests.architecture.test_locks import RUN, requirements
from tests.architecture.tree import ROOT, tracked

CORE_CLOSURE = {"annotated-types", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree as it stands."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    """Every file of nebula_resource, data included, and nothing of app, containers or tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == {name for name in tracked() if name.startswith("nebula_resource/")}
    assert "nebula_resource/py.typed" in inside


def test_the_wheel_asks_for_the_core_only(wheel: Path) -> None:
    """Without an extra it needs pydantic and typing_extensions; each extra of the design is there."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    needs = metadata.get_all("Requires-Dist") or []
    assert sorted(line.split(">")[0].split("<")[0] for line in needs if "extra ==" not in line) == [
        "pydantic",
        "typing-extensions",
    ]
    extras = set(metadata.get_all("Provides-Extra") or [])
    designed = {
        "fastapi",
        "di",
        "sqlalchemy",
        "postgres",
        "redis",
        "http",
        "kafka",
        "mongodb",
        "otel",
        "cli",
        "all",
    }
    assert designed <= extras, designed - extras


def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """pip installs it with its declared needs, hashes checked, and it imports away from the source tree."""
    environment = tmp_path / "empty"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    lines = [
        f"nebula-resource @ {wheel.as_uri()} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    ]
    for requirement, hashes in requirements(RUN).items():
        if requirement.split("==")[0] in CORE_CLOSURE:
            lines.append(" ".join((requirement, *hashes)))
    needs = tmp_path / "needs.txt"
    needs.write_text("\n".join(lines) + "\n")
    # --require-hashes refuses whatever the wheel asks for beyond the closure above.
    _run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--require-hashes",
        "-r",
        str(needs),
        cwd=tmp_path,
    )
    where = _run(
        str(python), "-I", "-c", "import nebula_resource; print(*nebula_resource.__path__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(environment)
    _what_needs_an_extra_says_which(python, tmp_path)


def _what_needs_an_extra_says_which(python: Path, folder: Path) -> None:
    """The error of each import that fails here is followed by the line to type; it is no less of an error for that."""
    # postgres is needed by a URL, cli by a command (below), prometheus by a module of a room that needs fastapi first.
    rooms = {extra: MODULES[extra][0] for extra in MODULES.keys() - {"postgres", "cli", "prometheus"}}
    notes = json.loads(_run(str(python), "-I", "-c", NOTES, *rooms.values(), cwd=folder))
    assert notes == {
        room: f"{room} needs an extra: pip install 'nebula-resource[{extra}]'"
        for extra, room in rooms.items()
    }
    command = subprocess.run(
        [python.with_name("nebula"), "pools"], capture_output=True, text=True, check=False, cwd=folder
    )
    assert command.returncode == 2
    assert command.stderr.endswith("pip install 'nebula-resource[cli]'\n")


NOTES = """
import importlib, json, sys
def notes(module):
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return " ".join(error.__notes__)
    return "nothing was missing"
print(json.dumps({module: notes(module) for module in sys.argv[1:]}))
"""


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
