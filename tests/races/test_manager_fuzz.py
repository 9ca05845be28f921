"""A fuzz of a whole manager: registrations, callers, operators and failures at once, then calm, then its end."""

import pytest

from tests.races.manager_scene import World

SEEDS = range(24)  # the gate plays the same runs every day; whoever hunts moves it


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_to_a_manager_nothing_is_lost(seed: int) -> None:
    """Everybody ends, no cancellation is swallowed, what can be had is served again, and nothing is left at the end."""
    print(f"seed {seed}")
    await World(seed).play()
