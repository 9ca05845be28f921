"""The dashboard's file: it is what the builder builds, Grafana finds it, and its panels lie side by side."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import yaml

from nebula_dashboard.dashboard import FILE, text
from tests.architecture.tree import ROOT

DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_committed_dashboard_is_what_the_builder_builds() -> None:
    """`make dashboard` was run after the last change."""
    assert FILE.read_text() == text()


def test_it_is_built_for_the_grafana_that_shows_it() -> None:
    """The SDK is the one for the version in compose."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    _, _, shows = compose["services"]["grafana"]["image"].partition(":")
    _, _, builds = version("grafana-foundation-sdk").partition("!")  # the epoch: when the SDK was generated
    assert builds == shows


def test_grafana_finds_the_dashboard() -> None:
    """The provider reads the folder that compose mounts, and the builder is in none that Grafana reads."""
    provider = yaml.safe_load((FILE.parent / "provider.yml").read_text())["providers"][0]
    mounts: list[str] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"][
        "volumes"
    ]
    assert f"./.docker/grafana:{provider['options']['path'].removesuffix('/dashboards')}:ro" in mounts
    assert FILE.parent == ROOT / ".docker/grafana/dashboards"


def test_panels_are_told_apart() -> None:
    """Each has a title, a description and a number of its own, and none lies over another."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert all(panel["description"] for panel in PANELS)
    cells = [cell for panel in DASHBOARD["panels"] for cell in _cells(panel["gridPos"])]
    assert len(cells) == len(set(cells))


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    assert place["x"] + place["w"] <= 24
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y
