"""DependenciesView: who needs whom, as JSON, Mermaid or DOT."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict

from nebula_resource.admin.schemas.common import Query
from nebula_resource.admin.times import stamp
from nebula_resource.manager import Manager, Registration

__all__ = ["DependenciesView", "GraphQuery", "as_dot", "as_mermaid", "dependencies_view"]


class NodeView(TypedDict):
    """One registration in the graph; ``missing`` is needed and not registered."""

    id: str
    own: str
    effective: str
    quarantined: bool
    missing: bool
    level: int


# `from` is a word of the language, so this one is spelt as a call.
EdgeView = TypedDict("EdgeView", {"from": str, "to": str, "kind": str})
"""``from`` needs ``to``."""


class IncidentView(TypedDict):
    """A cascade that goes on: look at ``root``; ``affected`` fail with it."""

    id: str
    root: str
    affected: list[str]
    since: str


class DependenciesView(TypedDict):
    """The graph, the order in which its nodes open, and the cascades that go on in it."""

    nodes: list[NodeView]
    edges: list[EdgeView]
    init_order: list[str]
    incidents: list[IncidentView]


class GraphQuery(Query):
    """Which part of the graph, and in which notation."""

    root: str | None = Field(default=None, max_length=160)
    depth: int | None = Field(default=None, ge=1, le=64)
    format: Literal["json", "mermaid", "dot"] = "json"


def dependencies_view(
    manager: Manager, registrations: Iterable[Registration], *, root: Registration | None, depth: int | None
) -> DependenciesView:
    """The graph of what the caller may see; with a root what it needs and who needs it, to a depth."""
    graph = manager.dependencies
    seen = {each.public_id: each for each in registrations}
    chosen = set(seen)
    if root is not None:
        below = _below(manager, root.public_id, depth)
        chosen &= {root.public_id, *below, *graph.dependents(root.public_id, depth=depth)}
    order = [key for key in graph.order() if key in chosen]
    board = manager.watch.board
    quarantine = manager.watch.quarantine
    levels: dict[str, int] = {}
    nodes: list[NodeView] = []
    edges: list[EdgeView] = []
    missing: dict[str, None] = {}
    for key in order:
        needs = graph.dependencies(key)
        levels[key] = 1 + max((levels[need] for need in needs if need in levels), default=-1)
        nodes.append(
            {
                "id": key,
                "own": board.own(key).kind,
                "effective": board.effective(key).kind,
                "quarantined": key in quarantine,
                "missing": False,
                "level": levels[key],
            }
        )
        for need in needs:
            absent = manager.registry.get(need) is None
            if need in chosen or absent:
                edges.append({"from": key, "to": need, "kind": "requires"})
            if absent:
                missing[need] = None
    for key in missing:
        nodes.append(
            {
                "id": key,
                "own": "unknown",
                "effective": "unknown",
                "quarantined": False,
                "missing": True,
                "level": 0,
            }
        )
    return {"nodes": nodes, "edges": edges, "init_order": order, "incidents": _incidents(manager, chosen)}


def _incidents(manager: Manager, shown: set[str]) -> list[IncidentView]:
    """Those whose root is shown, with the members that are."""
    return [
        {
            "id": each.id,
            "root": each.root,
            "affected": [member for member in each.members if member in shown],
            "since": stamp(each.since),
        }
        for each in manager.watch.incidents.cascades.incidents()
        if each.root in shown
    ]


def _below(manager: Manager, id: str, depth: int | None) -> set[str]:
    found: set[str] = set()
    level = {id}
    while level and depth != 0:
        depth = None if depth is None else depth - 1
        level = {need for each in level for need in manager.dependencies.dependencies(each)} - found
        found |= level
    return found


def as_mermaid(view: DependenciesView) -> str:
    """The graph for Mermaid; ids stand in quoted labels, so what is in them draws nothing."""
    names = {node["id"]: f"n{number}" for number, node in enumerate(view["nodes"])}
    lines = ["graph TD"]
    for node in view["nodes"]:
        lines.append(f'  {names[node["id"]]}["{_mermaid(node["id"])}"]:::{_look(node)}')
    lines += [f"  {names[edge['from']]} --> {names[edge['to']]}" for edge in view["edges"]]
    lines += [f"  classDef {look} stroke:{colour}" for look, colour in _COLOURS.items()]
    return "\n".join(lines) + "\n"


def as_dot(view: DependenciesView) -> str:
    """The graph for Graphviz."""
    lines = ["digraph dependencies {", "  rankdir=TB;"]
    for node in view["nodes"]:
        lines.append(f'  "{_dot(node["id"])}" [color="{_COLOURS[_look(node)]}"];')
    lines += [f'  "{_dot(edge["from"])}" -> "{_dot(edge["to"])}";' for edge in view["edges"]]
    return "\n".join([*lines, "}"]) + "\n"


_COLOURS = {
    "healthy": "#15803d",
    "degraded": "#b45309",
    "unhealthy": "#b91c1c",
    "unknown": "#64748b",
    "quarantined": "#7e22ce",
}


def _look(node: NodeView) -> str:
    return "quarantined" if node["quarantined"] else node["effective"]


def _mermaid(text: str) -> str:
    return "".join(each if each.isalnum() or each in "._-~" else f"#{ord(each)};" for each in text)


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
