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

EACH = 10_000
LEAVES = 0.9
"""The share of the quickest that is looked at: what is slower was interrupted."""
APART = 0.15
"""How far apart two medians may be, as a share: where a key of an unknown id were not compared it would be a half, and
what is less than a microsecond no network shows."""


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
    times: dict[str, list[int]] = {name: [] for name in shown}
    order = [name for name in shown for _ in range(EACH)]
    random.Random(7).shuffle(order)
    gc.disable()
    try:
        for name in order:
            began = perf_counter_ns()
            assert authority.principal_of(shown[name]) is None
            times[name].append(perf_counter_ns() - began)
    finally:
        gc.enable()
    quick = {name: sorted(held)[: int(EACH * LEAVES)] for name, held in times.items()}
    for name, held in quick.items():
        print(f"{name}: {median(held):.0f} ns, t {_welch(quick['all of it'], held):.1f}")
    medians = sorted(median(held) for held in quick.values())
    assert medians[-1] <= medians[0] * (1 + APART)


def _other(letter: str) -> str:
    return "A" if letter != "A" else "B"


def _welch(one: list[int], other: list[int]) -> float:
    """Welch's t: reported, and no verdict. With so many samples it tells a cache line from another."""
    return (fmean(one) - fmean(other)) / sqrt(variance(one) / len(one) + variance(other) / len(other) or 1e-9)
