"""The ingestion API's refusals: status, code and message of each, as Azure words them where it is known.

`Retry-After` stands on 429 and 503 only: clients repeat *every* answer that carries it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from headrace.errors import Problem
from headrace.identity.model import TokenError, TokenFault
from headrace.settings import MIB
from headrace.wire.problems import HttpError, http_error

_LONGEST_QUOTE = 200
_MOST_STREAMS = 20

_PENDING_RETRY_SECONDS = 1.0
_TOKEN_CODES: dict[TokenFault, str] = {
    "missing": "AuthenticationFailed",
    "invalid": "InvalidToken",
    "expired": "ExpiredAuthenticationToken",
    "audience": "InvalidAudience",
    "tenant": "InvalidToken",
    "principal": "InvalidToken",
    "delegated": "UnsupportedAccessTokenType",
    "pending": "InvalidToken",
}


def no_such_operation(method: str) -> HttpError:
    """404 for another method or path below `/dataCollectionRules`."""
    return http_error(
        404,
        "NotFound",
        f"There is no operation {quoted(method)} at this address. The Logs Ingestion API is "
        "POST /dataCollectionRules/{immutableId}/streams/{stream}?api-version=2023-01-01.",
    )


def missing_version() -> HttpError:
    """400 for a call without api-version."""
    return http_error(
        400,
        "MissingApiVersion",
        "The query parameter api-version is missing. Add ?api-version=2023-01-01.",
    )


def invalid_version(version: str) -> HttpError:
    """400 for an api-version that has not the form of one."""
    return http_error(
        400,
        "InvalidApiVersion",
        f"The api-version '{quoted(version)}' is invalid: it has the form YYYY-MM-DD or YYYY-MM-DD-preview.",
    )


def wire_body_too_large(limit: int, provided: int) -> HttpError:
    """413 for a body that is too long as sent."""
    return http_error(
        413,
        "ContentLengthLimitExceeded",
        f"Maximum allowed content length: {limit} bytes ({limit / MIB:g} MB). "
        f"Provided content length: {provided} bytes.",
    )


def slow_body(seconds: float) -> HttpError:
    """408 for a body that does not arrive in time."""
    return http_error(408, "TimeoutExpired", f"The request's body did not arrive within {seconds:g} seconds.")


def token_refused(error: TokenError, authority: str) -> HttpError:
    """401, or 503 where trying again helps; `authority` is the address that tokens come from."""
    if error.kind == "pending":
        return unavailable(error.message, _PENDING_RETRY_SECONDS)
    challenge = f'Bearer authorization_uri="{authority}"'
    if error.kind != "missing":
        challenge += ', error="invalid_token"'
    return http_error(401, _TOKEN_CODES[error.kind], error.message, headers={"WWW-Authenticate": challenge})


def rule_not_found(immutable_id: str) -> HttpError:
    """404 for an unknown rule."""
    return http_error(
        404,
        "NotFound",
        f"Data collection rule with immutable Id '{quoted(immutable_id)}' not found.",
    )


def access_denied(immutable_id: str, resource_id: str, tenant: str, object_id: str) -> HttpError:
    """403 for a caller without the role, in the longer of the two known forms."""
    return http_error(
        403,
        "OperationFailed",
        "The authentication token provided does not have access to ingest data for the data collection rule "
        f"with immutable Id '{immutable_id}'. PipelineAccessResult: AccessGranted: False, "
        f"IsRbacPresent: False, IsDcrDceBindingValid: , DcrArmId: {resource_id}, "
        "Message: Required authorization action was not found for tenantId "
        f"{tenant} objectId {object_id} on resourceId {resource_id} ConfigurationId: {immutable_id}..",
    )


def stream_not_found(stream: str, immutable_id: str, declared: Sequence[str]) -> HttpError:
    """400 for a stream that the rule does not have; the streams it has are told as a detail."""
    known = ", ".join(declared[:_MOST_STREAMS]) + (", ..." if len(declared) > _MOST_STREAMS else "")
    return http_error(
        400,
        "InvalidStream",
        f"The stream {quoted(stream)} was not configured in the data collection rule "
        f"with immutable Id {immutable_id}.",
        details=(Problem("ConfiguredStreams", f"The rule's streams are: {known or 'none'}."),),
    )


def wrong_content_type(given: str) -> HttpError:
    """415 for anything but JSON in UTF-8."""
    found = f"is '{quoted(given)}'" if given else "is missing"
    return http_error(
        415, "UnsupportedContentType", f"The Content-Type {found}. Send application/json, in UTF-8."
    )


def wrong_content_encoding(given: str) -> HttpError:
    """415 for any compression but gzip."""
    return http_error(
        415,
        "UnsupportedContentEncoding",
        f"The Content-Encoding '{quoted(given)}' is not supported. Send gzip, or leave the header out.",
    )


def rule_throttled(immutable_id: str, seconds: int) -> HttpError:
    """429 for a rule that has used up its minute."""
    return _retry(
        429,
        "TooManyRequests",
        f"The data collection rule with immutable Id '{immutable_id}' has reached its limit of data or "
        f"requests a minute. Try again in {seconds} seconds.",
        seconds,
    )


def journal_full(seconds: float) -> HttpError:
    """429: the pipeline lags and the journal is at its bound."""
    return _retry(
        429,
        "TooManyRequests",
        "Data comes in faster than it can be processed. Try again later.",
        seconds,
    )


def memory_full() -> HttpError:
    """429: the bodies that are under way have used up the gateway's memory."""
    return _retry(429, "TooManyRequests", "Too much data is under way. Try again in a moment.", 1.0)


def unavailable(reason: str, seconds: float) -> HttpError:
    """503 with the time after which another try makes sense."""
    return _retry(503, "ServiceUnavailable", reason, seconds)


def _retry(status: int, code: str, message: str, seconds: float) -> HttpError:
    return http_error(status, code, message, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


def quoted(text: str) -> str:
    """What the client sent, fit to stand in a message and a log: short, and nothing but printable."""
    cut = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in cut)
