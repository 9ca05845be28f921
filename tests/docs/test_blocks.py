"""Every Python block of the README and the docs is run, as it stands."""

from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, tracked
from tests.docs.blocks import UnrunnableBlock, run_blocks

PAGES = [
    name for name in tracked() if name == "README.md" or (name.startswith("docs/") and name.endswith(".md"))
]


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of one page run in order, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    # A module of its own name: what one page wires is no business of the next.
    run_blocks(ROOT / page, "page_" + "".join(each if each.isalnum() else "_" for each in page))


def test_blocks_share_names_and_may_await(tmp_path: Path) -> None:
    """A later block uses what an earlier, or a hidden one, defined; await stands at the top level."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- setup\nimport asyncio\nseen = []\n-->\n"
        "```python\nasync def late() -> int:\n    return 3\n```\n"
        "- in a list:\n\n  ```py\n  seen.append(await late())\n  ```\n"
        "```sh\nexit 1\n```\n"
        '~~~python title="x.py"\nawait asyncio.sleep(0)\nassert seen == [3]\n~~~\n'
    )
    assert run_blocks(page, "page_of_a_test") == 4


def test_an_error_points_into_the_page(tmp_path: Path) -> None:
    """The traceback of a broken block names the page and the line."""
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nx = 1\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks(page, "page_of_a_test")
    assert caught.traceback[-1].path == page
    assert caught.traceback[-1].lineno + 1 == 5


@pytest.mark.parametrize("info", ["python no-run", "python {.skip}", "pycon"])
def test_a_block_cannot_opt_out(info: str, tmp_path: Path) -> None:
    """A block that asks not to be run is refused."""
    page = tmp_path / "page.md"
    page.write_text(f"```{info}\n1\n```\n")
    with pytest.raises(UnrunnableBlock):
        run_blocks(page, "page_of_a_test")
