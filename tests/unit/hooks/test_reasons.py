"""Reasons: why a hook says no is a text for the caller, whatever the hook made of it, and it quotes no secret."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest

from nebula_resource import OFF, HealthPolicy, Manager, Resource, ResourceConfig, ResourceContext, Secret
from nebula_resource.errors import HookCancelled
from nebula_resource.events import Event, HealthChanged, RecoveryAttempted
from nebula_resource.hooks import Cancel, HookEvent, HookPayload, ResourceHook
from nebula_resource.model.config_display import MASK
from nebula_resource.model.credentials import AuthenticatedResource, Credential, StaticCredentials
from tests.unit.hooks.story import Story
from tests.unit.manager.things import Thing, assert_manager_sound

CANARY = "correct-horse-battery"
TOKEN = "staple-of-the-provider"


class Mute(Cancel):
    """Forgets to tell its base."""

    def __init__(self, until: int) -> None:
        self.until = until


class Unspeakable:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Cancel("closed until eight"), "closed until eight"),
        (Cancel(), "it gave no reason"),
        (Cancel, "it gave no reason"),
        (Mute(8), "it gave no reason"),
        (Cancel(OSError("full")), "full"),  # type: ignore[arg-type]  # quickly written
        (Cancel(Unspeakable()), "Unspeakable"),  # type: ignore[arg-type]  # that is the point
        (Cancel(f"cannot reach postgres://app:{CANARY}@db"), f"cannot reach postgres://{MASK}@db"),
    ],
    ids=["a text", "none", "the class", "a subclass of its own", "an error", "no text at all", "a login"],
)
async def test_a_reason_is_a_text_whatever_the_hook_gave(error: Any, reason: str) -> None:
    """A guard that says no has said it; the hooks before it have their after."""

    async def refuse() -> None:
        raise error

    story = Story()
    with pytest.raises(HookCancelled) as caught:
        await story.operate(story.hook("a"), story.hook("guard", refuse))
    assert caught.value.reason == reason
    assert str(caught.value).endswith(f": {reason}")
    assert story.lines == ["a before", "guard before", "a after refused"]


class VaultConfig(ResourceConfig):
    """Holds a secret."""

    dsn: Secret = Secret(f"postgres://app:{CANARY}@db/main")


class Vault(AuthenticatedResource, Resource[VaultConfig, str]):
    """Needs another from its provider."""

    id = "vault"
    credential_keys = ("token",)

    async def create(self, config: VaultConfig, context: ResourceContext) -> str:
        return (await self.get_credentials(context))["token"].version


class Chatty(ResourceHook):
    """Quotes what it should not."""

    name = "chatty"
    says: str | None = None

    def __init__(self, event: HookEvent) -> None:
        self.events = (event,)

    async def before(self, event: HookPayload) -> None:
        if self.says is not None:
            raise Cancel(self.says)


@pytest.mark.parametrize("event", [HookEvent.ACQUIRE, HookEvent.CREATE])
@pytest.mark.parametrize("secret", [CANARY, TOKEN])
async def test_a_reason_quotes_no_secret_of_its_resource(event: HookEvent, secret: str) -> None:
    """Of the configuration or of the provider: masked in the error, in its repr and in a traceback with its cause."""
    provider = StaticCredentials({"token": Credential(Secret(TOKEN), "1")})
    async with Manager(health=OFF, credentials=provider) as manager:
        await manager.register(Vault(), VaultConfig(), pool={"max_size": 2, "min_size": 1})
        hook = Chatty(event)
        manager.hooks.add(hook)
        async with manager.acquire("vault"):
            hook.says = f"the policy service said no to {secret}, ask Ann"
            with pytest.raises(HookCancelled) as caught:
                await manager.acquire("vault")
        error = caught.value
        assert error.reason == f"the policy service said no to {MASK}, ask Ann"
        whole = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
        assert "ask Ann" in whole
        assert secret not in whole
        assert_manager_sound(manager)


async def test_a_hook_that_lets_nothing_be_made_makes_nobody_ill() -> None:
    """A check or a recovery that needs an instance is put off: nobody has asked the server."""
    async with Manager(health=HealthPolicy(interval=10, jitter=0, failure_threshold=1)) as manager:
        hook = Chatty(HookEvent.CREATE)
        hook.says = "no new connections tonight"
        manager.hooks.add(hook)
        await manager.register(Thing(), pool={"min_size": 0})
        told: list[Event] = []
        manager.events.add_listener(told.append, (HealthChanged, RecoveryAttempted))
        status = await manager.check("thing")
        assert status.state.kind == "unknown"
        assert status.metadata == {"postponed": "a hook refused to let an instance be made"}
        assert told == []
        manager.quarantine("thing", "by hand")
        await asyncio.sleep(60)
        assert {event.outcome for event in told if isinstance(event, RecoveryAttempted)} <= {"postponed"}
        hook.says = None
        await manager.release("thing")
        async with manager.acquire("thing"):
            pass
        assert_manager_sound(manager)
