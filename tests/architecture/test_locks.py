"""Locks: pinned, hashed, without an address, and one environment serves the demo and the tests."""

import re
import tomllib

import pytest

from tests.architecture.tree import ROOT

RUN, DEV = ".requirements/run.txt", ".requirements/dev.txt"
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)(\[[a-z0-9,-]+\])?==(?P<version>[^ ;]+)( ; .+)?$")


def requirements(lock: str) -> dict[str, tuple[str, ...]]:
    """Each pinned line of a lock with its hashes, in order."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in (ROOT / lock).read_text().splitlines():
        words = line.rstrip("\\").strip()
        if words.startswith("#") or not words:
            continue
        if words.startswith("--hash="):
            assert current is not None, f"{lock}: a hash before any requirement"
            current.append(words)
        else:
            assert PIN.match(words), f"{lock}: not a pinned requirement: {words}"
            current = found.setdefault(words, [])
    return {requirement: tuple(hashes) for requirement, hashes in found.items()}


@pytest.mark.parametrize("lock", [RUN, DEV])
def test_a_lock_holds_no_address(lock: str) -> None:
    """Where packages come from is the business of whoever installs: no URL, no index, no folder in the lock."""
    text = (ROOT / lock).read_text()
    for forbidden in (
        "http:" + "//",
        "https:" + "//",
        "file:",
        "--index-url",
        "--extra-index-url",
        "--find-links",
        " @ ",
        "-e ",
    ):
        assert forbidden not in text, f"{lock} holds {forbidden!r}"


@pytest.mark.parametrize("lock", [RUN, DEV])
def test_every_requirement_is_pinned_and_hashed(lock: str) -> None:
    """pip --require-hashes would refuse anything else."""
    pinned = requirements(lock)
    assert pinned
    for requirement, hashes in pinned.items():
        assert hashes, f"{lock}: no hash for {requirement}"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", value) for value in hashes)


def test_the_development_lock_holds_the_run_lock() -> None:
    """What the demo needs is in dev.txt, same version and same files, so one environment serves both."""
    run, dev = _versions(RUN), _versions(DEV)
    differing = {name: (version, dev.get(name)) for name, version in run.items() if dev.get(name) != version}
    assert not differing, differing


@pytest.mark.parametrize("lock", [RUN, DEV])
def test_the_lock_satisfies_pyproject(lock: str) -> None:
    """A range moved in pyproject.toml without `make lock` is seen."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    wanted = list(project["project"]["dependencies"])
    if lock == DEV:
        wanted += [line for lines in extras.values() for line in lines] + project["dependency-groups"]["dev"]
    versions = _versions(lock)
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        if name == "nebula-resource":
            continue
        assert name in versions, f"{lock} lacks {name}"
        assert requirement.specifier.contains(versions[name]), (
            f"{lock}: {name} {versions[name]} is not {requirement}"
        )


def _versions(lock: str) -> dict[str, str]:
    matches = (PIN.match(requirement) for requirement in requirements(lock))
    return {match["name"]: match["version"] for match in matches if match}
