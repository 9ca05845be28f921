"""The command line as a service sees it: what each verb sends, and what becomes of each answer."""

import json
from typing import Any

import pytest

from nebula_resource.cli.client import AdminClient
from nebula_resource.cli.commands import run
from tests.scenarios.answering import JSON, answering

POOL = {"id": "db", "action": "suspend", "state": "suspended", "dry_run": False}
DRY = POOL | {"action": "drain", "state": "running", "dry_run": True}
RUNNING = {"id": "op-1", "pool": "db", "state": "running"}
RESIZED = {"id": "db", "before": {"min": 1, "max": 4}, "after": {"min": 1, "max": 3}, "shrinks_lazily": True, "dry_run": False}  # fmt: skip  # one value
RELEASED = {"id": "db", "released": True, "admission": "half_open"}
QUIET = {"reason": "x", "dry_run": False}


def answer(body: Any, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """JSON."""
    return status, JSON | headers, json.dumps(body).encode()


@pytest.fixture(autouse=True)
def no_service_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks another address than it was told is found out."""
    monkeypatch.setenv("NEBULA_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("NEBULA_KEY", raising=False)


@pytest.mark.parametrize(
    ("command", "path", "sent", "body", "said"),
    [
        ("pools suspend db --reason x", "pools/db/suspend", QUIET | {"fail": False}, POOL, "db: suspend, now suspended"),
        ("pools suspend db --fail --reason x", "pools/db/suspend", QUIET | {"fail": True}, POOL, "db: suspend, now suspended"),
        ("pools resume db --reason x", "pools/db/resume", QUIET, POOL | {"action": "resume", "state": "running"}, "db: resume, now running"),
        ("pools recycle db --reason x --dry-run", "pools/db/recycle", QUIET | {"dry_run": True}, DRY | {"action": "recycle"}, "db: recycle, now running (dry run)"),
        ("pools drain db --reason x --dry-run", "pools/db/drain", QUIET | {"dry_run": True}, DRY, "db: would drain (dry run)"),
        ("pools drain db --reason x --no-wait", "pools/db/drain", QUIET, RUNNING, "db: drain is running (op-1)"),
        ("pools resize db --max 3 --reason x", "pools/db/resize", QUIET | {"max": 3}, RESIZED, "db: 1 to 4 -> 1 to 3, as busy ones come back"),
        ("pools resize db --min 0 --reason x", "pools/db/resize", QUIET | {"min": 0}, RESIZED | {"shrinks_lazily": False}, "db: 1 to 4 -> 1 to 3"),
        ("quarantine add db --reason x", "quarantine", QUIET | {"resource_id": "db"}, {"id": "db"}, "db: quarantined"),
        ("quarantine add db --reason x --expires-in 60 --dry-run", "quarantine", {"resource_id": "db", "reason": "x", "expires_in": 60.0, "dry_run": True}, {}, "db: would be quarantined (dry run)"),
        ("quarantine release db", "quarantine/db/release", {"mode": "probe", "dry_run": False}, RELEASED, "db: released (half_open)"),
        ("quarantine release db --force --reason x", "quarantine/db/release", QUIET | {"mode": "force"}, RELEASED, "db: released (half_open)"),
        ("quarantine release db --dry-run", "quarantine/db/release", {"mode": "probe", "dry_run": True}, RELEASED | {"released": False}, "db: would be released (dry run) (half_open)"),
    ],
)  # fmt: skip  # a verb a line
def test_each_verb_sends_what_it_was_told(
    command: str, path: str, sent: dict[str, Any], body: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, to its path, with nothing that was not said; a line tells what was done, and with --json the answer as it is."""
    with answering(answer(body)) as (url, asked):
        assert run([*command.split(), "--url", url, "--key", "nbk_1_2"]) == 0
        told = capsys.readouterr()
        assert (told.out.strip(), told.err) == (said, "")
        assert run([*command.split(), "--url", url, "--json"]) == 0
    assert asked == [f"POST /{path}"] * 2
    assert asked.bodies == [sent] * 2
    assert ("if-match" in asked.headers) == ("resize" in command)
    assert json.loads(capsys.readouterr().out) == body


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("failed", 1), ("cancelled", 1)])
def test_a_drain_ends_as_its_operation_does(
    state: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed until it runs no longer; what came of it is the code, and with --json the last that was known."""
    monkeypatch.setattr("nebula_resource.cli.client.time.sleep", lambda seconds: None)
    ended = RUNNING | {"state": state}
    with answering(answer(RUNNING, 202), answer(RUNNING), answer(ended)) as (url, asked):
        assert run(["pools", "drain", "db", "--reason", "x", "--json", "--url", url]) == code
    assert asked == ["POST /pools/db/drain", "GET /operations/op-1", "GET /operations/op-1"]
    told = capsys.readouterr()
    assert json.loads(told.out) == ended
    assert (f"the drain was {state}" in told.err) == (code == 1)


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (400, {}, "400 No"), (401, {}, "401 No"), (403, {}, "403 No"), (404, {}, "404 No"), (409, {}, "409 No"), (412, {}, "412 No"),
        (422, {}, "422 No"), (429, {"Retry-After": "5"}, "429 No; try again in 5 s"), (500, {}, "500 No"), (503, {"Retry-After": "3"}, "503 No; try again in 3 s"),
    ],
)  # fmt: skip  # one table
@pytest.mark.parametrize("command", ["pools resume db --reason x", "pools show db", "quarantine release db"])
def test_a_refusal_is_one_line_and_one(
    status: int, headers: dict[str, str], said: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its status, what it says, and when to come again; nothing on standard output, with --json either."""
    with answering(answer({"title": "No", "status": status}, status, **headers)) as (url, _):
        for more in ((), ("--json",)):
            assert run([*command.split(), "--url", url, *more]) == 1
            assert capsys.readouterr() == ("", f"nebula: {said}\n")


def test_an_ill_service_is_told_and_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """503 is how a health answers that is not well: a table for a person, the same whole for a script; a key that it does not know is no illness."""
    check = {"id": "db", "state": "unhealthy", "required": True, "quarantined": False, "reason": "gone"}
    body = {"status": "unhealthy", "checks": [check], "resources": {"healthy": 0, "unhealthy": 1}}
    with answering(answer(body, 503)) as (url, _):
        assert run(["health", "--url", url]) == 1
        told = capsys.readouterr()
        assert told.out.splitlines()[:2] == ["unhealthy", "1 unhealthy"]
        assert told.out.split()[-4:] == ["db", "unhealthy", "yes", "gone"]
        assert told.err == ""
        assert run(["health", "--json", "--url", url]) == 1
        assert json.loads(capsys.readouterr().out) == body
    with answering(answer({"title": "No such key"}, 401)) as (url, _):
        assert run(["health", "--url", url]) == 1
        assert capsys.readouterr() == ("", "nebula: 401 No such key\n")


def test_who_follows_some_types_is_told_of_those(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The past and the stream are asked for the same, and the stream from where the past ended; Ctrl-C is a good end."""

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nebula_resource.cli.events.time.sleep", interrupted)
    past = {"items": [{"type": "health.changed", "ts": "then", "severity": "info", "pool": "db", "data": {"old": "a", "new": "b"}}], "last_id": "b-7"}  # fmt: skip  # one value
    stream = b'id: b-8\nevent: health.changed\ndata: {"type": "health.changed", "pool": "db"}\n\n'
    with answering(answer(past), (200, {"Content-Type": "text/event-stream"}, stream)) as (url, asked):
        assert (
            run(["events", "--follow", "--types", "health.*", "--pool", "db", "--limit", "3", "--url", url])
            == 0
        )
    assert asked == ["GET /events?limit=3&types=health.%2A&pool=db", "GET /events?types=health.%2A&pool=db"]
    assert asked.headers["last-event-id"] == "b-7"
    told = capsys.readouterr()
    assert [line.split()[:4] for line in told.out.splitlines()] == [
        ["then", "info", "health.changed", "db"],
        ["health.changed", "db"],
    ]
    assert "a → b" in told.out
    assert "Traceback" not in told.err


def test_ctrl_c_before_the_end_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As shells have it, and no traceback."""

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(AdminClient, "_send", interrupted)
    for command in ("pools", "events", "pools drain db --reason x", "health"):
        assert run([*command.split(), "--url", "http://127.0.0.1:1"]) == 130, command
        told = capsys.readouterr()
        assert told.out == ""
        assert "Traceback" not in told.err


def test_attempts_past_the_plan_are_counted_and_not_set_against_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A parked one goes on: "14/10" would make no sense."""
    entry = {
        "id": "db", "reason": "consecutive_failures", "detail": "d", "since": "s", "phase": "parked", "attempts": 14, "max_attempts": 10,
        "next_attempt_in_s": 300.0, "dependents": 3, "by": "automatic",
    }  # fmt: skip  # one value
    body = {"items": [entry, entry | {"id": "vault", "phase": "waiting", "attempts": 4}], "next_cursor": None}
    with answering(answer(body)) as (url, _):
        assert run(["quarantine", "list", "--url", url]) == 0
    rows = {
        line.split()[0]: line.split()[5]
        for line in capsys.readouterr().out.splitlines()
        if "failures" in line
    }
    assert rows == {"db": "14", "vault": "4/10"}
