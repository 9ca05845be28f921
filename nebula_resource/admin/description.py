"""Description: the OpenAPI document, as the API really answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from nebula_resource.admin.auth.authority import CSRF_HEADER
from nebula_resource.admin.auth.needs import needs_of
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
                if isinstance(route, APIRoute) and route.include_in_schema:
                    for method in route.methods or ():
                        _complete(document["paths"][route.path][method.lower()], route, method)
            document["components"]["securitySchemes"] = _SCHEMES
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document


_SCHEMES: dict[str, Any] = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key: nbk_<id>_<secret>."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "nebula_session",
        "description": f"What POST /session sets (over TLS __Host-nebula); changes need {CSRF_HEADER} too.",
    },
}

_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again under the same key, a change is done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
}


def _complete(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    """What FastAPI does not know of one operation: who may call it, the keys of repetition, the real errors."""
    (needs,) = needs_of(route)
    shown: list[dict[str, list[str]]] = [{"key": []}, {"session": []}]
    if needs.role is None:
        shown.insert(0, {})
    else:
        unbound = ", not bound to a tenant" if needs.unbound else ""
        told = operation.get("description", "")
        operation["description"] = f"{told}\n\nRole: {needs.role.label}{unbound}.".lstrip()
    operation["security"] = shown
    if isinstance(route, IdempotentRoute) and method == "POST":
        operation.setdefault("parameters", []).append(_KEY)
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "if-match":
            parameter["required"] = True  # 428 without, where FastAPI would say 422
            parameter["schema"] = {"type": "string", "maxLength": 256}
    _correct(operation["responses"])


def _correct(responses: dict[str, Any]) -> None:
    for status, response in list(responses.items()):
        content = response.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if schema.get("$ref", "").endswith("/HTTPValidationError"):
            del responses[status]
        elif PROBLEM_MEDIA_TYPE in content:
            response["content"] = {PROBLEM_MEDIA_TYPE: {"schema": schema}}
