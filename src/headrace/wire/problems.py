"""The one error shape on the wire, ARM's `{"error": {...}}`, and the exception that carries it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headrace.errors import Problem

_log = logging.getLogger(__name__)

JSON_TYPE = "application/json; charset=utf-8"


class HttpError(Exception):
    """An answer other than success: a status, the problem and extra headers."""

    def __init__(self, status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {problem.code}: {problem.message}")
        self.status = status
        self.problem = problem
        self.headers = dict(headers or {})


def http_error(
    status: int,
    code: str,
    message: str,
    *,
    target: str | None = None,
    details: tuple[Problem, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpError:
    """An `HttpError` from its parts."""
    return HttpError(status, Problem(code, message, target=target, details=details), headers)


def error_object(problem: Problem) -> dict[str, Any]:
    """ARM's error object of a problem: code and message, and target, details and innererror where there are any."""
    result: dict[str, Any] = {"code": problem.code, "message": problem.told}
    if problem.target is not None:
        result["target"] = problem.target
    if problem.details:
        result["details"] = [error_object(detail) for detail in problem.details]
    if problem.inner is not None:
        result["innererror"] = error_object(problem.inner)
    return result


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, dict(headers or {}), media_type=JSON_TYPE)


def error_response(error: HttpError) -> Response:
    """The answer that an `HttpError` stands for."""
    headers = {"x-ms-error-code": error.problem.code, **error.headers}
    return json_response({"error": error_object(error.problem)}, error.status, headers)


async def handle_http_error(_request: Request, error: Exception) -> Response:
    """Starlette's handler for `HttpError`."""
    if not isinstance(error, HttpError):
        raise error
    return error_response(error)


async def handle_unrouted(request: Request, error: Exception) -> Response:
    """Starlette's handler for paths and methods that nothing answers."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        message = f"{request.method} is not a method of this address."
        return error_response(http_error(405, "MethodNotAllowed", message, headers=error.headers))
    return error_response(
        http_error(
            error.status_code,
            "NotFound",
            "There is nothing at this address. GET /openapi.json lists what there is.",
        )
    )


async def handle_unexpected(_request: Request, error: Exception) -> Response:
    """Starlette's handler for what nobody foresaw; the log has the rest. The answer tells no inner things."""
    problem = http_error(500, "InternalServerError", "An unexpected error occurred.")
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return error_response(problem)
