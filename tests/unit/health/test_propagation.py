"""What is down degrades those that need it; getting up takes back exactly that."""

from __future__ import annotations

from nebula_resource.health import HealthBoard, Propagation
from nebula_resource.model.health import Degraded, HealthPolicy, HealthState, Healthy, Unknown
from tests.unit.health.graphs import PlainGraph


class Silent:
    """A listener that does not care."""

    def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
        """Nothing."""

    def own_changed(self, id: str, old: HealthState, new: HealthState) -> None:
        """Nothing."""

    def threshold_reached(self, id: str, failures: int) -> None:
        """Nothing."""


def stage(needs: dict[str, list[str]]) -> tuple[HealthBoard, PlainGraph, Propagation]:
    """A board on which everything is healthy, over this graph."""
    board, graph = HealthBoard(Silent()), PlainGraph(needs)
    for each in needs:
        board.add(each, HealthPolicy())
        board.observe(each, Healthy())
    return board, graph, Propagation(board, graph)


def because_of(root: str) -> Degraded:
    """What a root imposes."""
    return Degraded(f"dependency '{root}' is down", 0.5)


CHAIN: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "e": ["d"]}


def test_three_levels_are_degraded_naming_the_root() -> None:
    """Dependents up to the depth bear the root's cause; those above do not."""
    board, _, propagation = stage(CHAIN)
    propagation.fell("a", depth=3)
    assert [board.effective(each) for each in "abcde"] == [
        Healthy(),
        because_of("a"),
        because_of("a"),
        because_of("a"),
        Healthy(),
    ]
    assert board.own("b") == Healthy()
    propagation.rose("a")
    assert [board.effective(each) for each in "abcde"] == [Healthy()] * 5


def test_depth_zero_degrades_nobody() -> None:
    """A policy may keep trouble to itself."""
    board, _, propagation = stage(CHAIN)
    propagation.fell("a", depth=0)
    assert board.effective("b") == Healthy()
    assert propagation.roots == ("a",)


def test_an_id_that_begins_another_is_not_taken_for_it() -> None:
    """db getting up leaves the cause of db-replica, which the original of this system got wrong."""
    board, _, propagation = stage({"db": [], "db-replica": [], "app": ["db", "db-replica"]})
    propagation.fell("db-replica", depth=3)
    propagation.fell("db", depth=3)
    propagation.rose("db")
    assert board.effective("app") == because_of("db-replica")
    propagation.rose("db")  # twice does nothing
    propagation.rose("db-replica")
    assert board.effective("app") == Healthy()


def test_two_ways_to_one_root_are_one_cause() -> None:
    """A diamond bears the root once, and is free when it gets up."""
    board, _, propagation = stage({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})
    propagation.fell("a", depth=3)
    assert board.bears("d", "a")
    propagation.rose("a")
    assert board.effective("d") == Healthy()


def test_a_graph_that_changes_is_followed() -> None:
    """A dependent that comes bears the cause after a refresh; one whose edge went is freed; one that returned bears it."""
    board, graph, propagation = stage({"a": [], "b": ["a"], "c": ["a"]})
    propagation.fell("a", depth=3)
    graph.needs["new"] = ("a",)
    board.add("new", HealthPolicy())
    graph.needs["b"] = ()
    board.forget("c")
    board.add("c", HealthPolicy())
    propagation.refresh()
    assert board.effective("new") == because_of("a")
    assert board.effective("b") == Healthy()
    assert board.effective("c") == because_of("a")
    propagation.rose("a")
    assert (board.effective("new"), board.effective("c")) == (Unknown(), Unknown())
    assert repr(propagation) == "<Propagation 0 roots down>"


def test_falling_again_with_another_depth_moves_the_border() -> None:
    """A policy changed while a root is down takes effect with the next fall."""
    board, _, propagation = stage(CHAIN)
    propagation.fell("a", depth=3)
    propagation.fell("a", depth=1)
    assert [board.bears(each, "a") for each in "bcd"] == [True, False, False]


def test_a_listener_may_raise_roots_while_they_are_imposed() -> None:
    """A root that gets up while its fall is being told leaves nothing behind."""

    class Meddler(Silent):
        def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
            if new.kind == "degraded" and id == "b":
                propagation.rose("a")

    graph = PlainGraph(CHAIN)
    board = HealthBoard(Meddler())
    for each in CHAIN:
        board.add(each, HealthPolicy())
        board.observe(each, Healthy())
    propagation = Propagation(board, graph)
    propagation.fell("a", depth=3)
    propagation.refresh()
    assert [board.effective(each) for each in "abcde"] == [Healthy()] * 5


def test_a_root_that_gets_up_during_a_refresh_is_left_alone() -> None:
    """A refresh that makes a listener raise another root does not impose that one again."""

    class Meddler(Silent):
        def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
            if id == "new":
                propagation.rose("y")

    graph = PlainGraph({"x": [], "y": [], "app": ["y"]})
    board = HealthBoard(Meddler())
    for each in graph.needs:
        board.add(each, HealthPolicy())
    propagation = Propagation(board, graph)
    propagation.fell("x", depth=3)
    propagation.fell("y", depth=3)
    graph.needs["new"] = ("x",)
    board.add("new", HealthPolicy())
    propagation.refresh()
    assert propagation.roots == ("x",)
    assert board.effective("app") == Unknown()
