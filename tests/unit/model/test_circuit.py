"""Circuit: opens after so many failures in a row, lets one try at a time, closes on success."""

from nebula_resource.model.circuit import Circuit, CircuitState


def opened(at: float = 0.0) -> Circuit:
    """A circuit of three failures and ten seconds, opened at ``at``."""
    circuit = Circuit(3, 10.0)
    assert [circuit.failed(at) for _ in range(3)] == [False, False, True]
    return circuit


def test_failures_in_a_row_open_it_and_a_success_starts_the_count_anew() -> None:
    """Two failures, a success, two failures: closed; a third: open."""
    circuit = Circuit(3, 10.0)
    for _ in range(2):
        assert not circuit.failed(0)
    assert not circuit.succeeded(), "it was not open"
    for _ in range(2):
        assert not circuit.failed(0)
    assert circuit.is_closed
    assert circuit.failures == 2
    assert circuit.passes(0)
    assert circuit.state(0) is CircuitState.CLOSED
    assert circuit.retry_after(0) == 0
    circuit.start()
    circuit.abandoned()
    assert circuit.failed(0)
    assert not circuit.is_closed
    assert circuit.opened == 1


def test_open_it_passes_nothing_until_its_time_is_over() -> None:
    """Ten seconds to the tick; then one at a time."""
    circuit = opened(at=5.0)
    assert circuit.state(14.999) is CircuitState.OPEN
    assert not circuit.passes(14.999)
    assert circuit.retry_after(10.0) == 5.0
    assert circuit.retry_after(99.0) == 0.0
    assert circuit.state(15.0) is CircuitState.HALF_OPEN
    assert circuit.passes(15.0)
    circuit.start()
    assert not circuit.passes(15.0), "one trial at a time"


def test_a_timer_that_rings_a_hair_early_is_in_time() -> None:
    """uvloop's timers ring at the nearest millisecond, and whoever set one for the end of the pause has no second one."""
    assert opened(at=5.0).passes(14.9995)


def test_a_trial_decides() -> None:
    """Well: closed, told once. Failed: open for as long again, told again. Abandoned: another may try."""
    circuit = opened()
    circuit.start()
    assert circuit.succeeded()
    assert circuit.is_closed
    assert not circuit.succeeded()

    circuit = opened()
    circuit.start()
    assert circuit.failed(12.0)
    assert circuit.opened == 2
    assert not circuit.passes(21.9)
    circuit.start()
    circuit.abandoned()
    assert circuit.passes(22.0)


def test_what_began_before_it_opened_does_not_open_it_again() -> None:
    """Late failures of operations under way are no news, and do not put off the trial."""
    circuit = opened()
    assert not circuit.failed(9.0)
    assert circuit.opened == 1
    assert circuit.passes(10.0)
    assert circuit.failures == 4
    assert repr(circuit) == "<Circuit failures=4 opened_at=0.0 trial_out=False>"
