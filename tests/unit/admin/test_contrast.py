"""The page's colours: whatever is written on whatever ground can be read, light and dark, as WCAG AA counts it."""

import re
from itertools import product

import pytest

from tests.architecture.tree import ROOT

THEME = (ROOT / "nebula_resource/admin/dashboard/theme.css").read_text()
BLOCKS = re.findall(r":root[^{]*\{([^}]*)\}", THEME)
KINDS = ("healthy", "degraded", "unhealthy", "unknown", "quarantined")
PLAIN = ("ground", "panel", "raised")
TEXTS = [
    *product(("text", "soft", *KINDS), PLAIN),
    *((kind, f"{kind}-ground") for kind in KINDS),
    *(("text", f"{kind}-ground") for kind in KINDS),
    ("on-accent", "accent"),
]  # fmt: skip  # (what is written, on what)
EDGES = [
    *product(("focus", "edge"), PLAIN),
    *(("focus", f"{kind}-ground") for kind in KINDS),
    *((kind, f"{kind}-ground") for kind in KINDS),
]  # fmt: skip  # where the focus is, where one types, the frames of states


def colours(block: str) -> dict[str, str]:
    """The colours of one look."""
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def light(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1, the same, to 21, black on white."""
    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("look", range(len(BLOCKS)))
def test_every_text_can_be_read(look: int) -> None:
    """4.5 for what is written, 3 for what frames it."""
    known = colours(BLOCKS[look])
    found = {
        pair: round(contrast(known[pair[0]], known[pair[1]]), 2)
        for pairs, least in ((TEXTS, 4.5), (EDGES, 3.0))
        for pair in pairs
        if contrast(known[pair[0]], known[pair[1]]) < least
    }
    assert found == {}


def test_dark_is_dark_whoever_chose_it() -> None:
    """The system's dark and the one that is chosen by hand are the same, and every look has every colour."""
    bright, wanted, chosen = BLOCKS
    assert wanted.split() == chosen.split()
    assert colours(bright).keys() == colours(chosen).keys()
