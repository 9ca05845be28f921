"""DataFolder: what cannot work is refused before the first file is made, and nothing is left behind."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from app.demo.data import DataFolder, DataNotUsable


def make_folder(path: Path) -> None:
    """A folder where a database should be."""
    path.mkdir()


def make_text(path: Path) -> None:
    """A text where a database should be."""
    path.write_text("this is no database, but it is long enough to be one")


def make_ruin(path: Path) -> None:
    """What begins like a database and is none."""
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4080)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (make_folder, "it is a folder"),
        (make_text, "file is not a database"),
        (make_ruin, "file is not a database|malformed"),
    ],
)
def test_a_database_that_is_none_is_refused(tmp_path: Path, spoil: Callable[[Path], None], why: str) -> None:
    """The error names the file and says what is wrong with it; no other file is made."""
    data = DataFolder(tmp_path, ["one", "two"])
    spoil(data.database("two"))
    with pytest.raises(DataNotUsable, match=f"two.db as the database of two: ({why})"):
        data.prepare()
    assert [each.name for each in tmp_path.iterdir()] == ["two.db"]


@pytest.mark.parametrize("path", ["/proc/nebula/data", "/dev/null/data", "/dev/null"])
def test_a_folder_that_cannot_be_written_is_refused(path: str) -> None:
    """Where no folder can be made, or none can be written: said in one line that names it."""
    with pytest.raises(DataNotUsable, match=f"cannot write in the data folder {path}"):
        DataFolder(Path(path), ["one"]).prepare()


def test_databases_that_are_there_are_used(tmp_path: Path) -> None:
    """A database, an empty file and none at all: fine; nothing is made yet, and the databases stay when undone."""
    data = DataFolder(tmp_path, ["made", "empty", "new"])
    with sqlite3.connect(data.database("made")) as made:
        made.execute("CREATE TABLE things (id)")
    made.close()
    data.database("empty").touch()
    data.prepare()
    data.database("new").touch()
    data.undo()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty.db", "made.db"]


def test_what_a_failed_start_made_is_removed(tmp_path: Path) -> None:
    """Folders and files of this run go; a folder in which somebody else has put something stays."""
    data = DataFolder(tmp_path / "a" / "b", ["one"])
    data.prepare()
    for ending in (".db", ".db-wal", ".db-shm"):
        (data.path / f"one{ending}").touch()
    (tmp_path / "a" / "mine").touch()
    data.undo()
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")] == ["a", "a/mine"]
