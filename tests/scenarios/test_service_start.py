"""The service as a process: how it refuses to start."""

from pathlib import Path

import httpx

from tests.scenarios.process import ServiceProcess, start_and_fail

CANARY = "hunter2-do-not-repeat-me"


def refused(code: int, output: str, errors: str) -> str:
    """The one line of a start that was refused."""
    assert (code, output) == (2, "")
    assert errors.startswith("cannot start: ")
    assert errors.count("\n") == 1
    return errors


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    """A second service on the port: one line, exit code 2, no folder made; the first serves on."""
    with ServiceProcess(tmp_path / "first") as service:
        port = service.url.rpartition(":")[2]
        line = refused(*start_and_fail(tmp_path / "second", PORT=port))
        assert f"cannot listen on 127.0.0.1:{port}: it is in use" in line
        assert not (tmp_path / "second").exists()
        assert httpx.get(f"{service.url}/health/live", trust_env=False).status_code == 200


def test_a_database_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    """One line that names it, exit code 2, and no other file is made."""
    (tmp_path / "data" / "globex.db").mkdir(parents=True)
    line = refused(*start_and_fail(tmp_path / "data"))
    assert f"cannot use {tmp_path}/data/globex.db as the database of globex: it is a folder" in line
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["globex.db"]


def test_a_broken_database_is_refused(tmp_path: Path) -> None:
    """One that only looks like a database: it stays as it is, and no other file is made."""
    data = tmp_path / "data"
    data.mkdir()
    broken = b"SQLite format 3\0" + b"\xff" * 4080
    (data / "initech.db").write_bytes(broken)
    line = refused(*start_and_fail(data))
    assert f"cannot use {data}/initech.db as the database of initech: " in line
    assert [each.name for each in data.iterdir()] == ["initech.db"]
    assert (data / "initech.db").read_bytes() == broken


def test_a_data_folder_that_cannot_be_written_is_refused() -> None:
    """One line that names it, exit code 2."""
    line = refused(*start_and_fail("/proc/nebula/data"))
    assert "cannot write in the data folder /proc/nebula/data" in line


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    """All of them in one line, exit code 2, no value repeated."""
    line = refused(*start_and_fail(tmp_path / "data", PORT=CANARY, TRAFFIC=CANARY))
    assert "PORT" in line
    assert "TRAFFIC" in line
    assert CANARY not in line
