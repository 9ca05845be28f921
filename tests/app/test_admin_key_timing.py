"""How long a wrong key takes tells nothing of it (T11 of the threats): measured, beside what its structure shows."""

import gc
import random
import secrets
from math import sqrt
from statistics import fmean, median, variance
from time import perf_counter_ns

import pytest

from nebula_resource.admin import Key, KeyList
from nebula_resource.admin.auth.authority import KeyAuthority

BLOCKS, ROUNDS = 200, 50
"""The machine's own pace changes by a half from one moment to the next: kinds are compared within a few milliseconds."""
APART = 0.15
"""How far a kind may be from the others, as a share: where a key of an unknown id were not compared it would be a half,
and what is less than a microsecond no network shows."""


@pytest.mark.alone
def test_how_long_a_wrong_key_takes_tells_nothing() -> None:
    """Wrong in its first letter, in its last or in all, and with an id that nobody has: the same time."""
    text, kept = Key.mint("viewer")
    _, id_, secret = text.split("_", 2)
    authority = KeyAuthority(KeyList([kept, *(Key.mint("viewer")[1] for _ in range(50))]))
    shown = {
        "first letter": f"nbk_{id_}_{_other(secret[0])}{secret[1:]}",
        "last letter": f"nbk_{id_}_{secret[:-1]}{_other(secret[-1])}",
        "all of it": f"nbk_{id_}_{secrets.token_urlsafe(32)}",
        "unknown id": f"nbk_{secrets.token_hex(6)}_{secret}",
    }
    rng = random.Random(7)
    shares: dict[str, list[float]] = {name: [] for name in shown}
    everything: dict[str, list[int]] = {name: [] for name in shown}
    gc.disable()
    try:
        for _ in range(BLOCKS):
            block: dict[str, list[int]] = {name: [] for name in shown}
            for _ in range(ROUNDS):
                for name in rng.sample(list(shown), len(shown)):
                    began = perf_counter_ns()
                    found = authority.principal_of(shown[name])
                    block[name].append(perf_counter_ns() - began)
                    assert found is None
            usual = median(median(held) for held in block.values())
            for name, held in block.items():
                shares[name].append(median(held) / usual)
                everything[name] += held
    finally:
        gc.enable()
    told = {name: median(held) for name, held in shares.items()}
    for name, share in told.items():
        t = _welch(everything["all of it"], everything[name])
        print(f"{name}: {median(everything[name]):.0f} ns, {share:.3f} of the usual, t {t:.1f}")
    assert all(abs(share - 1.0) < APART for share in told.values()), told


def _other(letter: str) -> str:
    return "A" if letter != "A" else "B"


def _welch(one: list[int], other: list[int]) -> float:
    """Welch's t: reported, and no verdict. With so many samples it tells a cache line from another."""
    return (fmean(one) - fmean(other)) / sqrt(variance(one) / len(one) + variance(other) / len(other) or 1e-9)
