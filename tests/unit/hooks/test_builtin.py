"""Built-in hooks: what they log, count and refresh."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from nebula_resource.hooks import (
    AuditHook,
    Cancel,
    CredentialRefreshHook,
    HookEvent,
    HookPayload,
    HookRegistry,
    MetricsHook,
    OnAcquire,
    OnCleanup,
    OnHealthChange,
    OnRelease,
    Outcome,
    ResourceHook,
    SlowAcquireHook,
)
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.scope import Scope

SCOPE = Scope.execution("e1", tenant="acme")
ACQUIRE = OnAcquire(resource_id="db", public_id="db~x", scope=SCOPE)


async def operate(
    *hooks: ResourceHook,
    payload: HookPayload = ACQUIRE,
    takes: float = 0.0,
    error: BaseException | None = None,
) -> None:
    """One operation between its hooks."""
    run = await HookRegistry().run_before(hooks, payload)
    await asyncio.sleep(takes)
    await run.after(error)


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What stands beside the message."""
    plain = logging.LogRecord("", 0, "", 0, "", None, None).__dict__
    return {key: value for key, value in record.__dict__.items() if key not in plain and key != "message"}


async def test_audit_writes_one_line_an_operation(caplog: pytest.LogCaptureFixture) -> None:
    """A constant message, and what is needed to say who did what; the scope by its level."""
    with caplog.at_level(logging.INFO, "nebula_resource.audit"):
        await operate(AuditHook(), takes=2.0)
    (record,) = caplog.records
    assert (record.message, record.levelno) == ("resource audit", logging.INFO)
    assert fields(record) == {
        "hook.event": "acquire",
        "resource.id": "db",
        "resource.public_id": "db~x",
        "resource.scope": "execution",
        "outcome": "ok",
        "duration_s": 2.0,
    }


async def test_audit_may_be_told_to_name_the_whole_scope(caplog: pytest.LogCaptureFixture) -> None:
    """An auditor may need the tenant; it is never written unasked."""
    with caplog.at_level(logging.INFO):
        await operate(AuditHook(full_scope=True), error=ValueError("s3cret"))
    assert fields(caplog.records[0]) | {"outcome": "error", "error": "ValueError"} == fields(
        caplog.records[0]
    )
    assert fields(caplog.records[0])["resource.scope"] == "tenant:acme/execution:e1"
    assert "s3cret" not in str(caplog.records[0].__dict__)


@pytest.mark.parametrize(
    ("payload", "more"),
    [
        (OnRelease(resource_id="db", public_id="db"), {}),
        (OnCleanup(resource_id="db", public_id="db", reason=CleanupReason.STOLEN), {"reason": "stolen"}),
        (
            OnHealthChange(resource_id="db", public_id="db", old="healthy", new="unhealthy"),
            {"old": "healthy", "new": "unhealthy"},
        ),
    ],
    ids=lambda value: getattr(getattr(value, "kind", None), "name", ""),
)
async def test_audit_tells_what_each_kind_has(
    payload: HookPayload, more: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """The reason of a cleanup, the two states of a change."""
    with caplog.at_level(logging.INFO):
        await operate(AuditHook(), payload=payload)
    assert fields(caplog.records[0]) | more == fields(caplog.records[0])


async def test_audit_writes_refusals_too(caplog: pytest.LogCaptureFixture) -> None:
    """It goes first, so a hook that refuses comes after it."""

    class Guard(ResourceHook):
        name = "guard"

        def before(self, event: HookPayload) -> object:
            raise Cancel("no")

    registry = HookRegistry()
    registry.add(Guard())
    registry.add(AuditHook())
    with caplog.at_level(logging.INFO), pytest.raises(Exception, match="guard"):
        await registry.run_before(registry.for_resource("db", HookEvent.ACQUIRE), ACQUIRE)
    assert fields(caplog.records[0])["outcome"] == "refused"


async def test_audit_is_silent_below_its_level(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is put together that nobody writes."""
    with caplog.at_level(logging.WARNING):
        await operate(AuditHook())
    assert caplog.records == []


async def test_metrics_counts_by_kind_and_outcome() -> None:
    """With the durations in a histogram for each kind."""
    hook = MetricsHook()
    await operate(hook, takes=0.02)
    await operate(hook, error=asyncio.CancelledError())
    await operate(hook, payload=OnRelease(resource_id="db", public_id="db"))
    assert dict(hook.counts) == {
        (HookEvent.ACQUIRE, Outcome.OK): 1,
        (HookEvent.ACQUIRE, Outcome.CANCELLED): 1,
        (HookEvent.RELEASE, Outcome.OK): 1,
    }
    assert hook.durations[HookEvent.ACQUIRE].count == 2
    assert hook.durations[HookEvent.ACQUIRE].total_s == pytest.approx(0.02)


async def test_slow_acquire_warns_beyond_its_threshold(caplog: pytest.LogCaptureFixture) -> None:
    """More than a second by default; exactly a second is not slow."""
    hook = SlowAcquireHook()
    await operate(hook, takes=1.0)
    assert caplog.records == []
    await operate(hook, takes=1.5)
    (record,) = caplog.records
    assert (record.message, record.levelno, hook.seen) == ("slow acquire", logging.WARNING, 1)
    assert fields(record)["duration_s"] == 1.5
    assert fields(record)["resource.scope"] == "execution"


async def test_concurrent_acquires_of_one_execution_do_not_mix(caplog: pytest.LogCaptureFixture) -> None:
    """Each acquire is timed by itself, though id and scope are the same."""
    hook = SlowAcquireHook()
    await asyncio.gather(operate(hook, takes=3.0), operate(hook, takes=0.5), operate(hook, takes=2.0))
    assert [fields(record)["duration_s"] for record in caplog.records] == [2.0, 3.0]


def test_priorities_are_as_specified() -> None:
    """The audit is first, the slow acquire next to the pool."""
    assert (AuditHook.priority, SlowAcquireHook.priority, MetricsHook.priority) == (10, 90, 100)
    assert SlowAcquireHook().threshold == 1.0
    assert SlowAcquireHook.events == CredentialRefreshHook.events == {HookEvent.ACQUIRE}


# ── credentials ───────────────────────────────────────────────────────────────────────────────────────────────────

START = datetime(2026, 1, 1, tzinfo=UTC)


class Credentials:
    """A credential that lives for ten minutes, and a clock that follows the loop's."""

    def __init__(self) -> None:
        self.expires = START + timedelta(seconds=600)
        self.refreshed: list[float] = []
        self.takes = 2.0
        self.error: Exception | None = None
        self.hook = CredentialRefreshHook(lambda _: self.expires, self.refresh, now=self.now)

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())

    async def refresh(self, payload: HookPayload) -> None:
        self.refreshed.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        self.expires = self.now() + timedelta(seconds=600)


async def test_a_credential_is_left_alone_until_a_minute_before_its_expiry() -> None:
    """The acquire at 539 s does nothing, the one at 540 s starts a refresh and does not wait for it."""
    credentials = Credentials()
    loop = asyncio.get_running_loop()
    await asyncio.sleep(539)
    await operate(credentials.hook)
    assert credentials.refreshed == []
    await asyncio.sleep(1)
    await operate(credentials.hook)
    await asyncio.sleep(0)
    assert (loop.time(), credentials.refreshed) == (540, [540])
    await asyncio.sleep(60)
    await operate(credentials.hook)
    assert credentials.refreshed == [540]


async def test_one_refresh_at_a_time() -> None:
    """Many acquires in the last minute share it."""
    credentials = Credentials()
    await asyncio.sleep(550)
    await asyncio.gather(*(operate(credentials.hook) for _ in range(5)))
    await asyncio.sleep(1)
    await operate(credentials.hook)
    assert credentials.refreshed == [550]


@pytest.mark.parametrize("at", [600, 700])
async def test_from_the_expiry_on_acquires_wait_for_the_refresh(at: float) -> None:
    """All of them, for the one refresh."""
    credentials = Credentials()
    loop = asyncio.get_running_loop()
    await asyncio.sleep(at)
    await asyncio.gather(*(operate(credentials.hook) for _ in range(3)))
    assert (loop.time(), credentials.refreshed) == (at + 2, [at])


async def test_a_cancelled_acquire_does_not_cancel_the_refresh() -> None:
    """Others wait for it too."""
    credentials = Credentials()
    await asyncio.sleep(700)
    task = asyncio.create_task(operate(credentials.hook))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await operate(credentials.hook)
    assert credentials.refreshed == [700]
    assert credentials.expires > credentials.now()


async def test_a_failed_refresh_is_logged_and_tried_again_a_second_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without its text, which may hold a secret, and without hammering the provider."""
    credentials = Credentials()
    credentials.error = ValueError("s3cret")
    await asyncio.sleep(550)
    await operate(credentials.hook)
    await asyncio.sleep(2.5)
    await operate(credentials.hook)
    assert credentials.refreshed == [550]
    await asyncio.sleep(0.5)
    credentials.error = None
    await operate(credentials.hook)
    await asyncio.sleep(10)
    assert credentials.refreshed == [550, 553]
    assert credentials.hook._not_before == {}, "only who failed last is remembered"
    assert caplog.messages == ["a credential could not be refreshed"]
    assert "s3cret" not in str(caplog.records[0].__dict__)


async def test_a_refresh_that_hangs_ends(caplog: pytest.LogCaptureFixture) -> None:
    """After its timeout it counts as failed and the next may begin."""
    credentials = Credentials()
    credentials.takes = 1e9
    await asyncio.sleep(550)
    await operate(credentials.hook)
    await asyncio.sleep(32)
    await operate(credentials.hook)
    await asyncio.sleep(0)
    assert credentials.refreshed == [550, 582]
    assert fields(caplog.records[0])["error"] == "TimeoutError"
    await credentials.hook.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a closed hook refreshes no more"


async def test_a_credential_without_expiry_is_never_refreshed() -> None:
    """None: it does not expire, or nobody knows when."""
    refreshed: list[HookPayload] = []

    async def refresh(payload: HookPayload) -> None:
        refreshed.append(payload)

    await operate(CredentialRefreshHook(lambda _: None, refresh))
    await asyncio.sleep(0)
    assert refreshed == []
