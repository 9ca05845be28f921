"""nebula serve: one file declares a service; changed, broken and mended while it is asked."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.scenarios.nebula import nebula, nebula_here, started

CANARY = "kuckuck-4711"

FILE = """
[admin]
port = 0
log_level = "WARNING"

[resources.db]
driver = "sqlite"
config = {{ path = "orders.db" }}
required = true
pool = {{ min_size = 1, max_size = {size} }}

[resources.pay]
driver = "http"
dependencies = ["db"]
config = {{ base_url = "http://127.0.0.1:9", headers = {{ Authorization = "env:PAY_TOKEN" }} }}
"""

BAD = (
    FILE.format(size=0),
    FILE.format(size=5) + "[[",
    "[admin]\nport = 0\n",
    FILE.format(size=5) + '[resources.more]\ndriver = "sqlit"\n',
    FILE.format(size=5).replace("env:PAY_TOKEN", "file:/etc"),
    FILE.format(size=5)
    + '[resources.far]\ndriver = "postgres"\nrequired = true\npool = { min_size = 1 }\n'
    + 'config = { host = "127.0.0.1", port = 1, database = "x" }\n',
)
"""Contents that are refused while it serves: wrong, no TOML, emptied, a resource that cannot be opened beside a good change."""

WRONG = """
[admin]
prot = 1
[resources.db]
driver = "sqlit"
[resources.pay]
driver = "http"
template = "tenant"
config = { base_url = "ftp://x" }
pool = { min_size = 9, max_size = 2 }
health = { interval = -1 }
[budgets.main]
total = 5
[resources.cache]
driver = "postgres"
config = { host = "h", database = "d", password = "hunter2hunter2" }
"""

APP = """
import gc
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula_resource.fastapi import resource


def make() -> FastAPI:
    app = FastAPI()

    @app.get("/collected")
    def collected() -> dict[str, int]:
        return {"passed over": gc.get_freeze_count(), "looked at": len(gc.get_objects())}

    @app.get("/answer")
    async def answer(db: Annotated[AsyncSession, Depends(resource("db"))]) -> int:
        return await db.scalar(text("SELECT 42"))

    return app
"""


def until(found: Callable[[], object], what: str) -> None:
    """Ask until it is so; a busy machine gets half a minute."""
    end = time.monotonic() + 30.0
    while not found():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def max_size(url: str) -> int:
    """What is in force."""
    return int(httpx.get(f"{url}/pools/db").json()["size"]["max"])


def generation(url: str) -> int:
    """How often the file was taken over."""
    return int(httpx.get(f"{url}/config").json()["generation"])


def reload(url: str, **order: Any) -> httpx.Response:
    """Have the file read again by the API, behind whatever reads it just now because it has changed."""
    end = time.monotonic() + 30.0
    while True:
        answer = httpx.post(f"{url}/config/reload", json={"reason": "x", **order}, timeout=30)
        if answer.status_code != httpx.codes.CONFLICT:
            return answer
        assert time.monotonic() < end, "the file is being read for ever"
        time.sleep(0.02)


def patch_it(url: str) -> None:
    """Wrong orders change nothing; a good patch is in force until the file is read again, and is shown as one."""
    before = (max_size(url), generation(url))
    orders: list[dict[str, Any]] = [
        {"source": "/etc/passwd"},
        {"patch": {"admin": {"keys_file": None}}},
        {"patch": {"resources": {"pay": {"config": {"headers": {"Authorization": "file:/etc/passwd"}}}}}},
        {"patch": {"resources": {"db": {"pool": {"max_size": 9}}, "pay": {"pool": {"max_size": 0}}}}},
        {"patch": {"resources": {CANARY: {}}}},
    ]
    for wrong in orders:
        refused = reload(url, **wrong)
        assert (refused.status_code, CANARY in refused.text, "/etc" in refused.text) == (422, False, False)
        assert (max_size(url), generation(url)) == before, wrong
    told = reload(url, patch={"resources": {"db": {"pool": {"max_size": 9}}}}).raise_for_status().json()
    assert (told["changed"], told["patched"], max_size(url)) == (["db"], ["resources.db.pool.max_size"], 9)
    assert httpx.get(f"{url}/config").json()["patched"] == told["patched"]
    reload(url).raise_for_status()
    assert (max_size(url), httpx.get(f"{url}/config").json()["patched"]) == (before[0], [])


def test_every_violation_is_said_at_once_and_nothing_starts(tmp_path: Path) -> None:
    """Exit code 2, a dotted path for each, no value; check-config says the same, for scripts too."""
    (tmp_path / "nebula.toml").write_text(WRONG)
    served = nebula("serve", cwd=tmp_path)
    assert (served.returncode, served.stdout) == (2, "")
    paths = (
        "admin.prot", "resources.db.driver", "resources.pay.template", "resources.pay.config.base_url",
        "resources.pay.pool", "resources.pay.health.interval", "budgets", "resources.cache.config.password",
    )  # fmt: skip  # one list of names
    for path in paths:
        assert path in served.stderr, (path, served.stderr)
    assert "hunter2" not in served.stderr
    checked = nebula("check-config", "--json", cwd=tmp_path)
    assert checked.returncode == 2
    told = json.loads(checked.stdout)
    assert told["ok"] is False
    assert {each["field"].split(".")[0] for each in told["violations"]} == {"admin", "resources", "budgets"}
    assert list(tmp_path.iterdir()) == [tmp_path / "nebula.toml"]


def test_what_is_no_file_is_said_in_a_line(tmp_path: Path) -> None:
    """A folder, a missing file, no TOML, a secret that is not set, an address for everybody without keys."""
    (tmp_path / "nebula.toml").write_text(FILE.format(size=4))
    (tmp_path / "broken.toml").write_text("[admin")
    cases = {
        ("--config", str(tmp_path)): "cannot",
        ("--config", "missing.toml"): "missing.toml",
        ("--config", "broken.toml"): "broken.toml",
        (): "resources.pay.config.headers.Authorization",
        ("--host", "0.0.0.0"): "--host: must be a loopback address",
    }
    for arguments, said in cases.items():
        done = nebula("serve", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert said in done.stderr, (arguments, done.stderr)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = nebula("serve", "--port", port, cwd=tmp_path, PAY_TOKEN=CANARY)
        assert done.returncode == 2
        assert port in done.stderr


def test_a_script_is_told_of_a_file_that_is_none(tmp_path: Path) -> None:
    """In the same JSON as of a file that is wrong."""
    checked = nebula_here("check-config", "--json", "--config", str(tmp_path / "nowhere.toml"))
    assert (checked.returncode, checked.stderr) == (2, "")
    (violation,) = json.loads(checked.stdout)["violations"]
    assert violation["field"] == "file"
    assert violation["constraint"].startswith("there is no file")


def test_a_required_resource_that_cannot_open_is_one_line(tmp_path: Path) -> None:
    """Exit code 1: which one, by its path, and why; nothing was served, and nothing secret is told."""
    file = """
        [resources.db]
        driver = "postgres"
        required = true
        config = { host = "127.0.0.1", port = 1, database = "x", user = "env:WHO", password = "env:WORD" }
        pool = { min_size = 1 }
        """
    (tmp_path / "nebula.toml").write_text(file)
    done = nebula("serve", cwd=tmp_path, NEBULA_PORT="0", NEBULA_LOG_LEVEL="ERROR", WHO=CANARY, WORD=CANARY)
    assert (done.returncode, done.stdout) == (1, "")
    why = "could not connect to the database: the server was not reached (ConnectionRefusedError)"
    *logged, said = done.stderr.splitlines()
    assert said == f"cannot start: resources.db cannot be opened: {why}"
    assert not [each for each in logged if "[error" not in each]
    assert CANARY not in done.stderr


def test_the_file_is_changed_broken_and_mended_under_load(tmp_path: Path) -> None:
    """A good change is taken over and no caller notices; a bad one changes nothing; SIGHUP and the API read it too."""
    file = tmp_path / "nebula.toml"
    file.write_text(FILE.format(size=4))
    (tmp_path / "shop.py").write_text(APP)
    with started("--app", "shop:make", cwd=tmp_path, PAY_TOKEN=CANARY) as served:
        answers: list[int] = []
        over = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=served.url) as client:
                while not over.is_set():
                    answers.append(client.get("/answer").status_code)

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for each in askers:
            each.start()
        try:
            until(lambda: len(answers) > 20, "nobody is served")
            # A full collection passes over what the start has made, or the loop would stand still for it.
            collected = httpx.get(f"{served.url}/collected").json()
            assert collected["passed over"] > 10 * collected["looked at"], collected
            patch_it(served.url)  # before the file changes: whatever reads it again would end a patch
            first = generation(served.url)
            file.write_text(FILE.format(size=7))
            until(lambda: max_size(served.url) == 7, "the change is not taken over")
            second = generation(served.url)
            assert second > first
            for bad in BAD:
                file.write_text(bad)
                refused = reload(served.url)
                assert (refused.status_code, CANARY in refused.text) == (422, False), refused.text
                assert (max_size(served.url), generation(served.url)) == (7, second), bad
            # Written aside and moved into place, as editors do; the signal may come before the watcher.
            (tmp_path / "new").write_text(FILE.format(size=5))
            os.replace(tmp_path / "new", file)
            served.signal(signal.SIGHUP)
            until(lambda: max_size(served.url) == 5, "the mended file is not taken over")
        finally:
            over.set()
            for each in askers:
                each.join()
        assert set(answers) == {200}
        shown = httpx.get(f"{served.url}/config").text
        assert CANARY not in shown
        served.signal(signal.SIGTERM)
        code, output, errors = served.wait()
        assert code == 0, errors
        assert "shut down: 2 drained" in output
        assert CANARY not in output + errors


@pytest.mark.parametrize("dry", [True, False])
def test_a_reload_by_hand_says_what_it_does(tmp_path: Path, dry: bool) -> None:
    """What would be, or is, added and changed; a dry run changes nothing; who asked for it is written down."""
    file, audit = tmp_path / "nebula.toml", tmp_path / "audit.jsonl"
    file.write_text(FILE.format(size=4))
    with started(cwd=tmp_path, PAY_TOKEN=CANARY, NEBULA_AUDIT_FILE=str(audit)) as served:
        before = generation(served.url)
        if dry:
            # A dry run reads what is there: the file as it is.
            told = httpx.post(f"{served.url}/config/reload", json={"reason": "x", "dry_run": True}).json()
            assert (told["dry_run"], told["added"], told["changed"]) == (True, [], [])
            httpx.post(f"{served.url}/config/reload", json={"reason": "as it is"}).raise_for_status()
            last = [json.loads(line) for line in audit.read_text().splitlines()][-2:]
            assert [each["reason"] for each in last] == ["as it is"] * 2
        else:
            file.write_text(
                FILE.format(size=4) + '\n[resources.more]\ndriver = "sqlite"\nconfig = { path = "more.db" }\n'
            )
            until(lambda: httpx.get(f"{served.url}/pools/more").status_code == 200, "it is not added")
            file.write_text(FILE.format(size=4))
            until(lambda: httpx.get(f"{served.url}/pools/more").status_code == 404, "it is not taken off")
        assert (generation(served.url) == before) is dry
