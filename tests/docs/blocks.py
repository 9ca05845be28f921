"""Blocks: the Python in a Markdown file, run in order in one namespace and one event loop."""

import ast
import asyncio
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})\s*(?P<info>[^`]*)$")
SETUP = re.compile(r"^<!-- setup\s*$")
PYTHON = {"python", "py", "python3"}
HARMLESS = re.compile(r'(title="[^"]*"|linenums="\d+"|hl_lines="[\d -]+")')


class UnrunnableBlock(Exception):
    """A Python block that says it should not, or cannot, be run."""


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of Python: its source and the line of the file it starts on (the first line is 1)."""

    source: str
    line: int


def python_blocks(text: str) -> Iterator[Block]:
    """The Python blocks of a Markdown text, and hidden `<!-- setup … -->` ones, in order."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if SETUP.match(line):
            yield Block(_until(lines, lambda row: row.strip() == "-->"), number + 1)
        elif fence := FENCE.match(line):
            source = _until(lines, _closing(fence["ticks"]))
            if _is_python(fence["info"], number):
                yield Block(textwrap.dedent(source), number + 1)


def _until(lines: Iterator[tuple[int, str]], ends: Callable[[str], bool]) -> str:
    rows: list[str] = []
    for _, row in lines:
        if ends(row):
            return "\n".join(rows)
        rows.append(row)
    raise UnrunnableBlock("the file ends inside a block")


def _closing(ticks: str) -> Callable[[str], bool]:
    return lambda row: len(row.strip()) >= len(ticks) and set(row.strip()) == {ticks[0]}


def _is_python(info: str, line: int) -> bool:
    language, _, rest = info.strip().partition(" ")
    language = language.strip("{}.").lower()
    if language == "pycon":
        raise UnrunnableBlock(f"line {line}: a console session is not run; write it as python")
    if language not in PYTHON:
        return False
    if left := HARMLESS.sub("", rest).strip():
        raise UnrunnableBlock(f"line {line}: `{left}` after python: every block is run, as it stands")
    return True


def run_blocks(path: Path, name: str) -> int:
    """Run every block of a file and return how many there were; an error points into the file itself.

    The blocks share a module called `name`, so that pydantic, dataclasses and FastAPI find what annotations mention.
    """
    blocks = list(python_blocks(path.read_text()))
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        with asyncio.Runner() as runner:
            runner.run(_run(blocks, path, module))
    finally:
        del sys.modules[name]
    return len(blocks)


async def _run(blocks: list[Block], path: Path, module: types.ModuleType) -> None:
    for block in blocks:
        padded = "\n" * (block.line - 1) + block.source
        code = compile(padded, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, module.__dict__)
        if code.co_flags & inspect.CO_COROUTINE:
            await result
