"""CLI: ``nebula``, an operator's verbs for a running service, over its admin API (extra ``cli``)."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code: 0 ok, 1 unhealthy or refused, 2 usage, 3 unreachable."""
    try:
        from nebula_resource.cli.commands import run
    except ModuleNotFoundError as error:
        if error.name not in {"httpx", "rich", "typer"}:
            raise
        print(f"nebula needs {error.name}: pip install 'nebula-resource[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    code = run()
    gc.freeze()  # the interpreter would look through all that was ever imported once more: half a second of a service's end
    raise SystemExit(code)
