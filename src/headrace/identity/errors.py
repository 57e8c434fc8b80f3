"""The errors of the sign-in endpoints: an OAuth error word, an AADSTS number, a line to search for.

Clients branch on `error` and print `error_description`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.clock import to_datetime


@dataclass(frozen=True, slots=True)
class Kind:
    """The HTTP status and `error` word that go with an AADSTS number."""

    status: int
    error: str
    meaning: str


KINDS: dict[int, Kind] = {
    50001: Kind(400, "invalid_resource", "The resource is not known in this tenant."),
    50013: Kind(401, "invalid_client", "The federated token's signature is not its issuer's."),
    50027: Kind(400, "invalid_request", "A token in the request is malformed."),
    50049: Kind(400, "invalid_instance", "The authority's host is not known."),
    50166: Kind(
        503, "temporarily_unavailable", "The keys of the federated token's issuer cannot be fetched."
    ),
    70003: Kind(400, "unsupported_grant_type", "The grant type is not supported."),
    70011: Kind(400, "invalid_scope", "The scope is malformed or does not end in /.default."),
    90002: Kind(400, "invalid_request", "There is no such tenant."),
    90033: Kind(503, "temporarily_unavailable", "The server cannot sign anyone in at the moment."),
    90055: Kind(429, "temporarily_unavailable", "Too many requests at once."),
    90100: Kind(400, "invalid_request", "A parameter is not valid."),
    90121: Kind(400, "invalid_request", "The request is empty."),
    500011: Kind(400, "invalid_resource", "The resource is not known in this tenant."),
    700016: Kind(400, "unauthorized_client", "There is no such application in this tenant."),
    700021: Kind(401, "invalid_client", "The assertion is another application's."),
    700022: Kind(400, "invalid_scope", "The scope names more than one resource."),
    700023: Kind(401, "invalid_client", "The assertion is meant for another server."),
    700024: Kind(401, "invalid_client", "The assertion is outside its time, or valid for too long."),
    700027: Kind(401, "invalid_client", "The assertion's key or signature is not the application's."),
    700211: Kind(401, "invalid_client", "The assertion's issuer is not trusted by the application."),
    700212: Kind(401, "invalid_client", "The federated token is meant for another audience."),
    700213: Kind(401, "invalid_client", "The federated token is about another subject."),
    900144: Kind(400, "invalid_request", "A parameter is missing from the body."),
    900561: Kind(405, "invalid_request", "The endpoint takes POST requests only."),
    901002: Kind(400, "invalid_request", "The parameter 'resource' is not supported here."),
    7000112: Kind(400, "unauthorized_client", "The application is disabled."),
    7000215: Kind(401, "invalid_client", "The client secret is wrong."),
    7000218: Kind(401, "invalid_client", "The request has neither client_secret nor client_assertion."),
    7000222: Kind(401, "invalid_client", "The client secret has expired."),
    9001023: Kind(400, "invalid_request", "Client credentials need the tenant's own endpoint."),
}


class SignInError(Exception):
    """An answer other than success from a sign-in endpoint; `code` is one of `KINDS`."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        error: str | None = None,
        status: int | None = None,
        retry_after: int = 1,
    ) -> None:
        super().__init__(f"AADSTS{code}: {message}")
        self.code = code
        self.retry_after = retry_after
        self.message = message
        self.status = status or KINDS[code].status
        self.error = error or KINDS[code].error

    def document(self, *, trace_id: str, correlation_id: str, now: int, base: str) -> dict[str, Any]:
        """The error's JSON. `now` is UTC microseconds, `base` the server's address."""
        timestamp = to_datetime(now).strftime("%Y-%m-%d %H:%M:%SZ")
        lines = (
            f"AADSTS{self.code}: {self.message}",
            f"Trace ID: {trace_id}",
            f"Correlation ID: {correlation_id}",
            f"Timestamp: {timestamp}",
        )
        return {
            "error": self.error,
            "error_description": "\r\n".join(lines),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"{base}/error?code={self.code}",
        }


def missing_parameter(name: str) -> SignInError:
    """A parameter that must be in the body is not."""
    return SignInError(900144, f"The request body must contain the following parameter: '{name}'.")


def quoted(text: str) -> str:
    """A client's text, made fit for one line of an answer."""
    return "".join(char if char.isprintable() else "?" for char in text[:200])
