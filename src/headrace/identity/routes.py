"""The addresses of signing in: discovery, keys and the token endpoints. Paths match in any case.

- `GET /{tenant}/v2.0/.well-known/openid-configuration`, without `/v2.0` for v1, `/adfs/.well-known/...`
- `GET /{tenant}/discovery/v2.0/keys`, `/{tenant}/discovery/keys`
- `GET /common/discovery/instance`
- `POST /{tenant}/oauth2/v2.0/token`, `/{tenant}/oauth2/token`; `{tenant}` may be `adfs`
- `GET /error?code=n`: what an AADSTS number means
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote_plus

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from headrace.clock import Clock
from headrace.identity.discovery import instance_discovery, key_set, openid_configuration
from headrace.identity.endpoint import ADFS, Attempt, TokenEndpoint, TokenRequest, Version, require_tenant
from headrace.identity.errors import KINDS, SignInError, missing_parameter
from headrace.identity.tokens import issuer_of
from headrace.ids import new_guid
from headrace.observe.audit.events import AuditEvent, Auditor, NoAudit
from headrace.observe.log_errors import Repeats
from headrace.wire.addresses import Addresses
from headrace.wire.bodies import BodyTooLargeError, read_bounded
from headrace.wire.correlation import client_request_id
from headrace.wire.problems import json_response
from headrace.wire.routing import AnyCaseRoute
from headrace.wire.targets import query_value

MOST_BODY_BYTES = 64 * 1024
_ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the sign-in addresses need."""

    endpoint: TokenEndpoint
    addresses: Addresses
    clock: Clock
    auditor: Auditor = field(default_factory=NoAudit)
    repeats: Repeats = field(default_factory=partial(Repeats, limit=20))
    behind_gateway: bool = True
    """Whether the gateway hands the requests on, and says where they come from: else clients could say anything."""

    def base(self, request: Request) -> str:
        """The base address to put into answers to this request."""
        return self.addresses.base(request.headers.get("host"))


def identity_routes(sign_in: SignIn) -> list[Route]:
    """All addresses of signing in."""

    def configuration(version: Version, named: str | None = None) -> Answer:
        async def answer(request: Request) -> Response:
            wanted = named or request.path_params["tenant"]
            authority = await sign_in.endpoint.authority()
            tenant = _tenant(lambda: require_tenant(authority, wanted, shared=True))
            return json_response(openid_configuration(sign_in.base(request), wanted.lower(), tenant, version))

        return answer

    async def keys(request: Request) -> Response:
        authority = await sign_in.endpoint.authority()
        named = request.path_params["tenant"]
        tenant = _tenant(lambda: require_tenant(authority, named, shared=True))
        return json_response(key_set(authority, issuer_of(tenant)), headers={"Cache-Control": "max-age=300"})

    async def instance(request: Request) -> Response:
        wanted = query_value(request.scope["query_string"], "authorization_endpoint")
        if not wanted:
            raise missing_parameter("authorization_endpoint")
        authority = await sign_in.endpoint.authority()
        base = sign_in.base(request)
        return json_response(instance_discovery(base, wanted, authority.tenant, sign_in.addresses))

    async def explain(request: Request) -> Response:
        code = query_value(request.scope["query_string"], "code") or ""
        kind = KINDS.get(int(code)) if code.isascii() and code.isdigit() and len(code) < 12 else None
        if kind is None:
            return PlainTextResponse("There is no such error code.\n", 404)
        return PlainTextResponse(f"AADSTS{int(code)} ({kind.error}): {kind.meaning}\n")

    plain = "/.well-known/openid-configuration"
    table: list[tuple[str, Answer]] = [
        (f"/{ADFS}{plain}", configuration("v1", ADFS)),
        (f"/{ADFS}/v2.0{plain}", configuration("v2", ADFS)),
        (f"/{{tenant}}/v2.0{plain}", configuration("v2")),
        (f"/{{tenant}}{plain}", configuration("v1")),
        ("/{tenant}/discovery/v2.0/keys", keys),
        ("/{tenant}/discovery/keys", keys),
        ("/common/discovery/instance", instance),
        ("/error", explain),
    ]
    return [
        *token_routes(sign_in),
        *(AnyCaseRoute(path, _guarded(sign_in, answer), methods=["GET"]) for path, answer in table),
    ]


def token_routes(sign_in: SignIn) -> list[Route]:
    """The token endpoints alone, for a listener that serves nothing else."""

    def token(version: Version) -> Answer:
        async def answer(request: Request) -> Response:
            if request.method != "POST":
                raise SignInError(
                    900561, f"The endpoint only accepts POST requests. Received a {request.method} request."
                )
            asked = TokenRequest(
                request.path_params["tenant"],
                version,
                await _body(request),
                _basic(request.headers.get("authorization")),
            )
            attempt = Attempt(_address(sign_in, request))
            try:
                document = await sign_in.endpoint.token(asked, attempt)
            except SignInError as error:
                _tell(sign_in, attempt, error)
                raise
            await sign_in.auditor.record(_event(attempt, 200, "", f"proof {attempt.proof}"))
            return json_response(document, headers=_NO_STORE)

        return answer

    table: list[tuple[str, Answer]] = [
        ("/{tenant}/oauth2/v2.0/token", token("v2")),
        ("/{tenant}/oauth2/token", token("v1")),
    ]
    return [AnyCaseRoute(path, _guarded(sign_in, answer), methods=_ANY_METHOD) for path, answer in table]


def _address(sign_in: SignIn, request: Request) -> str:
    """Where the client is: the gateway says so of the requests that it hands on."""
    client = request.client
    forwarded = request.headers.get("x-forwarded-for") if sign_in.behind_gateway else None
    return forwarded or (client.host if client else "")


def _tell(sign_in: SignIn, attempt: Attempt, error: SignInError) -> None:
    code = f"AADSTS{error.code}"
    kind = (attempt.address, attempt.client_id, code)
    details = sign_in.repeats.message(kind, sign_in.clock.now(), error.error)
    if details is not None:
        sign_in.auditor.tell(_event(attempt, error.status, code, details))


def _event(attempt: Attempt, status: int, code: str, details: str) -> AuditEvent:
    return AuditEvent(
        "SignIn",
        "Headrace/tokens/issue/action",
        status,
        code,
        attempt.principal_id,
        attempt.client_id,
        "",
        attempt.address,
        details=f"{details}; audience {attempt.audience[:200]}",
    )


def _guarded(sign_in: SignIn, answer: Answer) -> Answer:
    async def guarded(request: Request) -> Response:
        trace_id = new_guid()
        sent, correlation_id = _correlation(request)
        try:
            response = await answer(request)
        except SignInError as error:
            response = _refusal(sign_in, request, error, trace_id, correlation_id)
        except SQLAlchemyError:
            unreadable = SignInError(90033, "The resource store cannot be read at the moment: try again.")
            response = _refusal(sign_in, request, unreadable, trace_id, correlation_id)
        response.headers["x-ms-request-id"] = trace_id
        if sent:
            response.headers["client-request-id"] = sent
        return response

    return guarded


def _refusal(
    sign_in: SignIn, request: Request, error: SignInError, trace_id: str, correlation_id: str
) -> Response:
    headers = dict(_NO_STORE)
    if error.status == 405:
        headers["Allow"] = "POST"
    if error.status in (429, 503):
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401 and request.headers.get("authorization"):
        headers["WWW-Authenticate"] = 'Basic realm="token", charset="UTF-8"'
    document = error.document(
        trace_id=trace_id,
        correlation_id=correlation_id,
        now=sign_in.clock.now(),
        base=sign_in.base(request),
    )
    return json_response(document, error.status, headers)


def _tenant(find: Callable[[], str]) -> str:
    """The tenant; discovery has another error word for an unknown one than the token endpoint."""
    try:
        return find()
    except SignInError as error:
        raise SignInError(error.code, error.message, error="invalid_tenant") from None


def _correlation(request: Request) -> tuple[str, str]:
    """The client's own request id, to be echoed, and the correlation id: the same if it is a GUID."""
    header = request.headers.get("client-request-id") or query_value(
        request.scope["query_string"], "client-request-id"
    )
    sent = client_request_id(header.encode("utf-8", "replace") if header else None)
    return sent, sent.lower() if _GUID.fullmatch(sent) else new_guid()


async def _body(request: Request) -> bytes:
    """The body. Raises `SignInError` 90100, with 413, when it is too long."""
    try:
        return await read_bounded(request, MOST_BODY_BYTES)
    except BodyTooLargeError:
        message = f"The request body is longer than {MOST_BODY_BYTES} bytes."
        raise SignInError(90100, message, status=413) from None


def _basic(header: str | None) -> tuple[str, str] | None:
    """Client id and secret from HTTP Basic authentication; None without that."""
    scheme, _, credentials = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(credentials.strip().encode("ascii"), validate=True).decode()
    except (UnicodeEncodeError, UnicodeDecodeError, binascii.Error) as error:
        raise SignInError(90100, "The Authorization header holds no Basic credentials.") from error
    client, separator, secret = text.partition(":")
    if not separator or not client:
        raise SignInError(90100, "The Authorization header holds no Basic credentials.")
    return unquote_plus(client), unquote_plus(secret)
