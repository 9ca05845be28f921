"""ResourceConfig: validated, frozen settings of a resource, whose secrets show nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr

from nebula_resource.errors import ConfigurationError, FieldViolation
from nebula_resource.model.config_display import redacted, shown
from nebula_resource.model.config_fingerprint import fingerprint
from nebula_resource.model.config_validation import validate_config
from nebula_resource.model.secret_names import NotSecret, bare_secrets

__all__ = [
    "FieldViolation",
    "NotSecret",
    "ResourceConfig",
    "Secret",
    "fingerprint",
    "redacted",
    "validate_config",
]


class Secret(SecretStr):
    """A text that shows as ``**********`` wherever it is printed, logged, dumped or compared by eye.

    ``get_secret_value()`` is the one way to the text. Comparison takes the same time wherever two secrets differ; a
    Secret never equals a plain str.
    """

    def __init__(self, secret_value: str | SecretStr) -> None:
        value = secret_value.get_secret_value() if isinstance(secret_value, SecretStr) else secret_value
        if not isinstance(value, str):
            raise TypeError(f"a Secret holds a str, not {type(value).__name__}")
        super().__init__(value)

    def _display(self) -> str:
        return "**********"  # of an empty one too: that it is empty is nobody's business

    __hash__ = SecretStr.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and super().__eq__(other)

    def __format__(self, format_spec: str) -> str:
        return format(str(self), format_spec)


class ResourceConfig(BaseModel):
    """Base of every resource's settings: frozen, unknown keys refused, inputs hidden in errors.

    A str, bytes or URL field with a secret-looking name must be a ``Secret``, or say why it is none:
    ``token_url: Annotated[str, NotSecret("the address, not the token")]``. That is checked when the class is defined.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
    )

    @classmethod
    def __pydantic_on_complete__(cls) -> None:
        """Check the fields once their annotations could be read; pydantic calls this for each class."""
        found = bare_secrets(cls)
        if found:
            raise ConfigurationError(
                f"{cls.__name__} would show a secret: {', '.join(found)}. Annotate it as Secret (from nebula_resource),"
                ' or, if it is none, as Annotated[<its type>, NotSecret("why")]'
            )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, shown(value)
