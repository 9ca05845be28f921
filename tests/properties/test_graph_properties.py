"""The dependency graph against a plain reading of it, a thousand examples each."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from nebula_resource.errors import CircularDependency
from nebula_resource.manager.dependencies import DependencyGraph

laws = settings(max_examples=1000)

nodes = st.integers(0, 7)
adds = st.tuples(st.just("add"), nodes, st.lists(nodes, max_size=3))
removes = st.tuples(st.just("remove"), nodes, st.lists(nodes, max_size=0))
histories = st.lists(adds | adds | adds | removes, max_size=25)

Needs = dict[int, tuple[int, ...]]
History = list[tuple[str, int, list[int]]]


def reaches(needs: Needs, start: int) -> set[int]:
    """What can be reached from ``start`` in one step or more, by following edges until nothing is new."""
    found = set(needs.get(start, ()))
    while True:
        more = found | {further for node in found for further in needs.get(node, ())}
        if more == found:
            return found
        found = more


def replay(history: History) -> tuple[DependencyGraph[int], Needs]:
    """Do the same to the graph and to a dictionary; check on the way that exactly the circles are refused."""
    graph: DependencyGraph[int] = DependencyGraph()
    needs: Needs = {}
    for what, node, of in history:
        if what == "remove":
            if node in needs:
                graph.remove(node)
                del needs[node]
            continue
        after = {**needs, node: tuple(dict.fromkeys(of))}
        circular = node in reaches(after, node)
        try:
            graph.add(node, of)
        except CircularDependency as refused:
            assert circular
            path = [int(step) for step in refused.cycle]
            assert path[0] == path[-1] == node
            assert len(set(path)) == len(path) - 1
            assert all(below in after[above] for above, below in itertools.pairwise(path))
        else:
            assert not circular
            needs = after
    return graph, needs


@laws
@given(histories)
def test_exactly_circles_are_refused_and_leave_no_trace(history: History) -> None:
    """After any history the graph holds the edges that were accepted, and those alone."""
    graph, needs = replay(history)
    assert list(graph) == list(needs)
    assert {node: graph.dependencies(node) for node in graph} == needs
    for node in range(8):
        direct = {above for above, of in needs.items() if node in of}
        assert set(graph.dependents(node, depth=1)) == direct


@laws
@given(histories)
def test_the_order_is_the_first_by_insertion_of_all_that_are_possible(history: History) -> None:
    """At each step the earliest added node goes whose dependencies have gone."""
    graph, needs = replay(history)
    gone: list[int] = []
    while len(gone) < len(needs):
        gone.append(
            next(
                node
                for node, of in needs.items()
                if node not in gone and all(need in gone or need not in needs for need in of)
            )
        )
    assert graph.order() == tuple(gone)


@laws
@given(histories, nodes, nodes)
def test_questions_agree_with_reachability(history: History, one: int, other: int) -> None:
    """depends_on, dependents, missing and init_order are four views of who reaches whom."""
    graph, needs = replay(history)
    assert graph.depends_on(one, other) is (other in reaches(needs, one))
    assert set(graph.dependents(one)) == {node for node in needs if one in reaches(needs, node)}
    assert set(graph.missing(one)) - {one} == {node for node in reaches(needs, one) if node not in needs}
    if one in needs:
        order = graph.init_order(one)
        assert set(order) == {one} | {node for node in reaches(needs, one) if node in needs}
        assert order[-1] == one
        for at, node in enumerate(order):
            assert all(need in order[:at] for need in needs[node] if need in needs)


@laws
@given(histories, nodes)
def test_coming_back_changes_nothing_for_the_others(history: History, node: int) -> None:
    """Removed and added again with the same needs, every edge stands as before."""
    graph, needs = replay(history)
    if node not in needs:
        return
    before = {each: (graph.dependencies(each), set(graph.dependents(each))) for each in needs}
    graph.remove(node)
    graph.add(node, needs[node])
    assert {each: (graph.dependencies(each), set(graph.dependents(each))) for each in needs} == before
