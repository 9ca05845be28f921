"""Session: the rules of tests/conftest.py hold for whoever writes the next test."""

import asyncio
import re
import subprocess
import sys

import pytest

from tests.architecture.tree import ROOT

QUIET = {
    "skip": "import pytest\n@pytest.mark.skip(reason='no server')\ndef test_a(): pass\n",
    "skip_inside": "import pytest\ndef test_a(): pytest.skip('no server')\n",
    "expected_to_fail": "import pytest\n@pytest.mark.xfail(reason='later')\ndef test_a(): assert False\n",
    "missing_module": "import pytest\npytest.importorskip('no_such_module')\ndef test_a(): pass\n",
    "unknown_loop": "import pytest\n@pytest.mark.asyncio(loop_factories=['none'])\nasync def test_a(): pass\n",
    "nothing_to_try": "import pytest\n@pytest.mark.parametrize('a', [])\ndef test_a(a): pass\n",
    "unknown_marker": "import pytest\n@pytest.mark.slow\ndef test_a(): pass\n",
    "forgotten_await": "import asyncio, gc\nasync def test_a():\n    asyncio.sleep(0)\n    gc.collect()\n",
}
HONEST = "async def test_a(): assert True\n"
SUMMARY = re.compile(r"^(?P<outcome>[A-Z]+) \S*test_(?P<name>\w+)\.py", re.MULTILINE)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What pytest says of each of these files in one session under our rules, e.g. {"skip": "ERROR"}."""
    folder = tmp_path_factory.mktemp("session")
    for name, source in {**QUIET, "honest": HONEST}.items():
        (folder / f"test_{name}.py").write_text(source)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "--continue-on-collection-errors",
        "-p",
        "tests.conftest",
    ]
    command += [
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(folder),
        str(folder),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return {match["name"]: match["outcome"] for match in SUMMARY.finditer(done.stdout)}


@pytest.mark.parametrize("name", QUIET)
def test_no_test_passes_by_not_running(name: str, outcomes: dict[str, str]) -> None:
    """Each way of a test to stay quiet makes the session red."""
    assert outcomes[name] in {"FAILED", "ERROR"}


def test_a_test_that_runs_passes(outcomes: dict[str, str]) -> None:
    """The honest test of the same session is green: the failures above are the rules' doing."""
    assert outcomes["honest"] == "PASSED"


async def test_tests_with_io_run_on_a_real_loop() -> None:
    """Outside unit, races and properties the loop is asyncio's (or uvloop's) own."""
    assert type(asyncio.get_running_loop()).__module__.split(".")[0] in {"asyncio", "uvloop"}
