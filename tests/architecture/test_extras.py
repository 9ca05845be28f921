"""Each extra alone: its modules import where only its own declared distributions, and what those need, can be imported."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions

import pytest

from tests.architecture.tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

MODULES = {
    "fastapi": ["nebula_resource.fastapi", "nebula_resource.admin"],
    "di": ["nebula_resource.di"],
    "sqlalchemy": ["nebula_resource.drivers.sqlalchemy"],
    "postgres": ["nebula_resource.drivers.sqlalchemy", "asyncpg"],
    "http": ["nebula_resource.drivers.http"],
    "otel": ["nebula_resource.otel"],
    "cli": ["nebula_resource.cli.commands"],
    "prometheus": ["nebula_resource.admin.collector"],
    "service": [
        "nebula_resource.service",
        "nebula_resource.service.logs",
        "nebula_resource.service.http_metrics",
    ],
}
"""What each extra is for."""

PLANNED = {
    "redis": "nebula_resource.drivers.redis",
    "kafka": "nebula_resource.drivers.kafka",
    "mongodb": "nebula_resource.drivers.mongodb",
}
"""Extras whose modules may not be built yet: looked at as soon as they are."""
MODULES.update(
    {
        extra: [module]
        for extra, module in PLANNED.items()
        if (ROOT / module.replace(".", "/")).is_dir() or (ROOT / f"{module.replace('.', '/')}.py").is_file()
    }
)

SCRIPT = """
import importlib.abc, sys

ALLOWED = set(sys.argv[1].split(","))

class Fence(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ALLOWED or top in sys.stdlib_module_names or top == "nebula_resource" or top.startswith("_sysconfigdata"):
            return None
        raise ModuleNotFoundError(f"fenced off: {name}", name=name)

sys.meta_path.insert(0, Fence())
for name in sys.argv[2].split(","):
    __import__(name)
"""


def key(name: str) -> str:
    """A distribution's name as all spellings of it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirement: str) -> tuple[str, list[str]]:
    """Name and extras of a requirement."""
    match = re.match(r"([A-Za-z0-9._-]+)(?:\\[([^]]*)\\])?".replace("\\\\", "\\"), requirement)
    assert match is not None, requirement
    return key(match[1]), [each.strip() for each in (match[2] or "").split(",") if each.strip()]


def closure(requirements: list[str], extra_of: str = "") -> set[str]:
    """Distributions that installing these brings: markers other than `extra` are taken as true, if it is installed."""
    found: set[str] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = []
    asked: set[tuple[str, tuple[str, ...]]] = set()

    def want(requirement: str) -> None:
        name, extras = named(requirement)
        if name == "nebula-resource":
            for extra in extras:
                for each in EXTRAS[extra]:
                    want(each)
        else:
            waiting.append((name, tuple(extras)))

    for each in requirements:
        want(each)
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        for need in needs:
            requirement, _, marker = need.partition(";")
            given = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
            if given is None or key(given[1]) in map(key, extras):
                want(requirement.strip())
    return found


@functools.cache
def owners_of_modules() -> dict[str, list[str]]:
    """Which distributions bring each top-level module; reading that takes a while."""
    return dict(packages_distributions())


def modules_of(distributions: set[str]) -> set[str]:
    """The top-level modules that these bring."""
    return {
        module
        for module, owners in owners_of_modules().items()
        if any(key(owner) in distributions for owner in owners)
    }


def run(allowed: set[str], modules: list[str]) -> subprocess.CompletedProcess[str]:
    """Import these where nothing else can be."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, ",".join(sorted(allowed)), ",".join(modules)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip  # one list


CORE = list(PROJECT["dependencies"])


def test_every_extra_is_here() -> None:
    """None is forgotten when one is added."""
    assert set(EXTRAS) - {"all"} == set(MODULES) | set(PLANNED)


@pytest.mark.parametrize("extra", sorted(MODULES))
def test_an_extra_imports_with_its_own_needs_alone(extra: str) -> None:
    """What it uses it declares."""
    allowed = modules_of(closure([*CORE, *EXTRAS[extra]]))
    done = run(allowed, MODULES[extra])
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_core_imports_with_its_own_needs_alone() -> None:
    """pydantic and typing_extensions, and what those need."""
    done = run(
        modules_of(closure(CORE)), ["nebula_resource", "nebula_resource.workflow", "nebula_resource.metrics"]
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("extra", ["fastapi", "di", "sqlalchemy", "http", "otel"])
def test_the_fence_holds(extra: str) -> None:
    """Without the extra its modules do not import: the fence keeps out what is installed here for others."""
    done = run(modules_of(closure(CORE)), MODULES[extra])
    assert done.returncode == 1
    assert "fenced off" in done.stderr


def test_a_module_without_its_extra_says_what_to_install() -> None:
    """The error of the import that fails is followed by the line to type, also where its room has all that it needs."""
    done = run(modules_of(closure([*CORE, *EXTRAS["fastapi"]])), MODULES["prometheus"])
    assert done.returncode == 1
    assert "ModuleNotFoundError: fenced off" in done.stderr
    assert done.stderr.endswith("needs an extra: pip install 'nebula-resource[prometheus]'\n")


@pytest.mark.parametrize("command", ["serve", "check-config", "keys new --role viewer"])
def test_a_command_without_its_extra_says_what_to_install(command: str) -> None:
    """One line and the code of a wrong usage: nobody who installed the command line alone meets a traceback."""
    allowed = modules_of(closure([*CORE, *EXTRAS["cli"]]))
    ending = f"raise SystemExit(sys.modules['nebula_resource.cli.commands'].run({command.split()!r}))"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + ending, ",".join(sorted(allowed)), "nebula_resource.cli.commands"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip  # one list
    assert done.returncode == 2, done.stderr[-2000:]
    assert re.fullmatch(
        r"nebula: (serving|making keys) needs \w+: pip install 'nebula-resource\[service,cli\]'\n",
        done.stderr,
    )
