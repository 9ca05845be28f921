"""Serving: ``nebula serve`` and ``nebula check-config``: what a configuration file declares, run or only checked."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nebula_resource.cli.failure import ExitCode, Failure
from nebula_resource.cli.options import AsJson
from nebula_resource.cli.show import complain, document, line
from nebula_resource.errors import ConfigurationError, ValidationFailed

__all__ = ["check_config", "serve"]

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="NEBULA_CONFIG", help="The file; else nebula.toml, if it is here."),
]


def serve(
    config: Config = None,
    app: Annotated[
        str | None,
        typer.Option(
            "--app", metavar="MODULE:FACTORY", envvar="NEBULA_APP", help="Your application, or what makes it."
        ),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = None,
) -> None:
    """Serve what the file declares: the admin API and its page, or your application with them."""
    run, options = _service()
    _look_here()
    raise typer.Exit(run(options(config=config, app=app, host=host, port=port)))


def check_config(config: Config = None, as_json: AsJson = False) -> None:
    """Read and check the file and change nothing; exit code 2 with every violation where it is wrong."""
    _service()
    from nebula_resource.service.declaration import load

    _look_here()
    path = config or Path("nebula.toml")
    try:
        declared = load(path)
    except ValidationFailed as error:
        if as_json:
            document(
                {
                    "ok": False,
                    "violations": [
                        {"field": each.field, "constraint": each.constraint, "actual": each.actual}
                        for each in error.violations
                    ],
                }
            )
        else:
            for each in error.violations:
                complain(str(each))
        raise typer.Exit(ExitCode.USAGE) from None
    except ConfigurationError as error:
        why = " ".join(error.message.split())
        if as_json:
            document({"ok": False, "violations": [{"field": "file", "constraint": why, "actual": ""}]})
            raise typer.Exit(ExitCode.USAGE) from None
        raise Failure(ExitCode.USAGE, why) from None
    if as_json:
        document({"ok": True, "values": declared.shown(), "violations": []})
    else:
        count = len(declared.resources)
        line(f"{path} is right: {count} resource{'' if count == 1 else 's'}")


def _service() -> tuple[Any, Any]:
    """The runner, which needs an extra of its own."""
    try:
        from nebula_resource.service.run import Options, run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("nebula_resource"):
            raise
        raise Failure(
            ExitCode.USAGE, f"serving needs {error.name}: pip install 'nebula-resource[service,cli]'"
        ) from None
    return run, Options


def _look_here() -> None:
    """Modules that the file or ``--app`` names are looked for in the current folder too, as ``python -m`` does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
