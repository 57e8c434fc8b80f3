"""The managed identity: tokens for apps on this machine without any secret, by a loopback port of its own.

- `GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=...` with `Metadata: true`: as on a machine
- `GET /msi/token?api-version=2019-08-01&resource=...` with `X-IDENTITY-HEADER`: as in an app service

Whoever can reach the port is the identity, so it is off unless asked for and answers this machine alone. Requests
that a browser or a proxy made for somebody else are refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.clock import SECOND, Clock
from headrace.identity.endpoint import TokenEndpoint
from headrace.identity.errors import SignInError
from headrace.observe.audit.events import AuditEvent, Auditor, NoAudit
from headrace.wire.problems import json_response

NAME = "headrace-managed-identity"
"""The app that the tokens are for."""

_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", "169.254.169.254"})
_IDS = ("client_id", "object_id", "msi_res_id", "mi_res_id", "principal_id")


class ManagedError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """The identity's parts. `header` is the secret of the App Service form."""

    endpoint: TokenEndpoint
    clock: Clock
    header: str
    auditor: Auditor = field(default_factory=NoAudit)
    name: str = NAME

    async def token(self, request: Request, *, versions: str) -> dict[str, Any]:
        """What both forms share: the token and the claims beside it, all of them texts. Raises `ManagedError`."""
        query = request.query_params
        if not query.get("api-version", "") >= versions:
            raise ManagedError(
                400, "invalid_request", f"The api-version is missing or older than {versions}."
            )
        resource = query.get("resource", "")
        if not resource or len(resource) > 2048:
            raise ManagedError(400, "invalid_request", "The parameter 'resource' is missing or too long.")
        authority = await self.endpoint.authority()
        app = next((one for one in authority.registrations.values() if one.display_name == self.name), None)
        asked = next((query[name].lower() for name in _IDS if query.get(name)), None)
        if app is None or not app.enabled or asked not in (None, app.app_id, app.principal_id):
            raise ManagedError(400, "invalid_request", "Identity not found")
        try:
            answer = await self.endpoint.grant(authority, app, resource, "2")
        except SignInError as error:
            if error.code != 500011:
                raise ManagedError(500, "unknown", error.message) from error
            raise ManagedError(400, "invalid_resource", error.message) from error
        now = self.clock.now() // SECOND
        await self.auditor.record(
            AuditEvent(
                "SignIn",
                "Headrace/tokens/issue/action",
                200,
                principal=app.principal_id,
                client=app.app_id,
                address=request.client.host if request.client else "",
                details=f"managed identity; audience {resource[:200]}",
            )
        )
        return {
            "access_token": answer["access_token"],
            "client_id": app.app_id,
            "expires_in": str(answer["expires_in"]),
            "expires_on": str(now + int(answer["expires_in"])),
            "not_before": str(now),
            "resource": resource,
            "token_type": "Bearer",
        }


def managed_routes(identity: ManagedIdentity) -> list[Route]:
    """The addresses of the module's docstring; every other path is answered as the original does."""

    async def machine(request: Request) -> Response:
        if request.headers.get("metadata", "").lower() != "true":
            raise ManagedError(400, "bad_request_102", "Required metadata header not specified")
        return json_response({**await identity.token(request, versions="2018-02-01"), "refresh_token": ""})

    async def service(request: Request) -> Response:
        given = request.headers.get("x-identity-header", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), identity.header.encode()):
            raise ManagedError(
                401, "unauthorized_client", "The header X-IDENTITY-HEADER is missing or wrong."
            )
        return json_response(await identity.token(request, versions="2019-08-01"))

    async def nowhere(request: Request) -> Response:
        raise ManagedError(401, "unknown_source", f"Unknown Source {request.url.path[:200]}")

    return [
        Route("/metadata/identity/oauth2/token", _guarded(machine), methods=["GET"]),
        Route("/msi/token", _guarded(service), methods=["GET"]),
        Route("/{path:path}", _guarded(nowhere), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]


def _guarded(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def guarded(request: Request) -> Response:
        try:
            _refuse_detours(request)
            response: Response = await answer(request)
        except ManagedError as error:
            document = {"error": error.error, "error_description": error.message}
            response = json_response(document, error.status)
        response.headers["Cache-Control"] = "no-store"
        return response

    return guarded


def _refuse_detours(request: Request) -> None:
    if request.headers.get("x-forwarded-for") is not None or request.headers.get("forwarded") is not None:
        raise ManagedError(400, "invalid_request", "Requests by way of a proxy are not answered.")
    if _host(request) not in _HOSTS or request.headers.get("origin") is not None:
        raise ManagedError(
            400, "invalid_request", "Requests are answered for this machine's own names alone."
        )


def _host(request: Request) -> str:
    """The name in the Host header as it was sent: a page's own name, whatever address it was made to mean.

    `request.url` would put this server's address in place of a name with, say, a brace.
    """
    sent = request.headers.get("host", "").lower()
    return sent[1:].partition("]")[0] if sent.startswith("[") else sent.partition(":")[0]
