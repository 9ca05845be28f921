"""Threats: each of them has a row, and every test that the page names exists."""

import ast
import re

import pytest

from tests.architecture.tree import ROOT

PAGE = ROOT / "docs/design/threats.md"
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| T")
]
NODES = sorted({node for row in ROWS for node in re.findall(r"`(tests/[^`]+)`", row[3])})


def test_every_threat_has_its_row() -> None:
    """T1 to T22, in order; each says what is done, and names a test or says why there is none."""
    assert [row[0] for row in ROWS] == [f"T{number}" for number in range(1, 23)]
    for row in ROWS:
        assert len(row) == 4
        assert "`tests/" in row[3] or (row[3] == "none" and row[2].startswith("not yet: ")), row[0]


@pytest.mark.parametrize("node", NODES)
def test_a_named_test_exists(node: str) -> None:
    """The file has a function of that name."""
    file, _, name = node.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    names = {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in names
