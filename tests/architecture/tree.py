"""Tree: the files of the repository, as the architecture tests look at them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHIPPED = ("nebula_resource", "containers", "app")
NOT_OURS = {
    ".git",
    ".venv",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".data",
}


@cache
def tracked() -> tuple[str, ...]:
    """Every file that is, or is about to be, under version control, as a path relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        names = listing.stdout.split("\0")
        return tuple(sorted(name for name in set(names) if name and (ROOT / name).is_file()))
    # An unpacked archive: what lies there, without what the tools leave behind.
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return tuple(sorted(str(file) for file in files if not NOT_OURS.intersection(file.parts)))


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Each Python file below the folders, with its syntax tree."""
    for name in tracked():
        if name.endswith(".py") and name.split("/")[0] in folders:
            yield name, ast.parse((ROOT / name).read_text(), filename=name)
