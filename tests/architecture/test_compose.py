"""Compose: what can be known of docker-compose.yml without a container engine."""

import subprocess
from typing import Any

import pytest
import yaml

from tests.architecture.tree import ROOT, tracked
from tests.servers.programs import ensure_program

ALWAYS = {"service", "postgres", "redis", "prometheus", "grafana"}
BY_PROFILE = {"kafka", "mongodb", "jaeger"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the file, by name."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_the_services_of_the_design_are_there(services: dict[str, Any]) -> None:
    """Five start by default, three by profile."""
    assert {name for name, service in services.items() if "profiles" not in service} == ALWAYS
    assert {name for name, service in services.items() if "profiles" in service} == BY_PROFILE


def test_nothing_is_published_beyond_loopback(services: dict[str, Any]) -> None:
    """Every published port is bound to 127.0.0.1."""
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_what_is_mounted_built_or_waited_for_exists(services: dict[str, Any]) -> None:
    """Each file the services mention is in the repository, each dependency is a service."""
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source}"
        assert set(service.get("depends_on", [])) <= set(services), name
    assert services["service"]["build"]["dockerfile"] in tracked()


@pytest.mark.parametrize("profiles", [[], sorted(BY_PROFILE)], ids=["by default", "all"])
def test_compose_itself_accepts_the_file(profiles: list[str]) -> None:
    """As the real program reads it, with and without the profiles; it starts nothing."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = subprocess.run(
        [ensure_program("docker-compose"), "-f", str(ROOT / "docker-compose.yml"), *chosen, "config", "-q"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_image_is_slim_unprivileged_and_says_how_it_is() -> None:
    """A slim base, an ordinary user before the command, a health check that asks for readiness."""
    lines = (ROOT / ".docker/Dockerfile").read_text().splitlines()
    assert next(line for line in lines if line.startswith("FROM ")).endswith("-slim")
    assert lines.index("USER nebula") < next(n for n, line in enumerate(lines) if line.startswith("CMD "))
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert "/health/ready" in "".join(lines)


def test_provisioning_files_are_yaml() -> None:
    """Each YAML file under .docker parses to a mapping."""
    files = [name for name in tracked() if name.startswith(".docker/") and name.endswith(".yml")]
    assert files
    for name in files:
        assert isinstance(yaml.safe_load((ROOT / name).read_text()), dict), name
