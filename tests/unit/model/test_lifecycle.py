"""The life cycle: all 100 moves against a table written a second time, from SPEC §6."""

import itertools
import json

import pytest

from nebula_resource.errors import InvalidStateTransition
from nebula_resource.model.lifecycle import Lifecycle

ALLOWED = """
    CREATED > INITIALIZING, CREATED > FAILED, CREATED > TERMINATED,
    INITIALIZING > READY, INITIALIZING > FAILED,
    READY > IN_USE, READY > IDLE, READY > MAINTENANCE, READY > DRAINING, READY > CLEANUP, READY > FAILED,
    IN_USE > READY, IN_USE > IDLE, IN_USE > CLEANUP, IN_USE > FAILED,
    IDLE > READY, IDLE > IN_USE, IDLE > MAINTENANCE, IDLE > DRAINING, IDLE > CLEANUP, IDLE > FAILED,
    MAINTENANCE > READY, MAINTENANCE > CLEANUP, MAINTENANCE > FAILED,
    DRAINING > CLEANUP, DRAINING > FAILED,
    CLEANUP > TERMINATED, CLEANUP > FAILED,
    FAILED > CLEANUP, FAILED > TERMINATED
"""
MOVES = {tuple(each.strip().split(" > ")) for each in ALLOWED.split(",")}


def test_there_are_ten_states_and_a_hundred_pairs() -> None:
    """The table of the test speaks of every state there is."""
    assert len(Lifecycle) == 10
    assert {name for move in MOVES for name in move} == {state.name for state in Lifecycle}
    assert len(MOVES) == 30


@pytest.mark.parametrize(
    ("old", "new"), list(itertools.product(Lifecycle, Lifecycle)), ids=lambda state: state.name
)
def test_a_move_is_allowed_exactly_when_the_table_has_it(old: Lifecycle, new: Lifecycle) -> None:
    """An allowed move gives the new state; any other raises with both states as data and by name in the text."""
    if (old.name, new.name) in MOVES:
        assert old.can_transition_to(new)
        assert old.advance(new) is new
        return
    assert not old.can_transition_to(new)
    with pytest.raises(InvalidStateTransition) as refused:
        old.advance(new)
    assert (refused.value.old, refused.value.new) == (old, new)
    assert f"from {old.name} to {new.name}" in str(refused.value)


@pytest.mark.parametrize("state", Lifecycle, ids=lambda state: state.name)
def test_available_and_terminal_states(state: Lifecycle) -> None:
    """READY and IDLE may be handed out; nothing follows TERMINATED, and nothing but it is terminal."""
    assert state.is_available is (state.name in ("READY", "IDLE"))
    assert state.is_terminal is (state.name == "TERMINATED")
    assert state.is_terminal is not any(state.can_transition_to(new) for new in Lifecycle)


@pytest.mark.parametrize("state", Lifecycle, ids=lambda state: state.name)
def test_a_state_survives_json(state: Lifecycle) -> None:
    """A state is its lower-case name in JSON."""
    assert Lifecycle(json.loads(json.dumps(state))) is state
    assert state.value == state.name.lower()
