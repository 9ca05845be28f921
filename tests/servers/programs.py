"""Programs the tests drive, beside the servers: a browser, Prometheus with its checker, the reader of compose files."""

from pathlib import Path

from tests.servers.install import install_package
from tests.servers.process import ServerUnavailable, find_binary

PACKAGES = {
    "chromium": "chromium",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "docker-compose": "docker-compose",
}
"""The Debian package of each program, by the program's name."""


def find_program(name: str) -> Path:
    """The path of a program of `PACKAGES`; raises ServerUnavailable, which says how to get it, where it is missing."""
    found = find_binary(name)
    if found is None:
        raise ServerUnavailable(_help(name))
    return found


def ensure_program(name: str) -> Path:
    """The same, installing the program's package first where it is missing and can be installed."""
    if find_binary(name) is None:
        install_package(PACKAGES[name], name, _help(name))
    return find_program(name)


def _help(name: str) -> str:
    return (
        f"no {name} was found on PATH. Provide it (Debian: apt-get install {PACKAGES[name]}), "
        "or run the tests as root on Debian, where they install it"
    )
