"""Quarantine: ``nebula quarantine``: what is isolated, isolating by hand, letting out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nebula_resource.cli.client import MISSING, AdminClient
from nebula_resource.cli.options import HERE, AsJson, DryRun, Key, Url, Why, part
from nebula_resource.cli.show import document, line, seconds, table

__all__ = ["quarantine"]

quarantine = typer.Typer(help="Quarantine: what is isolated; isolate, let out.", no_args_is_help=True)


@quarantine.command("list")
def list_quarantine(url: Url = HERE, key: Key = None, as_json: AsJson = False) -> None:
    """What is isolated, longest first."""
    with AdminClient(url, key) as client:
        body = client.items("quarantine")
    if as_json:
        document(body)
        return
    table(
        ("RESOURCE", "REASON", "~DETAIL", "SINCE", "PHASE", ">ATTEMPTS", ">NEXT IN", ">TOUCHES", "BY"),
        [
            (
                each["id"], each["reason"], each["detail"], each["since"], each["phase"],
                _attempts(each), seconds(each["next_attempt_in_s"]), each["dependents"], each["by"],
            )
            for each in body["items"]
        ],
        empty="nothing is quarantined",
    )  # fmt: skip  # a row a line


def _attempts(entry: dict[str, Any]) -> str:
    """How many failed, and of how many; a parked one goes on past its plan."""
    made, planned = entry["attempts"], entry["max_attempts"]
    return f"{made}/{planned}" if made <= planned else str(made)


@quarantine.command("add")
def isolate(
    id: Annotated[str, typer.Argument(metavar="ID", help="The resource's public id.")],
    reason: Why,
    expires_in: Annotated[
        float | None, typer.Option("--expires-in", help="Seconds until it is let out.")
    ] = None,
    dry_run: DryRun = False,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Keep callers away from a resource until somebody lets it out."""
    with AdminClient(url, key) as client:
        body = client.post(
            "quarantine",
            {"resource_id": id, "reason": reason, "expires_in": expires_in, "dry_run": dry_run},
        )
    if as_json:
        document(body)
    else:
        line(f"{body.get('id', id)}: " + ("would be quarantined (dry run)" if dry_run else "quarantined"))


@quarantine.command("release")
def release(
    id: Annotated[str, typer.Argument(metavar="ID", help="The resource's public id.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Why: it stands in the audit.")] = None,
    force: Annotated[bool, typer.Option("--force", help="At once, without a probe.")] = False,
    dry_run: DryRun = False,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a resource out when its checks pass; exit code 1 when they do not, or when it is not quarantined."""
    with AdminClient(url, key) as client:
        body = client.post(
            f"quarantine/{part(id)}/release",
            {"mode": "force" if force else "probe", "reason": reason, "dry_run": dry_run},
            missing=f"it is not quarantined, or {MISSING}",
        )
    if as_json:
        document(body)
    else:
        line(
            f"{body['id']}: " + ("released" if body["released"] else "would be released (dry run)"),
            f"({body['admission']})",
        )
