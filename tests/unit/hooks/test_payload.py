"""What a hook is told cannot be changed by it, and holds nothing that a hook should not have."""

from __future__ import annotations

import dataclasses

import pytest

from nebula_resource.hooks import HookPayload, HookResult, ResourceHook
from tests.unit.hooks.story import ACQUIRE, CANNOT_CANCEL, CREATE, Story

PAYLOADS = [ACQUIRE, CREATE, *CANNOT_CANCEL]
COMMON = {"resource_id", "public_id", "scope"}
OWN = {
    "acquire": {"timeout_s"},
    "create": {"generation"},
    "release": {"held_s", "error"},
    "cleanup": {"reason"},
    "health_changed": {"old", "new", "because"},
}


class Meddling(ResourceHook):
    """Tries to say of an operation what is not so."""

    name = "meddling"

    def before(self, event: HookPayload) -> object:
        event.resource_id = "another"  # type: ignore[misc]  # that is the point
        return None

    def after(self, event: HookPayload, result: HookResult) -> None:
        result.error = "nothing happened"  # type: ignore[misc]  # that is the point


class MeddlingLater(Meddling):
    """Lets the operation begin."""

    def before(self, event: HookPayload) -> object:
        return None


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.kind.value)
async def test_a_hook_that_meddles_with_what_it_is_told_fails_alone(payload: HookPayload) -> None:
    """Before or after: it is reported, and the others and the operation never notice."""
    for hook, phase in ((Meddling(), "before"), (MeddlingLater(), "after")):
        story = Story()
        given = dataclasses.replace(payload)
        await story.operate(story.hook("a"), hook, story.hook("b"), payload=given)
        assert story.reports == [("meddling", phase, "FrozenInstanceError")]
        assert given == payload
        assert (story.results["a"].error, story.results["b"].error) == (None, None)
        assert story.lines == ["a before", "b before", "operation", "b after ok", "a after ok"]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.kind.value)
def test_a_payload_holds_no_more_than_is_said(payload: HookPayload) -> None:
    """Names, a scope, numbers and reasons: no instance, no configuration, no credential, no error's words."""
    assert {each.name for each in dataclasses.fields(payload)} == COMMON | OWN[payload.kind.value]
    assert not hasattr(payload, "__dict__"), "and nothing can be hung on it"
