"""Layout: what stands at the top, how long a module may be, who may start a task."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, SHIPPED, modules, tracked

REQUIRED = {
    "nebula_resource",
    "containers",
    "app",
    "tests",
    "docs",
    "pyproject.toml",
    "Makefile",
    "docker-compose.yml",
}
ALLOWED = REQUIRED | {"README.md", "benchmarks"}

LONGEST = 300  # lines
# Why each is still one noun.
LONGER_FOR_A_REASON: dict[str, str] = {
    "nebula_resource/errors.py": "a catalogue: thirty-five classes of a few lines, read by searching",
    "nebula_resource/manager/open_scope.py": "one block's life; what it holds, how it ends and how it opens are in held, scope_end and block",
    "nebula_resource/manager/watch.py": "every verdict's way to a refusal, one short method for each",
    "nebula_resource/model/health.py": "four states, their status and their policy: values that name each other",
    "nebula_resource/model/scope.py": "one value with its text form; speed forbids parting the two",
    "nebula_resource/quarantine/manager.py": "the public operations of quarantine; planning and levels are apart",
}

# A package index by name, or somebody's home; what else this machine has is asked of its environment.
FOREIGN = re.compile(r"//[\w.-]*\bpy(?:pi|thonhosted)\b|/(?:home|Users)/\w+/")
INSTALLERS = re.compile(r"(?:PIP|UV)_\w*(?:INDEX|LINKS|CERT)\w*")


def test_the_top_level_is_what_the_design_says() -> None:
    """Nothing is added at the top without a decision; files with a leading dot are tools' own."""
    present = {name.split("/")[0] for name in tracked()}
    assert not REQUIRED - present, f"missing: {sorted(REQUIRED - present)}"
    unknown = {name for name in present - ALLOWED if not name.startswith(".")}
    assert not unknown, f"not in the design: {sorted(unknown)}"


def test_no_module_is_longer_than_one_noun_needs() -> None:
    """A module over 300 lines is listed with its reason, and no listed one has become short."""
    lengths = {
        name: len((ROOT / name).read_text().splitlines())
        for name, _ in modules(*SHIPPED)  # tests are lists of behaviours: as long as there are
    }
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGEST}
    unexplained = {name: lines for name, lines in too_long.items() if name not in LONGER_FOR_A_REASON}
    assert not unexplained, f"over {LONGEST} lines: {unexplained}"
    assert set(LONGER_FOR_A_REASON) <= set(too_long), "short again: take it off the list"


def test_every_module_says_what_it_holds() -> None:
    """The first line of a module is a docstring of one sentence."""
    silent = [name for name, tree in modules(*SHIPPED, "tests", "benchmarks") if not ast.get_docstring(tree)]
    assert not silent, silent


def test_tasks_are_started_in_one_place() -> None:
    """create_task, ensure_future and Task() stand in _aio.owned_tasks alone, or on a TaskGroup, which owns its tasks."""
    bare = [
        f"{name}:{line}"
        for name, tree in modules(*SHIPPED)
        if name != "nebula_resource/_aio/owned_tasks.py"
        for line in _bare_tasks(tree)
    ]
    assert not bare, "\n".join(bare)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import asyncio\nasyncio.create_task(f())", [2]),
        ("loop.create_task(f())", [1]),
        ("asyncio.Task(f())\nx: asyncio.Task[int]", [1]),
        ("from asyncio import ensure_future as go\nensure_future(f())", [1, 2]),
        ("async def g():\n  async with asyncio.TaskGroup() as group:\n    group.create_task(f())", []),
        ("async def g():\n  async with other() as group:\n    group.create_task(f())", [3]),
    ],
)
def test_the_task_check_sees_a_bare_task(source: str, found: list[int]) -> None:
    """The check itself: each way to start an unowned task is seen, a TaskGroup's is not."""
    assert list(_bare_tasks(ast.parse(source))) == found


def test_no_file_names_a_machine_or_a_package_index() -> None:
    """Tracked files hold no path of the machine they were written on and no address of an index."""
    of_this_machine = [str(ROOT), f"{Path.home()}/"]
    of_this_machine += [
        value for name, value in os.environ.items() if INSTALLERS.fullmatch(name) and "/" in value
    ]
    found = []
    for name in tracked():
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        found += [f"{name}: {match[0]}" for match in FOREIGN.finditer(text)]
        found += [f"{name}: {needle}" for needle in of_this_machine if needle in text]
    assert not found, "\n".join(found)


def _bare_tasks(tree: ast.Module) -> Iterator[int]:
    starters = {"create_task", "ensure_future", "Task"}
    groups = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name)
        and isinstance(item.context_expr, ast.Call)
        and _last_name(item.context_expr.func) == "TaskGroup"
    }
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name in starters for alias in node.names):
            lines.append(node.lineno)
        elif isinstance(node, ast.Call) and _last_name(node.func) in starters:
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            if not (isinstance(owner, ast.Name) and owner.id in groups):
                lines.append(node.lineno)
    yield from sorted(lines)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
