"""The query API's documented codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headrace.errors import Problem
from headrace.identity.model import TokenError
from headrace.query.engine import BusyError, QueryFailedError, QueryTimeoutError
from headrace.wire.problems import HttpError, error_object, http_error

BAD_ARGUMENT = "BadArgumentError"
_BUSY_SECONDS = 5
_SYNTAX_PREFIX = "KQL00"


def bad_argument(message: str, target: str | None = None) -> HttpError:
    """400: a property of the request is wrong."""
    detail = Problem("QueryValidationError", message, target=target)
    return HttpError(400, Problem(BAD_ARGUMENT, "The request had some invalid properties", details=(detail,)))


def token_refused(error: TokenError) -> HttpError:
    """401 or 403: the token does not let its bearer in; 503 where trying again helps."""
    if error.kind == "pending":
        return http_error(503, "ServiceUnavailable", error.message, headers={"Retry-After": "1"})
    if error.kind == "missing":
        return http_error(
            401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
        )
    if error.kind == "audience":
        return http_error(403, "InvalidAuthenticationTokenAudience", error.message)
    return http_error(403, "InvalidAuthenticationToken", f"The access token is invalid. {error.message}")


def workspace_not_found(name: str) -> HttpError:
    """404: there is no such workspace."""
    return HttpError(
        404, Problem("WorkspaceNotFoundError", f"The workspace '{name[:100]}' could not be found")
    )


def forbidden(object_id: str) -> HttpError:
    """403: the caller may not read logs there."""
    message = "The provided credentials have insufficient access to perform the requested operation"
    detail = Problem(
        "AuthorizationFailedError", f"User '{object_id}' does not have access to read logs for this resource"
    )
    return HttpError(403, Problem("InsufficientAccessError", message, details=(detail,)))


@contextmanager
def failures_told(wait: int) -> Iterator[None]:
    """What the engine raises in the block as `HttpError`: 504 after `wait` seconds, 429, 500; not `KqlError`."""
    try:
        yield
    except QueryTimeoutError:
        message = f"The query did not end within {wait} seconds and was stopped."
        raise HttpError(504, Problem("GatewayTimeout", message)) from None
    except BusyError:
        hint = f"Try again in {_BUSY_SECONDS} s."
        problem = Problem("ThrottledError", "Too many queries are running or waiting.", hint=hint)
        raise HttpError(429, problem, {"Retry-After": str(_BUSY_SECONDS)}) from None
    except QueryFailedError:
        raise http_error(500, "InternalServerError", "The query failed in the engine.") from None


def is_syntax(problem: Problem) -> bool:
    """Whether a problem is one of the text's syntax, and not of its meaning."""
    return problem.code.startswith(_SYNTAX_PREFIX)


def compile_error(problems: tuple[Problem, ...]) -> dict[str, Any]:
    """The error object of a query that does not compile, nested as clients unwrap it."""
    first = problems[0]
    syntax = is_syntax(first)
    inner: dict[str, Any] = {
        "code": "SyntaxError" if syntax else "SemanticError",
        "message": "A recognition error occurred in the query." if syntax else "A semantic error occurred.",
        "innererror": _located(first),
    }
    return {
        "code": BAD_ARGUMENT,
        "message": "The request had some invalid properties",
        "innererror": inner,
        "details": [_located(problem) for problem in problems],
    }


def _located(problem: Problem) -> dict[str, Any]:
    result = error_object(problem)
    if problem.span is not None:
        place = f"Error at line {problem.span.line}, position {problem.span.column}: "
        result["message"] = place + result["message"]
        result |= {"line": problem.span.line, "pos": problem.span.column, "length": problem.span.length}
    return result


def partial_error(problem: Problem) -> dict[str, Any]:
    """The error object that goes beside the tables of a partial answer."""
    return {
        "code": "PartialError",
        "message": "There were some errors when processing your query.",
        "details": [
            {
                "code": "EngineError",
                "message": "Something went wrong processing your query on the server.",
                "innererror": {
                    "code": problem.code,
                    "message": problem.message,
                    "severity": 2,
                    "severityName": "Error",
                },
            }
        ],
    }
