"""Test session: which loop a test runs on, which servers it may ask for, and no test that passes by not running."""

import asyncio
import gc
import signal
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import hypothesis
import pytest

from tests.servers.fixtures import (
    postgres_server,
    private_postgres_server,
    private_redis_server,
    redis_server,
)

__all__ = ["postgres_server", "private_postgres_server", "private_redis_server", "redis_server"]

TESTS = Path(__file__).parent
VIRTUAL_TIME = ("unit", "races", "properties")  # folders whose tests do no real I/O

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# print_blob: a failure prints what reproduces it. No deadline: wall-clock time per example says nothing on a shared machine.
# The same goes for how long data takes to generate.
hypothesis.settings.register_profile(
    "nebula", print_blob=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("nebula")


# A session that a shell started in the background ignores Ctrl-C, and everything it starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --uvloop, which runs the tests with real I/O on uvloop."""
    parser.addoption("--uvloop", action="store_true", help="run the tests that use a real loop on uvloop")


def pytest_collection_finish() -> None:
    """Whoever collects garbage from here on looks through what tests make, not through five thousand tests each time."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Give tests without I/O virtual time, so that a minute is exact and instant, and all others a real loop."""
    if TESTS in item.path.parents and item.path.relative_to(TESTS).parts[0] in VIRTUAL_TIME:
        from nebula_resource.testing.clock import VirtualTimeLoop

        return {"virtual": VirtualTimeLoop}
    if config.getoption("--uvloop"):
        import uvloop

        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip, and a failure that was expected, into a failure: a test runs or the session is red."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} did not run to its end: {report.longrepr}. No test here may be skipped."
        )
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file or folder that would leave itself out."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} was not collected: {report.longrepr}. No test here may be skipped."
        )
    return report
