"""Description: the OpenAPI document, as the API really answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from nebula_resource.admin.idempotency import IdempotentRoute
from nebula_resource.model.problems import PROBLEM_MEDIA_TYPE

__all__ = ["describe"]


def describe(app: FastAPI) -> None:
    """Correct what FastAPI writes down: problems have their own media type, and its own 422 is never sent."""
    written: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = written()
            for route in app.routes:
                if isinstance(route, IdempotentRoute) and "POST" in (route.methods or ()):
                    document["paths"][route.path]["post"].setdefault("parameters", []).append(_KEY)
            for path in document["paths"].values():
                for operation in path.values():
                    _correct(operation["responses"])
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document


_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again under the same key, a change is done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
}


def _correct(responses: dict[str, Any]) -> None:
    for status, response in list(responses.items()):
        content = response.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if schema.get("$ref", "").endswith("/HTTPValidationError"):
            del responses[status]
        elif PROBLEM_MEDIA_TYPE in content:
            response["content"] = {PROBLEM_MEDIA_TYPE: {"schema": schema}}
