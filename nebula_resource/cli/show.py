"""Show: answers as a person reads them: tables and lines; whatever a service says is text, never markup."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nebula_resource.model.printable import printable

__all__ = ["complain", "document", "fields", "line", "seconds", "table"]

STYLES = {
    "healthy": "green", "up": "green", "running": "green", "open": "green",
    "degraded": "yellow", "draining": "yellow", "suspended": "yellow", "waiting": "yellow", "warning": "yellow",
    "unhealthy": "bold red", "down": "bold red", "quarantined": "bold red", "critical": "bold red", "parked": "red",
}  # fmt: skip  # one table
"""Colours of words; each word says the same without its colour."""

_ANY_WIDTH = 1_000_000
"""So that what is measured is not cut to the terminal first."""


def document(body: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(body, indent=2) + "\n")


def line(*parts: object) -> None:
    """One line on standard output."""
    _console().print(Text(" ").join(_cell(part) for part in parts), soft_wrap=True)


def complain(message: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"nebula: {printable(message)}\n")
    sys.stderr.flush()


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], *, empty: str) -> None:
    """A table, or one line where there are no rows; in a terminal that is too narrow for it, a block for each row.

    A column that begins with ``>`` is set to the right, one that begins with ``~`` is text that may be broken.
    """
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        justify: JustifyMethod = "right" if name.startswith(">") else "left"
        made.add_column(name.lstrip(">~"), justify=justify, no_wrap=not name.startswith("~"))
    cells = [[_cell(value) for value in row] for row in rows]
    for row in cells:
        made.add_row(*row)
        for column, cell in zip(made.columns, row, strict=True):
            if column.no_wrap:
                column.min_width = max(column.min_width or len(str(column.header)), cell.cell_len)
    console = _console()
    if not cells:
        line(empty)
    elif Measurement.get(console, console.options.update(width=_ANY_WIDTH), made).minimum <= console.width:
        console.print(made)
    else:
        for row in cells:
            # A cut id is worth nothing to whoever is to type it.
            console.print(row[0], soft_wrap=True)
            rest = zip(made.columns[1:], row[1:], strict=True)
            told = [
                Text.assemble((f"{each.header} ".lower(), "dim"), cell) for each, cell in rest if cell.plain
            ]
            console.print(Padding(Text(", ").join(told), (0, 0, 0, 2)))


def fields(values: Mapping[str, object]) -> None:
    """One thing, a line for each of its fields."""
    made = Table.grid(padding=(0, 2))
    for name, value in values.items():
        made.add_row(Text(name, style="dim"), _cell(value))
    _console().print(made)


def seconds(value: float | None) -> str:
    """A duration with the unit that fits; nothing for None."""
    if value is None:
        return ""
    if value < 1.0:
        return f"{value * 1000:.3g} ms"
    if value < 120.0:
        return f"{value:.3g} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"


def _console() -> Console:
    # Made when it prints: it looks at the terminal of that moment. Wide enough not to cut ids where nobody looks.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    told = "" if value is None else str(printable(value if isinstance(value, str) else str(value)))
    return Text(told, style=STYLES.get(told, ""))
