"""``nebula keys new``: one command makes a key that opens the admin API; its text is in no file."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nebula_resource.admin import KeyFile, Role
from nebula_resource.admin.auth.authority import KeyAuthority
from tests.app.admin_world import admin_world
from tests.scenarios.nebula import nebula_here


async def test_a_key_opens_what_its_role_may(tmp_path: Path) -> None:
    """Made into a file that is not there yet, then into the same: both open the API, each as what it was made for."""
    file = tmp_path / "keys.toml"
    made = nebula_here("keys", "new", "--role", "viewer", "--name", "on call", "--file", str(file))
    assert (made.returncode, made.stderr) == (0, "")
    async with admin_world(auth=KeyFile(file)) as world:
        bound = nebula_here("keys", "new", "--role", "operator", "--tenant", "acme", "--file", str(file))
        for done, name, role, tenant in (
            (made, "on call", "viewer", None),
            (bound, None, "operator", "acme"),
        ):
            text, rest = done.stdout.split("\n", 1)
            secret = text.split("_", 2)[2]
            assert secret not in rest + file.read_text()
            who = await world.get("/whoami", headers={"Authorization": f"Bearer {text}"})
            assert (who["name"], who["role"], who["tenant"]) == (name or text.split("_")[1], role, tenant)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", 'the "wall" \\ of é', "# no comment"])
def test_what_is_printed_may_stand_in_the_file(tmp_path: Path, name: str) -> None:
    """Without --file the table is shown; put into a file by hand it is the same key, with its end."""
    file = tmp_path / "keys.toml"
    done = nebula_here("keys", "new", "--role", "admin", "--name", name, "--days", "30", "--json")
    shown = json.loads(done.stdout)
    file.write_text(shown["entry"], encoding="utf-8")
    key = KeyAuthority(KeyFile(file)).key_of(shown["key"])
    assert key is not None
    assert (key.name, key.role, key.id) == (name, Role.ADMIN, shown["id"])
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - datetime.now(UTC) <= timedelta(days=30)
    plain = nebula_here("keys", "new", "--role", "admin", "--name", name).stdout
    file.write_text(plain[plain.index("[keys.") :], encoding="utf-8")
    assert KeyAuthority(KeyFile(file)).key_of(plain.split("\n", 1)[0]) is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--role", "root"), "no such role"),
        (("--role", "viewer", "--name", "two\nlines"), "text of one line"),
        (("--role", "viewer", "--tenant", ""), "1 to 128 characters"),
        (("--role", "metrics", "--tenant", "acme"), "would open nothing"),
        (("--role", "viewer", "--days", "0"), "days"),
        ((), "role"),
    ],
)
def test_what_makes_no_key_is_usage(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, no key, and no file."""
    file = tmp_path / "keys.toml"
    done = nebula_here("keys", "new", *arguments, "--file", str(file))
    assert done.returncode == 2
    assert said in done.stderr
    assert "nbk_" not in done.stdout
    assert not file.exists()


def test_what_is_no_key_file_is_left_alone(tmp_path: Path) -> None:
    """Exit code 2; not a letter of it is another. An empty one is as good as none."""
    file = tmp_path / "nebula.toml"
    file.write_text("[admin]\nport = 1")
    done = nebula_here("keys", "new", "--role", "viewer", "--file", str(file))
    assert (done.returncode, file.read_text()) == (2, "[admin]\nport = 1")
    assert "was not changed" in done.stderr
    nowhere = nebula_here("keys", "new", "--role", "viewer", "--file", str(tmp_path / "none" / "keys.toml"))
    assert nowhere.returncode == 2
    assert "No such file" in nowhere.stderr
    file.write_text("")
    assert nebula_here("keys", "new", "--role", "viewer", "--file", str(file)).returncode == 0
    KeyFile(file)
