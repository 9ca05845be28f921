"""Measure: runs competitors in turn, round after round, and compares their medians within the one run."""

from __future__ import annotations

import asyncio
import gc
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

__all__ = ["REPETITIONS", "Row", "Table", "interleaved", "machine", "per_second", "seconds_per"]

REPETITIONS = 7
"""Rounds in each process, when nothing else is said; the promise is of medians of at least seven."""

Case = Callable[[int], Awaitable[float]]
"""Runs so many operations and returns the seconds they took."""


@dataclass(frozen=True, slots=True)
class Row:
    """One competitor: ``value`` in the table's unit, ``ratio`` to the table's floor, and the bar, if there is one."""

    name: str
    value: float
    low: float
    high: float
    ratio: float | None = None
    bar: str = ""
    holds: bool | None = None


@dataclass(slots=True)
class Table:
    """Rows of one experiment."""

    title: str
    unit: str
    loop: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    suite: str = ""

    def add(
        self,
        name: str,
        values: list[float],
        *,
        floor: list[float] | None = None,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Row:
        """Add a competitor's repetitions; the ratio is the median of the rounds' own ratios.

        In each round competitor and floor ran one after the other, so a machine that slows down slows both. A floor of
        one figure stands for every round.
        """
        value = median(values)
        if floor is not None and len(floor) == 1:
            floor = floor * len(values)
        ratio = None if floor is None else median(a / b for a, b in zip(values, floor, strict=True))
        bar, holds = "", None
        if at_most is not None and ratio is not None:
            bar, holds = f"≤ {at_most:g} ×", ratio <= at_most
        if at_least is not None and ratio is not None:
            bar, holds = f"≥ {at_least:g} ×", ratio >= at_least
        row = Row(name, value, min(values), max(values), ratio, bar, holds)
        self.rows.append(row)
        return row

    def limit(self, name: str, value: float, *, at_most: float, note: str = "") -> Row:
        """Add an absolute figure with its bar."""
        row = Row(name, value, value, value, None, f"≤ {at_most:g} {self.unit}", value <= at_most)
        self.rows.append(row)
        if note:
            self.notes.append(note)
        return row

    def least(self, name: str, values: list[float], *, at_least: float) -> Row:
        """Add repetitions of an absolute figure with the bar for their median."""
        value = median(values)
        bar = f"≥ {at_least:,.0f} {self.unit}"
        row = Row(name, value, min(values), max(values), None, bar, value >= at_least)
        self.rows.append(row)
        return row

    def text(self) -> str:
        """The table as Markdown."""
        lines = [
            f"### {self.title} ({self.loop})",
            "",
            f"| what | {self.unit} (median) | low … high | ratio | bar | holds |",
            "|---|---:|---|---:|---|---|",
        ]
        for row in self.rows:
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            holds = "" if row.holds is None else ("yes" if row.holds else "**no**")
            lines.append(
                f"| {row.name} | {_short(row.value)} | {_short(row.low)} … {_short(row.high)} | {ratio} | {row.bar} "
                f"| {holds} |"
            )
        lines += ["", *self.notes] if self.notes else []
        return "\n".join(lines) + "\n"

    @classmethod
    def in_the_middle(cls, tables: Sequence[Table]) -> Table:
        """One table of several processes' own: of each row the one in the middle, by its ratio, else by its value."""
        first = tables[0]
        rows = []
        for found in zip(*(table.rows for table in tables), strict=True):
            ordered = sorted(found, key=lambda row: row.value if row.ratio is None else row.ratio)
            low, high = min(row.low for row in found), max(row.high for row in found)
            rows.append(replace(ordered[len(ordered) // 2], low=low, high=high))
        return replace(first, rows=rows)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Table:
        """The table of `to_dict`."""
        rows = [Row(**row) for row in data["rows"]]
        return cls(data["title"], data["unit"], data["loop"], rows, data["notes"], data["suite"])

    def to_dict(self) -> dict[str, Any]:
        """The table for JSON."""
        return asdict(self)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


async def interleaved(
    cases: Mapping[str, Case], count: int, repetitions: int = REPETITIONS
) -> dict[str, list[float]]:
    """Run every case ``repetitions`` times, in turn; seconds for ``count`` operations each.

    In turn, so that a machine that slows down slows everybody; the garbage is collected between, never inside.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        await case(max(1, count // 20))  # warm: specialised bytecode, filled caches
    gc.collect()
    gc.freeze()  # what was built before is not looked through again in every round
    try:
        for _ in range(repetitions):
            for name, case in cases.items():
                gc.collect()
                gc.disable()
                try:
                    found[name].append(await case(count))
                finally:
                    gc.enable()
    finally:
        gc.unfreeze()
    return found


def seconds_per(values: list[float], count: int, unit: float = 1e-9) -> list[float]:
    """Seconds for ``count`` operations as time units for one."""
    return [value / count / unit for value in values]


def per_second(values: list[float], count: int) -> list[float]:
    """Seconds for ``count`` operations as operations a second."""
    return [count / value for value in values]


def machine() -> dict[str, str]:
    """What it ran on; ratios compare, absolute figures do not travel."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "machine": platform.machine(),
        "processor": _processor(),
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def new_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The loop factory called ``asyncio`` or ``uvloop``."""
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop
