"""The dependency graph: order, circles, and edges that outlive their ends."""

import pytest

from nebula_resource.errors import CircularDependency
from nebula_resource.manager.dependencies import DependencyGraph


def graph(**needs: str) -> DependencyGraph[str]:
    """Make a graph: ``api="db cache"`` needs db and cache."""
    made: DependencyGraph[str] = DependencyGraph()
    for node, of in needs.items():
        made.add(node, of.split())
    return made


def test_dependencies_go_first_and_insertion_breaks_ties() -> None:
    """Of those free to go, the one added first goes first, every time."""
    made = graph(api="db cache", log="", cache="net", db="net", net="", tail="")
    assert made.order() == ("log", "net", "cache", "db", "api", "tail")
    assert made.order() == made.order()
    assert list(made) == ["api", "log", "cache", "db", "net", "tail"]


def test_init_order_holds_what_one_node_needs() -> None:
    """Itself last, nothing that it does not need."""
    made = graph(api="db cache", log="", cache="net", db="net", net="", tail="")
    assert made.init_order("api") == ("net", "cache", "db", "api")
    assert made.init_order("net") == ("net",)
    with pytest.raises(KeyError):
        made.init_order("absent")


def test_a_dependency_may_come_later() -> None:
    """An edge to a node that is not there waits for it."""
    made = graph(api="db", web="api")
    assert made.missing("api") == ("db",)
    assert made.missing("web") == ("db",)
    assert made.init_order("web") == ("api", "web")
    assert made.dependents("db") == ("api", "web")
    made.add("db")
    assert made.missing("web") == ()
    assert made.init_order("web") == ("db", "api", "web")


def test_depends_on_is_transitive_and_not_reflexive() -> None:
    """Needing at once or through others; nothing needs itself."""
    made = graph(web="api", api="db", db="")
    assert made.depends_on("web", "db")
    assert made.depends_on("web", "api")
    assert not made.depends_on("db", "web")
    assert not made.depends_on("web", "web")
    assert not made.depends_on("absent", "db")


def test_dependents_are_nearest_first_and_counted_in_steps() -> None:
    """Within a depth; a node reached twice counts at its nearest."""
    made = graph(db="", api="db", web="api db", edge="web", report="db")
    assert made.dependents("db") == ("api", "web", "report", "edge")
    assert made.dependents("db", depth=1) == ("api", "web", "report")
    assert made.dependents("db", depth=2) == ("api", "web", "report", "edge")
    assert made.dependents("db", depth=0) == ()
    assert made.dependents("edge") == ()


def test_dependencies_are_those_declared_once_each() -> None:
    """In the declared order; named twice is named once."""
    made = graph(api="db cache db")
    assert made.dependencies("api") == ("db", "cache")
    assert made.dependencies("absent") == ()


def test_a_node_cannot_need_itself() -> None:
    """The shortest circle."""
    made = graph(db="")
    with pytest.raises(CircularDependency, match="a → a") as refused:
        made.add("a", ["db", "a"])
    assert refused.value.cycle == ("a", "a")
    assert "a" not in made
    assert made.dependents("db") == ()


def test_a_circle_is_refused_with_its_path_and_without_a_trace() -> None:
    """The new edges are rolled back; also when the circle runs through nodes that are not there yet."""
    made = graph(a="b", b="c", c="")
    with pytest.raises(CircularDependency, match="c → a → b → c") as refused:
        made.add("c", ["x", "a"])
    assert refused.value.cycle == ("c", "a", "b", "c")
    assert made.dependencies("c") == ()
    assert made.dependents("x") == ()
    assert made.order() == ("c", "b", "a")

    waiting = graph(a="b")
    with pytest.raises(CircularDependency, match="b → a → b"):
        waiting.add("b", ["a"])
    assert "b" not in waiting


def test_a_circle_through_a_removed_node_is_refused_too() -> None:
    """Edges into a removed node still stand, so its return may not close a circle."""
    made = graph(a="b", b="")
    made.remove("b")
    with pytest.raises(CircularDependency):
        made.add("b", ["a"])


def test_edges_survive_the_re_registration_of_either_end() -> None:
    """Replaced or removed and added again, a dependency keeps its dependents and a dependent what it declares."""
    made = graph(db="", api="db", web="api")
    made.add("db", ["net"])
    assert made.dependents("db") == ("api", "web")
    assert made.dependencies("db") == ("net",)
    assert list(made) == ["db", "api", "web"]

    made.remove("db")
    assert "db" not in made
    assert made.missing("web") == ("db",)
    assert made.dependents("net") == ()
    made.add("db")
    assert made.dependents("db") == ("api", "web")
    assert made.init_order("web") == ("db", "api", "web")

    made.remove("api")
    assert made.dependents("db") == ()
    made.add("api", ["db"])
    assert made.dependents("db") == ("api", "web")
    with pytest.raises(KeyError):
        made.remove("absent")


def test_labels_name_nodes_in_errors() -> None:
    """Nodes are any hashable; what an error says of them is the owner's choice."""
    made: DependencyGraph[tuple[str, int]] = DependencyGraph(label=lambda node: node[0])
    made.add(("a", 1), [("b", 2)])
    with pytest.raises(CircularDependency, match="b → a → b"):
        made.add(("b", 2), [("a", 1)])


def test_a_deep_chain_is_no_problem() -> None:
    """Nothing here recurses."""
    made: DependencyGraph[int] = DependencyGraph()
    for number in range(5000):
        made.add(number, [number + 1])
    assert made.order()[:2] == (4999, 4998)
    assert made.depends_on(0, 4999)
    assert len(made.dependents(5000)) == 5000
    with pytest.raises(CircularDependency):
        made.add(5000, [0])
    assert repr(made) == "<DependencyGraph 5000 resources, 5000 dependencies>"
