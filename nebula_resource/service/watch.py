"""Watch: notices that a configuration file, or one with a secret, has become another."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from nebula_resource._aio import OwnedTasks, beside
from nebula_resource._extras import needs_extra
from nebula_resource.model.plain_file import read_plain
from nebula_resource.service.toml_file import MOST_BYTES

__all__ = ["Signature", "signature_of", "watching"]

DEBOUNCE = 200
"""Milliseconds in which changes count as one."""
SETTLE = 0.1
"""Seconds that the files must stay as they are: an editor may write in several steps."""

LOOK_EVERY = 5000
"""Milliseconds after which the files are looked at although nobody told of a change: one may fall into the moment in
which nothing watches yet, or into a reload."""

Signature = tuple[tuple[str, str | None], ...]
"""The content of each file, as a digest; None: it cannot be read."""


async def signature_of(files: frozenset[Path]) -> Signature:
    """What the files hold now. By content: a file that was only touched is the same.

    Read beside the loop: a disk that does not answer holds up this watch and nobody else.
    """
    return await beside(
        lambda: tuple((str(each), _digest(each)) for each in sorted(files)), name="nebula configuration watch"
    )


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(read_plain(file, MOST_BYTES)).hexdigest()
    except (OSError, ValueError):
        return None


@asynccontextmanager
async def watching(
    files: Callable[[], frozenset[Path]],
    changed: Callable[[], Awaitable[bool]],
    *,
    known: Signature | None = None,
) -> AsyncGenerator[None]:
    """For the time of a block, call ``changed`` whenever the files' content has become another and has settled.

    ``known`` is what they held when they were read, by default what they hold now. Where ``changed`` returns False it
    could not look at them, and is called again.

    Their folders are watched, not the files: editors, Kubernetes and ``mv`` put a new file in the place of the old.
    ``files`` is asked again after each call.
    """
    start = await signature_of(files()) if known is None else known
    tasks = OwnedTasks("nebula configuration watch")
    tasks.start(_watch(files, changed, start), name="watch")
    try:
        yield
    finally:
        await tasks.cancel_all()


async def _watch(
    files: Callable[[], frozenset[Path]], changed: Callable[[], Awaitable[bool]], known: Signature
) -> None:
    with needs_extra(__name__, "service"):
        from watchfiles import awatch  # lazily: a service that is configured in code does without

    while True:
        folders = await _folders(files())
        async for _ in awatch(
            *folders,
            debounce=DEBOUNCE,
            rust_timeout=LOOK_EVERY,
            yield_on_timeout=True,
            recursive=False,
            ignore_permission_denied=True,
        ):
            if await signature_of(files()) == known:
                continue
            now = await _settled(files)
            if now != known and await changed():
                # As they were before the call: what has changed since is seen next time. Where it names other files
                # now, it is called once more, and finds nothing to do.
                known = now
            if await _folders(files()) != folders:
                break


async def _folders(files: frozenset[Path]) -> list[Path]:
    """Where their names stand, and where these lead to."""

    def look() -> list[Path]:
        found = {each.parent for each in files} | {each.resolve().parent for each in files}
        return sorted(each for each in found if each.is_dir())

    return await beside(look, name="nebula configuration watch")


async def _settled(files: Callable[[], frozenset[Path]]) -> Signature:
    before = await signature_of(files())
    while True:
        await asyncio.sleep(SETTLE)
        now = await signature_of(files())
        if now == before:
            return now
        before = now
