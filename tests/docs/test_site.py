"""The documentation site builds strictly, holds every page and every public name, and fetches nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.tree import ROOT, tracked

CONFIG = ROOT / ".docs" / "mkdocs.yml"


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Run mkdocs as `make docs` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(site)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip  # one list


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(CONFIG, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """What makes navigation and API pages."""
    spec = importlib.util.spec_from_file_location("site_of_docs", ROOT / ".docs" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_site_and_its_navigation(site: Path) -> None:
    """Whatever is written under docs/ can be found from the first page."""
    index = (site / "index.html").read_text()
    pages = [name for name in tracked() if name.startswith("docs/") and name.endswith(".md")]
    pages = [name for name in pages if not name.startswith("docs/changes/")]
    assert len(pages) > 20
    sections = {name.split("/")[1] for name in pages if name.count("/") > 1}
    linked = index + "".join(
        next((site / section).glob("*.html")).read_text()
        for section in sorted(sections)
        if (site / section).is_dir()
    )  # with tabs, a page shows its own section
    for name in pages:
        html = name.removeprefix("docs/").removesuffix(".md") + ".html"
        assert (site / html).is_file(), name
        assert Path(html).name in linked, f"{name} is in no navigation"


def test_every_public_name_stands_in_the_reference(site: Path, maker: ModuleType) -> None:
    """Each name of a public module's list is described once; what has no docstring is not, and so is missed here."""
    raw = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    described = {line.split(" ")[0] for line in zlib.decompress(raw).decode().splitlines()}
    pages = maker.homes()
    assert sum(map(len, pages.values())) > 300
    missing = [
        f"{module}.{name}"
        for module, names in pages.items()
        for name in names
        if f"{module}.{name}" not in described
    ]
    assert missing == []


def test_every_public_name_has_a_docstring(maker: ModuleType) -> None:
    """Classes and functions, and the public methods that a class writes itself."""
    bare: list[str] = []
    for module, names in maker.public_names().items():
        for name in names:
            held = getattr(sys.modules[module], name)
            if not (inspect.isclass(held) or inspect.isfunction(held)):
                continue
            if not (held.__doc__ or "").strip() or (held.__doc__ or "").startswith(f"{name}("):
                bare.append(f"{module}.{name}")
    assert bare == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and images are the site's own: it works without a network."""
    foreign = re.compile(
        r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+href=[\"']?(?:https?:)?//"
    )
    pages = list(site.rglob("*.html"))
    assert pages
    assert [page.name for page in pages if foreign.search(page.read_text())] == []
    styles = [
        page
        for page in site.rglob("*.css")
        if re.search(r"url\([\"']?(?:https?:)?//|@import", page.read_text())
    ]
    assert styles == []


def test_tables_and_changelog_are_filled_in(site: Path) -> None:
    """What the code says stands on the page."""
    errors = (site / "reference" / "errors.html").read_text()
    assert "<code>AcquireTimeout</code>" in errors
    assert "<code>quarantine.entered</code>" in (site / "reference" / "events.html").read_text()
    assert "<code>max_concurrent_creates</code>" in (site / "reference" / "settings.html").read_text()
    assert "The first whole thing" in (site / "changelog.html").read_text()
    assert [page.name for page in site.rglob("*.html") if "<!-- table:" in page.read_text()] == []


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({"index.md": "[gone](gone.md)"}, "gone.md"),
        ({"index.md": "[part](#nowhere)"}, "nowhere"),
        ({"index.md": "# A", "lost.md": "# B"}, "lost.md"),
        ({"index.md": "[folder](guides)"}, "guides"),
    ],
)
def test_a_broken_link_or_a_lost_page_breaks_the_build(
    pages: dict[str, str], said: str, tmp_path: Path
) -> None:
    """With the settings of the real site, so that its strictness cannot be lost."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in pages.items():
        (docs / name).write_text(text)
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {CONFIG}\ndocs_dir: docs\nhooks: []\nplugins: []\nextra_css: []\nwatch: []\nnav: [index.md]\n"
    )
    done = build(config, tmp_path / "site")
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
