"""Keys carry the type of their lease to type checkers: mypy --strict and pyright read this file, pytest runs it."""

from collections.abc import Awaitable
from typing import Any, Generic, Protocol, TypeVar, assert_type, overload

from nebula_resource.model.context import DependencyLease, ResourceContext
from nebula_resource.model.key import ResourceKey

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Session:
    """A lease."""


class Special(Session):
    """A narrower one."""


class Closing(Protocol):
    """A lease known by what it can do."""

    def close(self) -> None: ...


class Acquisition(Generic[T_co]):
    """What acquire gives."""


@overload
def acquire(key: ResourceKey[T], /) -> Acquisition[T]: ...
@overload
def acquire(key: str, /) -> Acquisition[Any]: ...
def acquire(key: str, /) -> Acquisition[Any]:
    """Acquire as a manager does."""
    return Acquisition()


def only_keys(key: ResourceKey[T], /) -> Acquisition[T]:
    """Take keys alone."""
    return Acquisition()


BY_CALL = ResourceKey("db", Session)
BY_SUBSCRIPT = ResourceKey[Session]("db")


def test_both_spellings_carry_the_type() -> None:
    """A key made either way makes acquire know its lease; a plain id makes it Any."""
    assert_type(BY_CALL, ResourceKey[Session])
    assert_type(BY_SUBSCRIPT, ResourceKey[Session])
    assert_type(acquire(BY_CALL), Acquisition[Session])
    assert_type(acquire(BY_SUBSCRIPT), Acquisition[Session])
    assert_type(only_keys(ResourceKey("db", Session)), Acquisition[Session])
    assert_type(acquire("db"), Acquisition[Any])


def test_the_subscript_takes_protocols_and_unions() -> None:
    """What is no plain class is spelt inside the brackets."""
    assert_type(acquire(ResourceKey[Closing]("db")), Acquisition[Closing])
    assert_type(acquire(ResourceKey[Session | None]("db")), Acquisition[Session | None])


def test_a_key_of_something_narrower_will_do() -> None:
    """A key is covariant, as what it gives is only read."""
    wide: ResourceKey[Session] = ResourceKey("db", Special)
    assert wide.type is Special


def test_dependencies_are_typed_by_their_keys() -> None:
    """``await context.dependency(KEY)`` is the key's type."""

    def of(context: ResourceContext) -> Awaitable[Session]:
        _ = assert_type(context.dependency("db"), DependencyLease[Any])
        return assert_type(context.dependency(BY_CALL), DependencyLease[Session])

    assert callable(of)
