"""Checks of ours for schemathesis: what it cannot know of this API. It loads this file by its configuration."""

import json
import os
from typing import Any

import schemathesis
from pydantic import ValidationError
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response

from nebula_resource.admin.guard import HEADERS
from nebula_resource.admin.schemas.pools import Resize

REFUSED_THOUGH_VALID = {
    "bad_cursor",
    "bad_types",
    "bad_bounds",
    "idempotency_mismatch",
    "nothing_to_do",
}
"""What a schema cannot tell: that a cursor is signed, that a key was used before, that min is above max."""
TELLING = 12
"""Letters from which on a text of the request that stands in an answer is no coincidence."""


@schemathesis.hook
def map_body(ctx: HookContext, body: Any) -> Any:
    """What chance hardly finds in a few tries: the real key, bounds in their order, names that a patch may hold. Other phases try the wrong ones."""
    if ctx.operation is None or not isinstance(body, dict):
        return body
    if ctx.operation.label == "POST /session" and isinstance(body.get("key"), str):
        return {**body, "key": os.environ["CONFORMANCE_KEY"]}
    if ctx.operation.label == "POST /pools/{id}/resize" and _fits(body):
        return {**body, "min": 0, "max": 8}
    if ctx.operation.label == "POST /config/reload" and isinstance(body.get("patch"), dict):
        return {**body, "patch": {"admin": {"log_level": "INFO"}}}
    return body


def _fits(body: dict[str, Any]) -> bool:
    """Whether it fits the schema already: one that does not must stay wrong."""
    try:
        Resize.model_validate(body)
    except ValidationError:
        return False
    return True


@schemathesis.check
def problems_are_problems(ctx: CheckContext, response: Response, case: "Case[Any]") -> None:
    """Every error is an RFC 9457 problem, numbered, with its status in it; every answer has the guard's headers."""
    for name, value in HEADERS.items():
        assert response.headers.get(name.lower()) == [value], f"without {name}"
    if response.status_code < 400 or (
        response.status_code == 503 and case.operation.path.startswith("/health")
    ):
        return
    kind = response.headers["content-type"][0]
    assert kind == "application/problem+json", f"{response.status_code} as {kind}"
    body = json.loads(response.content)
    assert body["status"] == response.status_code
    assert body["instance"].startswith("urn:nebula:request:")


@schemathesis.check
def problems_echo_nothing(ctx: CheckContext, response: Response, case: "Case[Any]") -> None:
    """No text of the request stands in an error."""
    if response.status_code < 400:
        return
    told = response.content.decode(errors="replace")
    ours = json.dumps(case.operation.schema.raw_schema)
    for text in _texts([case.path_parameters, case.query, case.body]):
        telling = len(text) >= TELLING and len(set(text)) > 1 and text not in ours
        assert not (telling and text in told), "a text of the request is told back"


@schemathesis.check
def what_is_valid_is_refused_for_a_reason(ctx: CheckContext, response: Response, case: "Case[Any]") -> None:
    """A request that fits its schema is answered 400 or 422 only for what a schema cannot tell."""
    meta = case.meta
    if (
        response.status_code not in {400, 422}
        or meta is None
        or meta.generation.mode is not GenerationMode.POSITIVE
    ):
        return
    assert json.loads(response.content)["code"] in REFUSED_THOUGH_VALID


def _texts(value: Any) -> list[str]:
    """Every text in a value."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for each in value.items() for text in _texts(each)]
        case list() | tuple():
            return [text for each in value for text in _texts(each)]
        case _:
            return []
