"""DataFolder: where the tenants' databases are, looked at before anything is written."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from nebula_resource.errors import ConfigurationError

__all__ = ["DataFolder", "DataNotUsable"]

_BESIDE = ("", "-wal", "-shm", "-journal")


class DataNotUsable(ConfigurationError):
    """The folder, or a database in it, cannot be used; the message names it and says why."""

    code = "data_not_usable"


class DataFolder:
    """A folder with one SQLite file per tenant.

    `prepare` refuses what cannot work before the first file is made; `undo` removes what this run has made and nobody
    has used.
    """

    def __init__(self, path: Path, tenants: Iterable[str]) -> None:
        self.path = path.absolute()
        self._tenants = tuple(tenants)
        self._made_folders: list[Path] = []
        self._made_files: list[Path] = []

    def database(self, tenant: str) -> Path:
        """The file of a tenant."""
        return self.path / f"{tenant}.db"

    def prepare(self) -> None:
        """Make the folder, or see that it and what is in it can be used. Raises `DataNotUsable`."""
        try:
            self._make_folder()
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            self.undo()
            raise DataNotUsable(
                f"cannot write in the data folder {self.path}: {error.strerror}; DATA names another"
            ) from error
        try:
            for tenant in self._tenants:
                self._look_at(self.database(tenant), tenant)
        except BaseException:
            self.undo()
            raise

    def _make_folder(self) -> None:
        missing = [each for each in (self.path, *self.path.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir()
            self._made_folders.append(each)

    def _look_at(self, file: Path, tenant: str) -> None:
        why = None
        if not file.exists():
            self._made_files.append(file)
        elif not file.is_file():
            why = "it is a folder" if file.is_dir() else "it is no file"
        elif not os.access(file, os.R_OK | os.W_OK):
            why = "this user may not read and write it"
        else:
            why = _wrong_inside(file)
        if why is not None:
            raise DataNotUsable(f"cannot use {file} as the database of {tenant}: {why}")

    def undo(self) -> None:
        """Remove what this run made: for a start that failed."""
        for file in self._made_files:
            for ending in _BESIDE:
                file.with_name(file.name + ending).unlink(missing_ok=True)
        for folder in reversed(self._made_folders):
            try:
                folder.rmdir()
            except OSError:  # something else is in it by now: it stays
                return


def _wrong_inside(file: Path) -> str | None:
    """What SQLite says when it reads the file; None: nothing."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None
