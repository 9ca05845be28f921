"""TomlFile: a configuration file as it is read, with one line for each way it cannot be; never quoting it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from nebula_resource.errors import ConfigurationError
from nebula_resource.model.plain_file import NotPlain, read_plain

__all__ = ["MOST_BYTES", "read_toml"]

MOST_BYTES = 4 * 1024 * 1024
"""A configuration beyond this is a mistake."""

_PLACE = re.compile(r"\(at (line \d+, column \d+|end of document)\)")

_TWICE = "a name that stands there a second time"
_OPEN_TEXT = "a text whose quotes do not end"
_NO_NAME = "no name (braces end on the line on which they begin, and not with a comma)"
_MISTAKES = {
    "Cannot declare": "a table that stands there a second time",
    "Cannot overwrite": _TWICE,
    "Cannot mutate": _TWICE,
    "Duplicate inline table key": _TWICE,
    "Invalid value": "no value (a text stands in quotes)",
    "Invalid statement": "no name",
    "Invalid initial character for a key": _NO_NAME,
    "Expected '='": "a name without = behind it",
    "Expected newline": "more than one value (a text stands in quotes, and a number has no leading zero)",
    "Expected ']": "a table's name that does not end with ]",
    "Unterminated string": _OPEN_TEXT,
    "Illegal character '\\n'": _OPEN_TEXT,
    "Illegal character '\\r'": "a line that does not end as a line of text does",
    "Illegal character": "a character that is not allowed there",
    "Found invalid character": "a character that is not allowed there",
    "Unescaped": "a backslash that stands for nothing (write two of them, or the text in single quotes)",
    "Unclosed array": "a list that does not end",
    "Unclosed inline table": "braces that do not end",
}
"""By how `tomllib` begins to tell of it."""


def read_toml(path: Path) -> dict[str, Any]:
    """Return what the file holds. Raises `ConfigurationError`, which names the file and what is wrong with it."""
    try:
        content = read_plain(path, MOST_BYTES)
    except NotPlain:
        raise ConfigurationError(
            f"{path} must be a regular file: a pipe or a device cannot be read again"
        ) from None
    except IsADirectoryError:
        raise ConfigurationError(f"{path} is a folder: name the file in it") from None
    except FileNotFoundError:
        raise ConfigurationError(f"there is no file {path}") from None
    except PermissionError:
        raise ConfigurationError(f"{path} may not be read by this user") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the file cannot be read ({type(error).__name__})") from None
    if len(content) > MOST_BYTES:
        raise ConfigurationError(f"{path} is larger than {MOST_BYTES // 1024 // 1024} MiB")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # some editors begin every file with a mark
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # Its text may quote what stands there: of that only the place is told, and what kind of mistake it is.
        found = _PLACE.search(str(error))
        what = next(
            (words for begin, words in _MISTAKES.items() if str(error).startswith(begin)), "a mistake"
        )
        where = f": {what} at {found[1]}" if found else ""
        raise ConfigurationError(f"{path} is not TOML{where}") from None
