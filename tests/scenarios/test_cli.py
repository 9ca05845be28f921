"""The command line against a real service: what an operator types at night, and what it answers."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from nebula_resource.admin import Key, Role
from tests.architecture.tree import ROOT
from tests.scenarios.nebula import Served, nebula, nebula_here, started

FILE = """
[admin]
port = 0
log_level = "WARNING"

[resources.db]
driver = "sqlite"
config = { path = "orders.db" }
required = true
pool = { min_size = 1, max_size = 4 }
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    """A service without keys, which this machine may steer."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "nebula.toml").write_text(FILE)
    with started(cwd=folder) as service:
        yield service


def test_pools_are_a_table_or_json(served: Served) -> None:
    """The same pool, for a person and for a script."""
    shown = nebula("pools", "--url", served.url)
    assert shown.returncode == 0, shown.stderr
    row = next(line for line in shown.stdout.splitlines() if line.strip().startswith("db"))
    assert row.split()[:3] == ["db", "running", "healthy"]
    told = nebula("pools", "--json", NEBULA_URL=served.url)
    (pool,) = json.loads(told.stdout)["items"]
    assert (pool["id"], pool["size"]["max"]) == ("db", 4)
    one = nebula_here("pools", "show", "db", NEBULA_URL=served.url)
    assert one.returncode == 0
    assert "0 used" in one.stdout


def test_scopes_are_a_table_or_json(served: Served) -> None:
    """What is registered for everybody is a scope too; a filter that fits nothing says so."""
    shown = nebula_here("scopes", "--url", served.url)
    assert shown.returncode == 0, shown.stderr
    (row,) = [line.split() for line in shown.stdout.splitlines() if "scp_" in line]
    assert row[1:] == ["global", "1", "1", "0"]
    told = nebula_here("scopes", "--level", "global", "--json", "--url", served.url)
    assert [each["id"] for each in json.loads(told.stdout)["items"]] == [row[0]]
    none = nebula_here("scopes", "--tenant", "acme", "--url", served.url)
    assert (none.returncode, none.stdout.strip()) == (0, "no scopes")


@pytest.mark.alone
def test_it_answers_quickly(served: Served) -> None:
    """Half a second on a machine that is not slowed by others; ours vary by a half: processor time, the best of three."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert nebula("pools", NEBULA_URL=served.url).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(took) < 0.75, took


def test_a_night_is_seen_and_ended(served: Served) -> None:
    """Isolated: health says what is ill and ends with 1; released: 0 again; the events tell it."""
    added = nebula_here(
        "quarantine", "add", "db", "--reason", "it [bold]lies[/] \x1b[31m", NEBULA_URL=served.url
    )
    assert added.returncode == 0, added.stderr
    ill = nebula_here("health", NEBULA_URL=served.url)
    assert ill.returncode == 1
    assert "unhealthy" in ill.stdout
    listed = nebula_here("quarantine", "list", NEBULA_URL=served.url).stdout
    # What somebody wrote is text: neither markup nor an escape sequence.
    assert "it [bold]lies[/] \\x1b[31m" in listed
    twice = nebula_here("quarantine", "add", "db", "--reason", "again", NEBULA_URL=served.url)
    assert (twice.returncode, twice.stderr.startswith("nebula: 409 ")) == (1, True)
    freed = nebula_here("quarantine", "release", "db", "--reason", "well again", NEBULA_URL=served.url)
    assert freed.returncode == 0, freed.stderr
    assert nebula_here("health", NEBULA_URL=served.url).returncode == 0
    told = nebula_here("events", "--types", "quarantine.*", "--json", NEBULA_URL=served.url)
    assert [each["type"] for each in json.loads(told.stdout)["items"]][:2] == [
        "quarantine.entered",
        "quarantine.released",
    ]


def test_verbs_change_a_pool_and_a_dry_run_does_not(served: Served) -> None:
    """resize, drain (followed to its end) and resume."""
    dry = nebula_here(
        "pools", "resize", "db", "--max", "9", "--reason", "x", "--dry-run", NEBULA_URL=served.url
    )
    assert "1 to 4 -> 1 to 9 (dry run)" in dry.stdout
    done = nebula_here("pools", "resize", "db", "--max", "6", "--reason", "x", NEBULA_URL=served.url)
    assert "1 to 4 -> 1 to 6" in done.stdout
    drained = nebula_here("pools", "drain", "db", "--reason", "x", "--json", NEBULA_URL=served.url)
    assert json.loads(drained.stdout)["state"] == "done"
    for verb in ("resume", "recycle", "suspend", "resume"):
        assert nebula_here("pools", verb, "db", "--reason", "x", NEBULA_URL=served.url).returncode == 0, verb
    assert httpx.get(f"{served.url}/pools/db").json()["size"]["max"] == 6


def test_events_are_followed_until_ctrl_c(served: Served) -> None:
    """One line of JSON for each; Ctrl-C is a good end."""
    follower = subprocess.Popen(
        [sys.executable, "-m", "nebula_resource.cli", "events", "--follow", "--json", "--url", served.url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert follower.stdout is not None
        seen = [json.loads(follower.stdout.readline())["type"]]  # of the past
        httpx.post(f"{served.url}/pools/db/resize", json={"max": 5, "reason": "x"}, headers={"If-Match": "*"})
        while seen[-1] != "pool.resized":
            seen.append(json.loads(follower.stdout.readline())["type"])
        follower.send_signal(signal.SIGINT)
        assert follower.wait(timeout=30) == 0
    finally:
        if follower.poll() is None:
            follower.kill()
        follower.communicate()


def test_what_goes_wrong_has_a_code_and_one_line(served: Served) -> None:
    """1 refused, 2 usage, 3 unreachable."""
    cases = {
        ("pools", "show", "nope", "--url", served.url): (1, "404"),
        ("pools", "resize", "db", "--min", "8", "--max", "7", "--reason", "x", "--url", served.url): (
            1,
            "422",
        ),
        ("pools", "resize", "db", "--reason", "x", "--url", served.url): (2, "--min, --max or both"),
        ("pools", "--url", "ftp://x"): (2, "--url"),
        ("pools", "--url", "http://127.0.0.1:1"): (3, "cannot be reached"),
        ("scopes", "--level", "tenent", "--url", served.url): (1, "400"),
        ("events", "--follow", "--url", "http://127.0.0.1:1"): (3, "cannot be reached"),
    }
    for arguments, (code, said) in cases.items():
        done = nebula_here(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        (line,) = done.stderr.splitlines()
        assert line.startswith("nebula: "), line
        assert said in line, line
    for arguments in (
        ("pools", "--nope"),
        ("nope",),
        ("pools", "resize", "db", "--max", "zero", "--reason", "x"),
    ):
        assert nebula_here(*arguments).returncode == 2


def test_keys_decide_what_may_be_done(tmp_path: Path) -> None:
    """A viewer's key sees and does not steer; no key sees the bare status; a key is never printed."""
    (eve, seen), (olga, steering) = Key.mint(Role.VIEWER, name="eve"), Key.mint(Role.OPERATOR, name="olga")
    (tmp_path / "keys.toml").write_text(
        "".join(
            f'[keys.{key.id}]\ndigest = "{key.digest}"\nrole = "{key.role.label}"\n'
            for key in (seen, steering)
        )
    )
    (tmp_path / "nebula.toml").write_text(FILE.replace("port = 0", 'port = 0\nkeys_file = "keys.toml"'))
    with started(cwd=tmp_path) as served:
        bare = nebula_here("health", "--url", served.url)
        assert (bare.returncode, bare.stdout.strip()) == (0, "up")
        refused = nebula_here("pools", "--url", served.url)
        assert (refused.returncode, refused.stderr.startswith("nebula: 401")) == (1, True)
        assert nebula_here("pools", NEBULA_URL=served.url, NEBULA_KEY=eve).returncode == 0
        drain = ("pools", "drain", "db", "--reason", "x")
        forbidden = nebula_here(*drain, NEBULA_URL=served.url, NEBULA_KEY=eve)
        assert (forbidden.returncode, forbidden.stderr.startswith("nebula: 403")) == (1, True)
        assert eve not in forbidden.stdout + forbidden.stderr
        assert nebula_here(*drain, NEBULA_URL=served.url, NEBULA_KEY=olga).returncode == 0
