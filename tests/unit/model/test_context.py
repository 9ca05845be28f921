"""Contexts: frozen, cheap copies, ids from the scope, nothing of credentials shown."""

import json
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any

import pytest

from nebula_resource._aio import CancellationToken
from nebula_resource.errors import ConfigurationError
from nebula_resource.model.context import Cancellation, DependencyLease, ResourceContext
from nebula_resource.model.credentials import StaticCredentials
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.scope import Scope

W1 = Scope.workflow("w1", tenant="acme")
ACTION = Scope.action("a1", execution="e1", workflow="w1", user="u7", tenant="acme")


def test_the_ids_are_those_of_the_scope() -> None:
    """Flat access; a context without a scope is GLOBAL's."""
    context = ResourceContext(ACTION)
    ids = (
        context.tenant_id,
        context.user_id,
        context.workflow_id,
        context.execution_id,
        context.action_id,
    )
    assert ids == ("acme", "u7", "w1", "e1", "a1")
    assert ResourceContext().scope == Scope.GLOBAL
    assert ResourceContext().tenant_id is None


def test_copies_change_one_thing() -> None:
    """Each with_* returns a context that differs in that alone; the first is untouched."""
    token, credentials = CancellationToken(), StaticCredentials()
    first = ResourceContext(W1, metadata={"trace": "1", "user": "x"})
    full = (
        first.with_scope(ACTION)
        .with_deadline(3.0)
        .with_cancellation(token)
        .with_metadata({"user": "y"}, attempt=2)
        .with_credentials(credentials)
    )
    assert (full.scope, full.deadline, full.cancellation, full.credentials) == (
        ACTION,
        3.0,
        token,
        credentials,
    )
    assert dict(full.metadata) == {"trace": "1", "user": "y", "attempt": 2}
    assert first == ResourceContext(W1, metadata={"trace": "1", "user": "x"})
    undone = (
        full.with_scope(W1)
        .with_deadline(None)
        .with_cancellation(None)
        .with_metadata({"user": "x"})
        .with_credentials(None)
    )
    assert dict(undone.metadata) == {"trace": "1", "user": "x", "attempt": 2}
    assert (undone.deadline, undone.cancellation, undone.credentials) == (None, None, None)


def test_a_context_cannot_be_changed() -> None:
    """Neither its fields, nor its metadata, nor through the mapping it was made of."""
    given = {"trace": "1"}
    context = ResourceContext(W1, metadata=given)
    given["trace"] = "2"
    assert context.metadata["trace"] == "1"
    with pytest.raises(TypeError):
        context.metadata["trace"] = "3"  # type: ignore[index]  # the point of the test
    for name in ("scope", "anything"):
        with pytest.raises(AttributeError, match="with_"):
            setattr(context, name, Scope.GLOBAL)
        with pytest.raises(AttributeError, match="with_"):
            delattr(context, name)
    with pytest.raises(TypeError):
        ResourceContext().metadata["x"] = 1  # type: ignore[index]  # the shared empty one must not fill


def test_contexts_compare_by_value() -> None:
    """Equal fields make equal contexts with equal hashes."""
    assert ResourceContext(W1, deadline=1.0) == ResourceContext(W1, deadline=1.0)
    assert hash(ResourceContext(W1, deadline=1.0)) == hash(ResourceContext(W1, deadline=1.0))
    assert ResourceContext(W1) != ResourceContext(W1, deadline=1.0)
    assert ResourceContext(W1) != ResourceContext(W1, credentials=StaticCredentials())
    assert ResourceContext(W1) != W1


def test_the_repr_tells_that_there_are_credentials_and_no_value() -> None:
    """Scope, deadline, whether it can be cancelled, names of metadata; no value of anything."""
    token = CancellationToken()
    context = ResourceContext(
        W1,
        deadline=12.5,
        cancellation=token,
        metadata={"authorization": "Bearer hunter2"},
        credentials=StaticCredentials({"db.password": "hunter2"}),
    )
    assert repr(context) == (
        "<ResourceContext tenant:acme/workflow:w1, deadline=12.500, cancellable, "
        "metadata: authorization, with credentials>"
    )
    token.cancel()
    assert "cancelled" in repr(context)
    assert repr(ResourceContext()) == "<ResourceContext global>"
    assert str(context) == repr(context)


def test_what_another_process_can_use_survives_json() -> None:
    """Scope and metadata go out and come back; what lives in this process stays."""
    context = ResourceContext(W1, metadata={"trace": "1", "attempt": 2})
    assert ResourceContext.from_json(json.loads(json.dumps(context.to_json()))) == context
    here = context.with_deadline(3.0).with_credentials(StaticCredentials({"a": "hunter2"}))
    assert here.to_json() == context.to_json()
    assert ResourceContext.from_json({"scope": "global"}) == ResourceContext()


def test_a_cancellation_token_is_a_cancellation() -> None:
    """The token of _aio fits the port, by type and by behaviour."""
    token: Cancellation = CancellationToken()
    heard: list[int] = []
    unsubscribe: Callable[[], None] = token.subscribe(lambda: heard.append(1))
    unsubscribe()
    assert not token.cancelled
    assert heard == []


class Lease:
    """A dependency that is there at once."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.trace: list[str] = []

    def __await__(self) -> Generator[Any, Any, str]:
        self.trace.append("kept")
        return self.id.upper()
        yield  # a generator, as __await__ must be

    async def __aenter__(self) -> str:
        self.trace.append("taken")
        return self.id.upper()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.trace.append("given back")


class Source:
    """Gives leases and remembers them."""

    def __init__(self) -> None:
        self.given: list[Lease] = []

    def acquire(self, id: str, /) -> DependencyLease[Any]:
        self.given.append(Lease(id))
        return self.given[-1]


async def test_a_dependency_is_awaited_or_entered() -> None:
    """Awaited it is kept; as a block it is given back; both come from the context's source, copies included."""
    source = Source()
    context = ResourceContext(W1).with_dependencies(source).with_deadline(1.0)
    db: str = await context.dependency(ResourceKey("db", str))
    async with context.dependency("cache") as cache:
        assert cache == "CACHE"
    assert db == "DB"
    assert [(lease.id, lease.trace) for lease in source.given] == [
        ("db", ["kept"]),
        ("cache", ["taken", "given back"]),
    ]


def test_without_a_manager_there_are_no_dependencies() -> None:
    """A bare pool's context says what to do instead."""
    with pytest.raises(ConfigurationError, match="register the resource with a Manager") as refused:
        _ = ResourceContext().dependency("db")
    assert refused.value.resource_id == "db"
