"""The command line against what is no admin API, is half one, or goes away: one line and a code, never a traceback."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nebula_resource.cli.commands import run
from tests.architecture.tree import ROOT
from tests.scenarios.answering import JSON, answering

POOL = {
    "id": "d–b", "state": "running", "driver": "x", "scope": {"level": "tenant", "label": "acme"}, "health": {"effective": "healthy"},
    "size": {"used": 0, "idle": 1, "max": 2}, "waiters": {"count": 0}, "latency_s": {"acquire": {"p95": None}},
}  # fmt: skip  # one value

PIPE = '"$1" -m nebula_resource.cli pools --url "$2" 2>"$3" | head -1'


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that it complained with."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nebula: ")
    return line


@pytest.fixture(autouse=True)
def no_service_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks another address than it was told is found out."""
    monkeypatch.setenv("NEBULA_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("NEBULA_KEY", raising=False)


# ── whom it asks ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ("pools", "--url", "HERE", "--json", "resume", "db", "--reason", "x"),
        ("pools", "resume", "--url", "HERE", "--json", "db", "--reason", "x"),
        ("pools", "--json", "resume", "db", "--reason", "x", "--url", "HERE"),
        ("pools", "--url", "HERE", "resume", "db", "--reason", "x", "--url", "HERE", "--json"),
    ],
)
def test_an_option_holds_wherever_it_stands(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a command, after it, or both: the change is made where it was meant, and told as JSON."""
    answer = {"id": "db", "action": "resume", "state": "running"}
    with answering((200, JSON, json.dumps(answer).encode())) as (url, asked):
        assert run([url if each == "HERE" else each for each in arguments]) == 0
    assert asked == ["POST /pools/db/resume"]
    assert json.loads(capsys.readouterr().out) == answer


def test_a_key_goes_to_the_service_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever proxy the environment names: it would read the key."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with answering((200, JSON, b'{"items": [], "next_cursor": null}')) as (url, asked):
        assert run(["pools", "--url", url, "--key", "k"]) == 0
    assert asked == ["GET /pools?limit=500"]
    assert capsys.readouterr().out == "no pools\n"


def test_two_addresses_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody guesses which of them was meant."""
    with answering((200, JSON, b"{}")) as (url, asked):
        assert run(["pools", "--url", url, "drain", "db", "--reason", "x", "--url", f"{url}/b"]) == 2
    assert asked == []
    assert "--url is given twice" in told(capsys)


@pytest.mark.parametrize("arguments", [("--url", "http://127.0.0.1:1", "pools"), ("--json", "health")])
def test_before_everything_it_is_no_option(arguments: tuple[str, ...]) -> None:
    """Refused rather than overlooked."""
    assert run(list(arguments)) == 2


def test_an_id_alone_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """``pools ID`` is ``pools show ID``; what looks like a command is taken for a mistake."""
    with answering((200, JSON, b'{"id": "db"}')) as (url, asked):
        assert run(["pools", "db", "--json", "--url", url]) == 0
        assert run(["pools", "--url", url, "resme", "db", "--reason", "x"]) == 2
    assert asked == ["GET /pools/db"]
    assert "resume" in capsys.readouterr().err


@pytest.mark.parametrize("id", ["", ".", "..", "\udcff"])
@pytest.mark.parametrize(
    "command", [("pools", "show"), ("pools", "drain", "--reason", "x"), ("quarantine", "release")]
)
def test_what_is_no_id_is_not_asked_for(
    id: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """It would lead to another path, and a verb to something else's."""
    with answering((200, JSON, b"{}")) as (url, asked):
        assert run([*command, id, "--url", url]) == 2
    assert asked == []
    assert "id" in told(capsys)


@pytest.mark.parametrize(
    ("id", "path"),
    [("a/b", "a%2Fb"), ("../x", "..%2Fx"), ("%2e%2e", "%252e%252e"), ("a?b#c", "a%3Fb%23c"), ("...", "...")],
)
def test_an_id_stays_one_part_of_the_path(id: str, path: str) -> None:
    """Whatever is in it."""
    with answering((404, JSON, b'{"title": "Not found"}')) as (url, asked):
        assert run(["pools", "show", id, "--url", url]) == 1
    assert asked == [f"GET /pools/{path}"]


# ── what answers ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "command",
    [
        ("pools",),
        ("pools", "db"),
        ("pools", "resize", "db", "--max", "3", "--reason", "x"),
        ("pools", "drain", "db", "--reason", "x"),
        ("health",),
        ("quarantine", "list"),
        ("quarantine", "release", "db"),
        ("events",),
    ],
)
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b"{}"),
        (JSON, b"[]"),
        (JSON, b"[" * 100_000),
        (JSON, b'{"next_cursor": "x", "id": "x", "checks": []}'),
        ({"Content-Type": "text/html"}, b"<html>"),
        (JSON | {"Content-Encoding": "gzip"}, b"this is no gzip"),
        (JSON | {"Content-Length": "100"}, b"cut"),
    ],
    ids=["nothing", "a list", "deep", "half", "a page", "no gzip", "cut"],
)
def test_what_is_no_admin_api_is_unreachable(
    command: tuple[str, ...], headers: dict[str, str], body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, 3."""
    with answering((200, headers, body)) as (url, _):
        assert run([*command, "--url", url]) == 3
    told(capsys)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[::1", "http://x:port"])
def test_an_address_that_is_none_is_usage(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is sent."""
    assert run(["pools", "--url", url]) == 2
    assert "--url must be" in told(capsys)


def test_a_redirect_is_told_and_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    """It may lead anywhere, and the key with it."""
    with answering((302, {"Location": "/login"}, b"")) as (url, asked):
        assert run(["pools", "--url", url, "--key", "nbk_1_2"]) == 3
    assert len(asked) == 1
    assert "302 and points to /login" in told(capsys)


@pytest.mark.parametrize("errors", ['"no"', "3", "[1, null]", '{"a": 1}'])
def test_a_problem_is_told_whatever_its_errors_are(errors: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The status and the title at least."""
    body = f'{{"title": "Not valid", "errors": {errors}}}'.encode()
    with answering((422, JSON, body)) as (url, _):
        assert run(["pools", "--url", url]) == 1
    assert "422 Not valid" in told(capsys)


def test_a_frame_that_cannot_be_read_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and the next one comes."""

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nebula_resource.cli.events.time.sleep", interrupted)
    stream = b'id: 1\nevent: a\ndata: {"type"\n\nid: 2\nevent: b\ndata: [1]\n\nid: 3\nevent: c\ndata: {"type": "c"}\n\n'
    with answering(
        (200, JSON, b'{"items": [], "last_id": "0"}'), (200, {"Content-Type": "text/event-stream"}, stream)
    ) as (url, _):
        assert run(["events", "--follow", "--json", "--url", url]) == 0
    output = capsys.readouterr()
    assert [json.loads(line)["type"] for line in output.out.splitlines()] == ["c"]
    assert output.err.count("that cannot be read") == 2


# ── how it ends ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_any_terminal_is_told_what_was_done() -> None:
    """A change is told with the letters that there are."""
    body = {"items": [POOL], "next_cursor": None}
    with answering((200, JSON, json.dumps(body).encode())) as (url, _):
        done = subprocess.run(
            [sys.executable, "-m", "nebula_resource.cli", "pools", "--url", url],
            cwd=ROOT,
            env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"d\u2013b" in done.stdout


def test_a_drain_is_no_longer_watched_after_ctrl_c() -> None:
    """130, as shells have it, and the operation that goes on."""
    running = b'{"id": "op-1", "pool": "db", "state": "running"}'
    with answering((202, JSON, running), (200, JSON, running)) as (url, asked):
        watcher = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nebula_resource.cli",
                "pools",
                "drain",
                "db",
                "--reason",
                "x",
                "--url",
                url,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while asked.count("GET /operations/op-1") < 2:
                assert watcher.poll() is None, watcher.communicate()
                threading.Event().wait(0.01)
            watcher.send_signal(signal.SIGINT)
            _, errors = watcher.communicate(timeout=30)
        finally:
            watcher.kill()
            watcher.wait()
    assert watcher.returncode == 130
    assert errors.splitlines()[-1] == "nebula: no longer watching; op-1 goes on"


def test_a_reader_that_has_enough_is_no_failure(tmp_path: Path) -> None:
    """``nebula pools | head -1``."""
    body = {"items": [POOL] * 500, "next_cursor": None}
    with answering((200, JSON, json.dumps(body).encode())) as (url, _):
        done = subprocess.run(
            ["sh", "-c", PIPE, "sh", sys.executable, url, str(tmp_path / "errors")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.stdout.count("\n") == 1
    assert (tmp_path / "errors").read_text() == ""
