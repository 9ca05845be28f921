"""The tables of docs/design/state-machines.md say what the code does, no more and no less."""

import re

import pytest

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.pool.state import PoolState
from tests.architecture.tree import ROOT

PAGE = ROOT / "docs" / "design" / "state-machines.md"


def table_of(heading: str) -> dict[str, set[str]]:
    """The rows of the table below a heading: from a state to those that may follow."""
    section = PAGE.read_text().split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| ([A-Z_]+) \| (.+) \|$", section, flags=re.MULTILINE)
    return {old: set(re.findall(r"[A-Z_]+", new)) for old, new in rows}


@pytest.mark.parametrize(("heading", "states"), [("Lifecycle", Lifecycle), ("PoolState", PoolState)])
def test_the_page_has_the_table_of_the_code(heading: str, states: type[Lifecycle] | type[PoolState]) -> None:
    """Every state has a row, and every row exactly the moves that the machine allows."""
    may = {Lifecycle: "can_transition_to", PoolState: "can_become"}[states]
    allowed = {old.name: {new.name for new in states if getattr(old, may)(new)} for old in states}
    assert table_of(heading) == allowed


def test_a_changed_table_is_noticed(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself: one move more on the page, and it no longer agrees."""
    text = PAGE.read_text().replace("| CLOSED | — |", "| CLOSED | OPEN |")
    monkeypatch.setattr(type(PAGE), "read_text", lambda self: text)
    assert table_of("PoolState")["CLOSED"] == {"OPEN"}
