"""What stands in the way of ``nebula serve`` is one line, whoever's it is, and never the text of somebody's error."""

import gc
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from nebula_resource.service import run as module
from nebula_resource.service.run import NOT_WELL, WRONG, Options, run
from nebula_resource.service.server import Server

CANARY = "kuckuck-4711"

SHOP = f"""
from contextlib import asynccontextmanager

from fastapi import FastAPI

not_one = 7


def make():
    return FastAPI()


def broken():
    raise RuntimeError("{CANARY}")  # line 14


def needy(settings):
    return FastAPI()


async def asynchronous():
    return FastAPI()


def other():
    return "an application"


@asynccontextmanager
async def never_up(app):
    raise RuntimeError("{CANARY}")  # line 31
    yield


@asynccontextmanager
async def never_down(app):
    yield
    raise RuntimeError("{CANARY}")  # line 38


def without_start():
    return FastAPI(lifespan=never_up)


def without_end():
    return FastAPI(lifespan=never_down)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untouched: None) -> Generator[Path]:
    """A folder with a shop, its modules importable."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(7)\n")
    (tmp_path / "unreadable.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "lacking.py").write_text("import nebula_no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("shop", "ends", "unreadable", "lacking"):
        sys.modules.pop(name, None)


def served(app: str | None, capsys: pytest.CaptureFixture[str], **environment: str) -> tuple[int, str]:
    """Exit code, and what was said on standard error."""
    given: Mapping[str, str] = {"NEBULA_PORT": "0", "NEBULA_LOG_LEVEL": "ERROR", **environment}
    before = gc.get_freeze_count()
    code = run(Options(app=app), given)
    assert gc.get_freeze_count() <= before, "what was frozen while it served is thawed"
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("shop", "--app is module:factory, such as shop.main:create_app"),
        ("shop:mak", "--app: shop has no mak; did you mean 'make'?"),
        ("shup:make", "--app: there is no module shup"),
        ("lacking:make", "--app: its module needs nebula_no_such_thing, which is not installed"),
        ("shop:not_one", "--app must name a FastAPI application, or a function that returns one"),
        ("shop:other", "--app must name a FastAPI application, or a function that returns one"),
        ("shop:needy", "--app: shop:needy must be callable without arguments: missing a required argument: 'settings'"),
        ("shop:asynchronous", "--app: shop:asynchronous must be a plain function, not an async one"),
        ("shop:broken", "--app: shop:broken raised RuntimeError at shop.py, line 14; the log level DEBUG shows its traceback"),
        ("ends:make", "--app: importing ends raised SystemExit at ends.py, line 2; the log level DEBUG shows its traceback"),
        ("unreadable:f", "--app: importing unreadable raised SyntaxError at unreadable.py, line 2; the log level DEBUG shows its traceback"),
    ],
)  # fmt: skip  # a case a line
def test_an_application_that_cannot_be_made_is_one_line(
    app: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2: what is wrong, and where in the user's own code; its text may be a secret."""
    assert served(app, capsys) == (WRONG, f"cannot start: {said}\n")


def test_debug_shows_the_traceback_of_the_users_code(capsys: pytest.CaptureFixture[str]) -> None:
    """After the line, for whoever asked for it."""
    code, said = served("shop:broken", capsys, NEBULA_LOG_LEVEL="DEBUG")
    assert code == WRONG
    line, _, rest = said.partition("\n")
    assert line.startswith("cannot start: --app: shop:broken raised RuntimeError")
    assert f"RuntimeError: {CANARY}" in rest


def test_a_lifespan_that_does_not_begin_or_end_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, and a different word for each; the variable names the application as the option does."""
    code, said = served(None, capsys, NEBULA_APP="shop:without_start")
    where = "the application's lifespan raised RuntimeError at shop.py, line"
    assert (code, said) == (NOT_WELL, f"cannot start: {where} 31; the log level DEBUG shows its traceback\n")

    async def on_tick(server: Server, _: int) -> bool:
        server.stop()
        return True

    monkeypatch.setattr(Server, "on_tick", on_tick)
    code, said = served("shop:without_end", capsys)
    assert (code, said) == (
        NOT_WELL,
        f"did not end well: {where} 38; the log level DEBUG shows its traceback\n",
    )


def test_the_option_wins_over_the_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """As with every setting."""
    assert "has no two" in served("shop:two", capsys, NEBULA_APP="shop:one")[1]


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Without an application nobody but us can have raised it: it is not dressed as somebody's."""
    (folder / "nebula.toml").write_text("[admin]\nport = 0\n")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(module, "serve", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        run(Options(), {})
