"""Pools: ``nebula pools`` and what can be done with one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nebula_resource.cli.client import AdminClient
from nebula_resource.cli.failure import ExitCode, Failure
from nebula_resource.cli.options import HERE, AsJson, DryRun, Key, PoolId, Url, Why, dry, part
from nebula_resource.cli.show import document, fields, line, seconds, table

__all__ = ["pools"]


class _Pools(TyperGroup):
    """``nebula pools ID`` is ``nebula pools show ID``, unless ID is or looks like the name of a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """(name, command, arguments)."""
        if not get_close_matches(args[0], self.commands):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


pools = typer.Typer(
    cls=_Pools,
    help="Pools: see them all or one (pools ID); resize, drain, resume, recycle, suspend.",
    invoke_without_command=True,
    subcommand_metavar="[ID | COMMAND ...]",
)


@pools.callback()
def list_pools(context: typer.Context, url: Url = HERE, key: Key = None, as_json: AsJson = False) -> None:
    """All pools, when no command follows."""
    if context.invoked_subcommand is not None:
        return
    with AdminClient(url, key) as client:
        body = client.items("pools")
    if as_json:
        document(body)
        return
    scoped = any(each["scope"]["level"] != "global" for each in body["items"])
    table(
        ("POOL", *(("SCOPE",) if scoped else ()), "STATE", "HEALTH", ">USED", ">IDLE", ">MAX", ">WAITING", ">P95 WAIT", "DRIVER"),
        [
            (
                each["id"], *((_scope(each["scope"]),) if scoped else ()), each["state"], each["health"]["effective"],
                each["size"]["used"], each["size"]["idle"], each["size"]["max"], each["waiters"]["count"], seconds(each["latency_s"]["acquire"]["p95"]), each["driver"],
            )
            for each in body["items"]
        ],
        empty="no pools",
    )  # fmt: skip  # a row a line


@pools.command("show")
def show_pool(id: PoolId, url: Url = HERE, key: Key = None, as_json: AsJson = False) -> None:
    """One pool with all there is to know."""
    with AdminClient(url, key) as client:
        body = client.get(f"pools/{part(id)}")
    if as_json:
        document(body)
        return
    health, size, isolated = body["health"], body["size"], body["quarantine"]
    fields(
        {
            "pool": body["id"],
            "state": body["state"],
            "scope": _scope(body["scope"]),
            "driver": body["driver"],
            "instances": f"{size['used']} used, {size['idle']} idle, {size['creating']} creating; {size['min']} to {size['max']}",
            "waiting": body["waiters"]["count"],
            "wait p95": seconds(body["latency_s"]["acquire"]["p95"]),
            "health": health["effective"],
            "because": health["reason"],
            "since": health["since"],
            "quarantine": None if isolated is None else f"{isolated['reason']}, since {isolated['since']}",
            "generation": body["generation"],
        }
    )


@pools.command()
def resize(
    id: PoolId,
    reason: Why,
    minimum: Annotated[int | None, typer.Option("--min", min=0, help="Instances to keep.")] = None,
    maximum: Annotated[int | None, typer.Option("--max", min=1, help="Most instances.")] = None,
    dry_run: DryRun = False,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Move a pool's bounds."""
    if minimum is None and maximum is None:
        raise Failure(ExitCode.USAGE, "give --min, --max or both")
    with AdminClient(url, key) as client:
        body = client.post(
            f"pools/{part(id)}/resize",
            {"min": minimum, "max": maximum, "reason": reason, "dry_run": dry_run},
            if_match="*",
        )
    if as_json:
        document(body)
        return
    before, after = body["before"], body["after"]
    line(
        f"{body['id']}: {before['min']} to {before['max']} -> {after['min']} to {after['max']}"
        + (", as busy ones come back" if body["shrinks_lazily"] else "")
        + dry(body)
    )


@pools.command()
def drain(
    id: PoolId,
    reason: Why,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it until the last is back.")] = True,
    dry_run: DryRun = False,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Refuse new callers and wait for what is out. Ctrl-C stops watching, not the drain."""
    with AdminClient(url, key) as client:
        body = client.post(f"pools/{part(id)}/drain", {"reason": reason, "dry_run": dry_run})
        if wait and not dry_run:
            body = _follow(client, body, f"draining {id}")
    if as_json:
        document(body)
    elif dry_run:
        line(f"{body['id']}: would drain{dry(body)}")
    else:
        line(f"{body['pool']}: drain is {body['state']}", f"({body['id']})")
    if body.get("state") in {"failed", "cancelled"}:
        raise Failure(ExitCode.REFUSED, f"the drain was {body['state']}")


@pools.command()
def resume(
    id: PoolId,
    reason: Why,
    dry_run: DryRun = False,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Serve again after a drain or a suspension."""
    _verb(id, "resume", {"reason": reason, "dry_run": dry_run}, url, key, as_json)


@pools.command()
def recycle(
    id: PoolId,
    reason: Why,
    dry_run: DryRun = False,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Replace every instance: idle ones now, busy ones as they come back."""
    _verb(id, "recycle", {"reason": reason, "dry_run": dry_run}, url, key, as_json)


@pools.command()
def suspend(
    id: PoolId,
    reason: Why,
    fail: Annotated[
        bool, typer.Option("--fail", help="Refuse callers instead of letting them wait.")
    ] = False,
    dry_run: DryRun = False,
    url: Url = HERE,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Hold callers back until ``resume``."""
    _verb(id, "suspend", {"reason": reason, "fail": fail, "dry_run": dry_run}, url, key, as_json)


def _verb(id: str, verb: str, body: dict[str, Any], url: str, key: str | None, as_json: bool) -> None:
    with AdminClient(url, key) as client:
        answer = client.post(f"pools/{part(id)}/{verb}", body)
    if as_json:
        document(answer)
    else:
        line(f"{answer['id']}: {answer['action']}, now {answer['state']}{dry(answer)}")


def _scope(scope: dict[str, Any]) -> str:
    """Its level, and the tenant where it has one."""
    level, tenant = str(scope["level"]), scope.get("label")
    return level if tenant is None else f"{level} {tenant}"


def _follow(client: AdminClient, started: dict[str, Any], what: str) -> dict[str, Any]:
    """Watch an operation; where a person looks, with something that moves."""
    from rich.console import Console

    try:
        with Console(stderr=True).status(what):
            *_, ended = client.operation(started["id"])
    except KeyboardInterrupt:
        raise Failure(ExitCode.INTERRUPTED, f"no longer watching; {started['id']} goes on") from None
    return ended
