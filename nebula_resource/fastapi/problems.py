"""Problem responses: a `Problem` as Starlette sends it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from nebula_resource.model.problems import PROBLEM_MEDIA_TYPE, Problem

__all__ = ["ProblemResponse", "problem_response"]


class ProblemResponse(JSONResponse):
    """A JSON object of RFC 9457."""

    media_type = PROBLEM_MEDIA_TYPE


def problem_response(problem: Problem, *, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """The response to a problem; ``headers`` are added to its own (``Retry-After``) and win over them."""
    return ProblemResponse(
        problem.body(), status_code=problem.status, headers={**problem.headers(), **(headers or {})}
    )
