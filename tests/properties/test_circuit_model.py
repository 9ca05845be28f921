"""The circuit against an independent model: what it should be is read off the whole past each time."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from nebula_resource.model.circuit import Circuit, CircuitState

OPEN_FOR = 10.0
Past = list[tuple[float, str]]

steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.5, 3.0, 9.0, 10.0, 11.0]),
        st.sampled_from(["start", "start", "failed", "failed", "failed", "succeeded", "abandoned"]),
    ),
    max_size=40,
)


def since_it_was_well(past: Past) -> Past:
    """What happened after the last success."""
    last = max((place for place, (_, what) in enumerate(past) if what == "succeeded"), default=-1)
    return past[last + 1 :]


def trial_is_out(past: Past) -> bool:
    """Whether the last thing that began while it was open has not ended."""
    return next((what for _, what in reversed(past)), "") == "start"


def openings(past: Past, threshold: int) -> list[float]:
    """When it opened since it was well: at the failure that fills the row, then at each that ends a trial."""
    recent = since_it_was_well(past)
    failures = [place for place, (_, what) in enumerate(recent) if what == "failed"]
    found = [recent[place][0] for place in failures[threshold - 1 : threshold]]
    found += [
        recent[place][0]
        for place in failures[threshold:]
        if trial_is_out(recent[failures[threshold - 1] + 1 : place])
    ]
    return found


@settings(max_examples=1000)
@given(steps=steps, threshold=st.integers(1, 4))
def test_the_circuit_agrees_with_its_model(steps: list[tuple[float, str]], threshold: int) -> None:
    """It is open from the failure that fills the row, tries one at a time afterwards, and closes at a success alone."""
    circuit = Circuit(threshold, OPEN_FOR)
    past: Past = []
    now, running, opened_before = 0.0, 0, 0
    for wait, what in steps:
        now += wait
        if what == "start":
            if not circuit.passes(now):
                continue
            running += 1
            circuit.start()
        elif not running:
            continue
        else:
            running -= 1
            opened = openings(past, threshold)
            if what == "succeeded":
                opened_before += len(opened)
                assert circuit.succeeded() == bool(opened)
            elif what == "failed":
                newly = len(openings([*past, (now, what)], threshold)) > len(opened)
                assert circuit.failed(now) == newly
            else:
                circuit.abandoned()
        past.append((now, what))
        opened = openings(past, threshold)
        assert circuit.is_closed == (not opened)
        assert circuit.opened == opened_before + len(opened)
        assert circuit.failures == sum(what == "failed" for _, what in since_it_was_well(past))
        left = opened[-1] + OPEN_FOR - now if opened else 0.0
        assert math.isclose(circuit.retry_after(now), max(0.0, left), abs_tol=1e-9)
        if not opened:
            assert circuit.state(now) is CircuitState.CLOSED
            assert circuit.passes(now)
        elif left > 0.1:
            assert circuit.state(now) is CircuitState.OPEN
            assert not circuit.passes(now)
        else:
            assert circuit.state(now) is CircuitState.HALF_OPEN
            after = since_it_was_well(past)
            row_full = [place for place, (_, each) in enumerate(after) if each == "failed"][threshold - 1]
            assert circuit.passes(now) == (not trial_is_out(after[row_full + 1 :]))
