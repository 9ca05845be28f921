"""Scopes that are nearly one inside the other, held to rules written down a second time (T2 of the threats)."""

import random
from collections import Counter

from nebula_resource.model.scope import Scope

PAIRS = 20_000
LEVELS = ("tenant", "user", "workflow", "execution", "action")
IDS = ("a", "ab", "b", "A", "a/b", "a:b", "0", "é")

Fields = dict[str, str]


def test_what_is_nearly_inside_is_outside() -> None:
    """A caller that differs in one id by a letter more, a letter less, its case or its level is refused, all others let in."""
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    counts: Counter[tuple[str, bool]] = Counter()
    for _ in range(PAIRS):
        resource, caller, kind = pair(rng)
        found = Scope.of(**resource).contains(Scope.of(**caller))
        assert found is is_inside(resource, caller), (kind, resource, caller)
        counts[kind, found] += 1
    # Each way to be nearly inside came often enough to be noticed where it is let in, and so did the good ones.
    assert counts["inside", True] > 1000
    for kind in CHANGES:
        assert counts[kind, False] > 1000, counts


def is_inside(resource: Fields, caller: Fields) -> bool:
    """SPEC §3: everybody is in what has no field; else the caller is the same, or deeper with every field of it."""
    if not resource or resource == caller:
        return True
    return _depth(caller) > _depth(resource) and all(
        caller.get(name) == each for name, each in resource.items()
    )


def pair(rng: random.Random) -> tuple[Fields, Fields, str]:
    """A resource's fields, a caller's, and what was done to the caller, who would else be inside."""
    resource = {level: rng.choice(IDS) for level in LEVELS[:4] if rng.random() < 0.35} or {"tenant": "a"}
    deeper = LEVELS[_depth(resource) + 1 :]
    caller = dict(resource) | {level: rng.choice(IDS) for level in deeper if rng.random() < 0.5}
    kind = rng.choice(["inside", *CHANGES])
    if kind != "inside":
        CHANGES[kind](rng, caller, rng.choice(list(resource)))
    return resource, caller, kind


def _depth(fields: Fields) -> int:
    return max((LEVELS.index(name) for name in fields), default=-1)


def _longer(rng: random.Random, caller: Fields, name: str) -> None:
    caller[name] += rng.choice(["b", "/b", ":", " ", "é"])


def _before(rng: random.Random, caller: Fields, name: str) -> None:
    caller[name] = rng.choice(["b", "a/", " "]) + caller[name]


def _shorter(rng: random.Random, caller: Fields, name: str) -> None:
    caller[name] = caller[name][:-1] or "x"


def _other_case(rng: random.Random, caller: Fields, name: str) -> None:
    changed = caller[name].swapcase()
    caller[name] = changed if changed != caller[name] else "Z"


def _elsewhere(rng: random.Random, caller: Fields, name: str) -> None:
    """The id is right, and stands at another level."""
    value = caller.pop(name)
    caller[rng.choice([each for each in LEVELS if each != name])] = value


def _missing(rng: random.Random, caller: Fields, name: str) -> None:
    del caller[name]


CHANGES = {
    "longer": _longer,
    "before": _before,
    "shorter": _shorter,
    "other case": _other_case,
    "elsewhere": _elsewhere,
    "missing": _missing,
}
