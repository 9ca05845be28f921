"""The page of the command line and the command line itself: the same commands, the same options."""

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from nebula_resource.cli.commands import app
from nebula_resource.cli.failure import ExitCode
from tests.architecture.tree import ROOT

PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
ASKING = {"--url", "--key", "--json"}  # what the page says once, of all that ask a service
ROW = re.compile(r"^\| `nebula ([a-z -]+[a-z])(?: ([A-Z]+))?` \|[^|]*\| ?([^|]*)\|$", re.MULTILINE)


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str, set[str]]]:
    """(words, argument, options) of each command that can be run."""
    if command.name != "nebula" and (
        not getattr(command, "commands", None) or command.invoke_without_command
    ):
        options = {
            name for each in command.params for name in (*each.opts, *each.secondary_opts) if name[:2] == "--"
        }
        (argument,) = [each.metavar for each in command.params if each.param_type_name == "argument"] or [""]
        yield " ".join(path), argument, options
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def test_every_command_and_option_is_on_its_page() -> None:
    """And nothing else."""
    told = {
        words: (argument, set(re.findall(r"`(--[a-z-]+)", options)))
        for words, argument, options in ROW.findall(PAGE)
    }
    real = {
        words: (argument, options - (ASKING if "--url" in options else set()))
        for words, argument, options in commands(typer.main.get_command(app))
    }
    assert told == real
    assert len(real) > 10


def test_every_exit_code_is_on_its_page() -> None:
    """With what it means."""
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == list(ExitCode)
