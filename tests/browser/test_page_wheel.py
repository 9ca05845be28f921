"""The page from the built wheel alone: every file of it is in the package, and nothing comes from anywhere else."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.architecture.tree import ROOT
from tests.browser.visitor import Visitor
from tests.scenarios.nebula import started

FILE = """
[admin]
port = 0

[resources.db]
driver = "sqlite"
config = { path = "orders.db" }
pool = { min_size = 1, max_size = 2 }
"""
UI = "nebula_resource/admin/dashboard/"


def test_the_page_of_the_wheel_needs_nothing_else(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    """Served out of the unpacked wheel, away from the tree: live, each file asked for once, and none from elsewhere."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(ROOT),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    package = tmp_path / "package"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(package)
    where = "import nebula_resource; print(nebula_resource.__file__)"
    environment = {"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin"}
    loaded = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(loaded.stdout.strip()).is_relative_to(package)
    (tmp_path / "nebula.toml").write_text(FILE)
    with started(cwd=tmp_path, PYTHONPATH=str(package)) as service:
        seen = visit(service.url).is_live()
        expect(seen.row("db")).to_be_visible()
        expect(seen.page.locator("#graph")).to_contain_text("No resource needs another.")
        assert {f"{urlsplit(each).scheme}://{urlsplit(each).netloc}" for each in seen.asked} == {service.url}
        parts = sorted(urlsplit(each).path for each in seen.asked if "/ui/" in each)
        files = {each.name for each in (package / UI).iterdir() if each.suffix in {".js", ".css", ".svg"}}
        assert set(parts) == {f"/ui/{name}" for name in files}
        seen.leave()
