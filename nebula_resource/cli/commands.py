"""Commands: what ``nebula`` can be told."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from nebula_resource.cli.client import AdminClient
from nebula_resource.cli.events import follow as following
from nebula_resource.cli.failure import ExitCode, Failure
from nebula_resource.cli.keys import keys
from nebula_resource.cli.options import HERE, AsJson, Key, Url
from nebula_resource.cli.pools import pools
from nebula_resource.cli.quarantine import quarantine
from nebula_resource.cli.serving import check_config, serve
from nebula_resource.cli.show import complain, document, line, table

__all__ = ["app", "run"]

app = typer.Typer(
    name="nebula",
    help="See and steer the resources of a running service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command("check-config")(check_config)
app.add_typer(pools, name="pools")
app.add_typer(quarantine, name="quarantine")
app.add_typer(keys, name="keys")


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    # A stream that the shell has closed is none at all.
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A change that was made is told, whatever letters the terminal has.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = _nowhere()
        if isinstance(error, BrokenPipeError):  # whoever read our output has enough
            return ExitCode.OK
        complain(f"the output cannot be written: {error.strerror}")
        return ExitCode.REFUSED
    return code


def _nowhere() -> TextIO:
    return open(os.devnull, "w")  # the interpreter flushes it at its end


def _run(arguments: list[str] | None) -> int:
    try:
        app(args=arguments)
    except SystemExit as end:  # typer's way to end, with 2 for what it does not understand
        return end.code if isinstance(end.code, int) else ExitCode.USAGE
    except Failure as failure:
        complain(failure.message)
        return failure.code
    return ExitCode.OK


# ── health ────────────────────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def health(url: Url = HERE, key: Key = None, as_json: AsJson = False) -> None:
    """How the service is, and what is ill. Exit code 1 when it is unhealthy."""
    with AdminClient(url, key) as client:
        is_well, body = client.health()
    if as_json:
        document(body)
    else:
        line(body["status"])
        if "checks" in body:
            told = body["resources"]
            line(", ".join(f"{count} {state}" for state, count in told.items() if count) or "no resources")
            ill = [each for each in body["checks"] if each["state"] != "healthy" or each["quarantined"]]
            if ill:
                table(
                    ("RESOURCE", "STATE", "REQUIRED", "QUARANTINED", "~WHY"),
                    [
                        (
                            each["id"],
                            each["state"],
                            _yes(each["required"]),
                            _yes(each["quarantined"]),
                            each["reason"],
                        )
                        for each in ill
                    ],
                    empty="",
                )
    if not is_well:
        raise typer.Exit(ExitCode.REFUSED)


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many of the past.")] = 50,
    types: Annotated[str | None, typer.Option("--types", help="Globs, such as quarantine.*,health.*")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Of one pool.")] = None,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """What happened; with --follow what happens from then on, too, and with --json one line of JSON for each."""
    say = _json_line if as_json else _event
    with AdminClient(url, key) as client:
        try:
            body = client.get("events", limit=limit, types=types, pool=pool)
            if as_json and not follow:
                document(body)
                return
            for each in body["items"]:
                say(each)
            if follow:
                for each in following(client, complain, last_id=body["last_id"], types=types, pool=pool):
                    say(each)
        except KeyboardInterrupt:
            if not follow:
                raise
            # how a person ends it


def _json_line(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _event(event: dict[str, Any]) -> None:
    data = dict(event.get("data", {}))
    change = [] if "new" not in data else [f"{_brief(data.pop('old', None))} → {_brief(data.pop('new'))}"]
    told = ", ".join(
        change
        + [f"{name} {_brief(value)}" for name, value in data.items() if value not in (None, "", {}, [])]
    )
    line(event.get("ts", ""), event.get("severity", ""), event.get("type", ""), event.get("pool") or "", told)


def _brief(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(_brief, value)) if isinstance(value, list) else str(value)


# ── the rest ──────────────────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def scopes(
    level: Annotated[str | None, typer.Option("--level", help="Of one level, such as tenant.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of one tenant.")] = None,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """The scopes that resources are registered in, and what their pools hold together."""
    with AdminClient(url, key) as client:
        body = client.items("scopes", level=level, tenant=tenant)
    if as_json:
        document(body)
        return
    table(
        (
            "SCOPE",
            "LEVEL",
            "TENANT",
            ">POOLS",
            ">INSTANCES",
            ">IN USE",
            ">WAITING",
            ">UNHEALTHY",
            ">QUARANTINED",
        ),
        [
            (
                each["id"],
                each["level"],
                each["label"],
                each["pools"],
                each["instances"],
                each["in_use"],
                each["waiting"] or "",
                each["unhealthy"] or "",
                each["quarantined"] or "",
            )
            for each in body["items"]
        ],
        empty="no scopes",
    )


@app.command("new-driver")
def new_driver(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and _.")],
    folder: Annotated[Path, typer.Option("--in", help="Where its folder is made.")] = Path(),
) -> None:
    """Make a driver package with its tests, to go on from."""
    from nebula_resource.cli.scaffold import scaffold

    for made in scaffold(name, folder):
        line(made)


def _yes(value: object) -> str:
    return "yes" if value else ""
