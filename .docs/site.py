"""Site: what mkdocs builds that is not written by hand: navigation, changelog, the pages of the API."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SECTIONS = {
    "Concepts": ("concepts", ["scopes", "leases", "lifecycle", "pool", "health", "quarantine", "events", "hooks"]),
    "Guides": ("guides", ["write-a-resource", "fastapi", "dependency-injection", "workflow"]),
    "Reference": ("reference", ["errors", "events", "settings"]),
    "Design": ("design", ["architecture"]),
}  # fmt: skip  # a folder, and which of its pages come first; the others follow by name
FIRST = ["index.md", "why.md", "quickstart.md"]
LAST = ["benchmarks.md", "glossary.md", "changelog.md"]
MARK = "<!-- the fragments of docs/changes, the newest first -->"

Nav = list[Any]

sys.path.insert(0, str(Path(__file__).parent))
from tables import TABLES  # noqa: E402  # mkdocs runs this file by its path


def navigation(api: list[str]) -> Nav:
    """Every page of docs/ in its section: what is new is picked up."""
    pages = sorted(each.relative_to(DOCS).as_posix() for each in DOCS.rglob("*.md"))
    pages = [each for each in pages if not each.startswith("changes/")]
    ends = [[each for each in chosen if each in pages] for chosen in (FIRST, LAST)]
    nav: Nav = [{"Home": each} if each == "index.md" else each for each in ends[0]]
    for title, (folder, order) in SECTIONS.items():
        inside = [each for each in pages if each.rpartition("/")[0] == folder]
        first = [f"{folder}/{each}.md" for each in order if f"{folder}/{each}.md" in inside]
        section: Nav = [*first, *(each for each in inside if each not in first)]
        if title == "Reference":
            section.append({"API": [{_short(each): each} for each in api]})
        if title == "Design":
            section.append({"Decisions": [each for each in pages if each.startswith("design/decisions/")]})
        if section:
            nav.append({title: section})
    seen = str(nav)
    nav += [each for each in pages if f"'{each}'" not in seen and each not in ends[1]]
    return [*nav, *ends[1]]


def _short(page: str) -> str:
    """The name of a module in the navigation, where all begin alike."""
    name = page.removeprefix("reference/api/").removesuffix(".md")
    return name.removeprefix("nebula_resource.")


def public_names() -> dict[str, list[str]]:
    """Which names each public module offers: a package's own list, or where it has none, those of its modules."""
    sys.path.insert(0, str(ROOT))
    try:
        package = importlib.import_module("nebula_resource")
        return {"nebula_resource": list(package.__all__), **_names_in(package)}
    finally:
        sys.path.remove(str(ROOT))


def _names_in(package: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        leaf = info.name.rpartition(".")[2]
        if leaf.startswith("_") or leaf == "dashboard":
            continue
        module = importlib.import_module(info.name)
        names = list(getattr(module, "__all__", ()))
        if names:
            found[info.name] = names
        elif info.ispkg:
            found |= _names_in(module)
    return found


def homes() -> dict[str, list[str]]:
    """Where each public name is described: once, by the public module nearest to where it is made."""
    modules = public_names()
    taken: dict[str, str] = {}
    pages: dict[str, list[str]] = {}
    for module in sorted(modules, key=lambda name: (-name.count("."), name)):
        for name in modules[module]:
            held = getattr(importlib.import_module(module), name)
            origin = f"{getattr(held, '__module__', module)}.{getattr(held, '__qualname__', name)}"
            if not origin.startswith("nebula_resource") or not isinstance(origin, str):
                origin = f"{module}.{name}"
            near = max(
                (each for each in modules if f"{origin}.".startswith(f"{each}.")), key=len, default=module
            )
            if (
                name in modules[near]
                and near != module
                and getattr(importlib.import_module(near), name) is held
            ):
                continue  # described there
            if taken.setdefault(origin, module) == module:
                pages.setdefault(module, []).append(name)
    return dict(sorted(pages.items()))


def api_page(module: str, names: list[str]) -> str:
    """The Markdown that mkdocstrings fills."""
    summary = (importlib.import_module(module).__doc__ or "").strip().partition("\n")[0]
    parts = [f"# {module}", summary, *(f"::: {module}.{name}" for name in sorted(names))]
    return "\n\n".join(parts) + "\n"


def changelog() -> str:
    """The fragments, the newest first, as far as their names tell."""
    fragments = sorted((DOCS / "changes").glob("*.md"), key=lambda path: path.name)
    whole = [path.read_text() for path in fragments]
    released = [text for text in whole if text.startswith("# ")]
    fresh = [text.strip() for text in whole if not text.startswith("# ")]
    recent = "## Not released yet\n\n" + "\n\n".join(f"- {' '.join(text.split())}" for text in fresh)
    return "\n\n".join([*([recent] if fresh else []), *(f"#{text}" for text in released)])


# ── mkdocs calls these ──


def on_config(config: Any) -> Any:
    """Set the navigation."""
    config.nav = navigation([f"reference/api/{module}.md" for module in homes()])
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the API."""
    for module, names in homes().items():
        page = File.generated(config, f"reference/api/{module}.md", content=api_page(module, names))
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in the changelog, and the tables that the code knows."""
    if MARK in markdown:
        markdown = markdown.replace(MARK, changelog())
    return re.sub(r"<!-- table: (\w+) -->", lambda match: TABLES[match[1]](), markdown)
