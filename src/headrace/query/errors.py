"""The query API's documented codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from headrace.errors import Problem
from headrace.identity.model import TokenError
from headrace.query.engine import BusyError, QueryFailedError, QueryTimeoutError
from headrace.wire.problems import HttpError, error_object, http_error

BAD_ARGUMENT = "BadArgumentError"
_BUSY_SECONDS = 5
_SYNTAX_PREFIX = "KQL00"
_SYNTAX_CODE = "SYN0002"
_UNRESOLVED = "SEM0100"
_KUSTO_CODES = {"KQL0104": _UNRESOLVED, "KQL0131": _UNRESOLVED, "KQL0107": "SEM0260"}
"""Kusto's codes of what people branch on: no such column, no such table, no such function."""


def bad_argument(message: str, target: str | None = None) -> HttpError:
    """400: a property of the request is wrong."""
    return _invalid(Problem("QueryValidationError", message, target=target))


def invalid_json(reason: str) -> HttpError:
    """400: the body is no JSON."""
    detail = Problem("InvalidJsonBody", f"The body is not JSON: {reason}.", target="body")
    return _invalid(Problem("QueryValidationError", "Failed parsing the query", details=(detail,)))


def _invalid(inner: Problem) -> HttpError:
    return HttpError(400, Problem(BAD_ARGUMENT, "The request had some invalid properties", inner=inner))


def token_refused(error: TokenError, authority: str) -> HttpError:
    """401 or 403: the token does not let its bearer in; 503 where trying again helps.

    `authority` is `{base}/{tenant}`, where tokens come from.
    """
    if error.kind == "pending":
        return http_error(503, "ServiceUnavailable", error.message, headers={"Retry-After": "1"})
    if error.kind == "missing":
        return http_error(
            401,
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            headers={"WWW-Authenticate": f'Bearer authorization_uri="{authority}"'},
        )
    if error.kind == "audience":
        return http_error(403, "InvalidAuthenticationTokenAudience", error.message)
    return http_error(403, "InvalidAuthenticationToken", f"The access token is invalid. {error.message}")


def workspace_not_found(name: str) -> HttpError:
    """404: there is no such workspace."""
    return HttpError(
        404, Problem("WorkspaceNotFoundError", f"The workspace '{name[:300]}' could not be found.")
    )


def resource_not_found(resource: str) -> HttpError:
    """404: there is no such group or subscription, or no workspace in it."""
    message = f"The resource {resource[:300]} was not found: no workspace lies in it."
    return HttpError(404, Problem("ResourceNotFoundError", message))


def forbidden(object_id: str) -> HttpError:
    """403: the caller may not read logs there."""
    message = "The provided credentials have insufficient access to perform the requested operation"
    inner = Problem(
        "AuthorizationFailedError", f"User '{object_id}' does not have access to read logs for this resource"
    )
    return HttpError(403, Problem("InsufficientAccessError", message, inner=inner))


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


def compile_error(problems: tuple[Problem, ...], text: str) -> dict[str, Any]:
    """The error object of a query that does not compile, nested as clients unwrap it.

    The innermost error has Kusto's code and the word that it is about, the details have ours.
    """
    first = problems[0]
    syntax = is_syntax(first)
    inner: dict[str, Any] = {
        "code": "SyntaxError" if syntax else "SemanticError",
        "message": "A recognition error occurred in the query." if syntax else "A semantic error occurred.",
        "innererror": _as_kusto(first, text, syntax),
    }
    return {
        "code": BAD_ARGUMENT,
        "message": "The request had some invalid properties",
        "innererror": inner,
        "details": [located(problem) for problem in problems],
    }


def _as_kusto(problem: Problem, text: str, syntax: bool) -> dict[str, Any]:
    code = _SYNTAX_CODE if syntax else _KUSTO_CODES.get(problem.code, problem.code)
    token = problem.span.of(text) if problem.span is not None else ""
    message = problem.message
    if code == _UNRESOLVED:
        message = f"Failed to resolve table or column expression named '{token}': {message}"
    return located(replace(problem, code=code, message=message)) | {"token": token}


def located(problem: Problem) -> dict[str, Any]:
    """The error object of a problem, whose message says where in the text it is."""
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
