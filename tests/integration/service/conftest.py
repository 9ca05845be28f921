"""What the tests of the service have in common."""

import logging
from collections.abc import Generator

import pytest


@pytest.fixture
def untouched() -> Generator[None]:
    """Leave the process's own logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    chatty = {
        name: logging.getLogger(name).level
        for name in ("uvicorn.error", "httpx", "httpcore", "aiosqlite", "asyncio")
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in chatty.items():
        logging.getLogger(name).setLevel(before)
