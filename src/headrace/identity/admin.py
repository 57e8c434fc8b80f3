"""App registrations over HTTP, for the command line: JSON with ARM's errors and a token for ARM's audience.

The caller needs the right `Microsoft.Authorization/applications/write` on the subscription that the
installation began with. Its Owner has it, a Contributor has not: who may make secrets can act as any app.

- `GET /headrace/apps`: `{"value": [app...]}`; `GET /headrace/apps/{clientId}`: one app. An app is
  `{"name", "clientId", "principalId", "objectId", "tenantId", "enabled", "created", "secrets": [{"keyId", "name",
  "hint", "starts", "ends"}...], "certificates": [{"keyId", "name", "thumbprint", "starts", "ends"}...]}`.
- `POST /headrace/apps` `{"name", "certificate"?: PEM, "ends"?}`: 201 with the ids, `keyId`, `ends` and, unless a
  certificate came, `clientSecret`, shown this once. `displayName` is taken for `name`, too.
- `PATCH /headrace/apps/{clientId}` `{"enabled": bool}`: the app. `DELETE`: 204, its roles go with it.
- `POST /headrace/apps/{clientId}/secrets` `{"name"?, "ends"?, "replace"?: bool}`: 201 with the ids, `keyId`,
  `ends`, `clientSecret`; with `replace` all older secrets end. `DELETE .../secrets/{keyId}`: 204.
- `POST /headrace/apps/{clientId}/certificates` `{"certificate": PEM, "name"?}`: 201 with the ids, `keyId`,
  `ends`. `DELETE .../certificates/{keyId}`: 204.

`ends` is ISO 8601, UTC unless it says otherwise. Errors: 400 `InvalidRequestContent`, `InvalidCertificate`,
`CredentialLimitReached`; 404 `ResourceNotFound`; 409 `CredentialExists`; 503 `ServiceUnavailable`; 401 and 403
as ARM's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.clock import SECOND, Clock, iso
from headrace.errors import ProblemError
from headrace.identity import apps
from headrace.identity.access import Access
from headrace.identity.challenge import arm_forbidden, arm_unauthenticated
from headrace.identity.model import ARM, Caller, TokenError
from headrace.identity.routes import AnyCaseRoute
from headrace.identity.verify import TokenVerifier
from headrace.ids import new_guid
from headrace.store.database import Database, StoreError
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses
from headrace.wire.problems import HttpError, error_response, http_error, json_response

ACTION = "Microsoft.Authorization/applications/write"
MOST_BODY_BYTES = 64 * 1024
_STATUS = {"ResourceNotFound": 404, "CredentialExists": 409}
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class AppAdmin:
    """What the admin surface needs. `published` waits until the gateways have a change."""

    database: Database
    view: LiveView[Access]
    verifier: TokenVerifier
    addresses: Addresses
    clock: Clock
    published: Callable[[int], Awaitable[None]]

    def authorize(self, request: Request) -> Caller:
        """The caller. Raises `HttpError` 401 or 403."""
        access = self.view.current
        base = self.addresses.base(request.headers.get("host"))
        try:
            caller = self.verifier.verify(request.headers.get("authorization"), ARM)
        except TokenError as error:
            raise arm_unauthenticated(error, f"{base}/{access.tenant}") from error
        scope = f"/subscriptions/{access.home_subscription}" if access.home_subscription else "/"
        if not access.allows(caller.object_id, ACTION, scope):
            raise arm_forbidden(caller, ACTION, scope)
        return caller

    async def read(self, action: Callable[[Connection], Response]) -> Response:
        """Run `action` on one state of the store."""

        def run() -> Response:
            with self.database.read() as connection:
                return action(connection)

        return await asyncio.to_thread(run)

    async def write(self, action: Callable[[Connection], Response]) -> Response:
        """Run `action` as one change and answer once the gateways have it."""

        def run() -> tuple[Response, int]:
            with self.database.write() as connection:
                response = action(connection)
            self.view.refresh()
            return response, self.view.change

        response, change = await asyncio.to_thread(run)
        await self.published(change)
        return response


Handler = Callable[[AppAdmin, Request, Mapping[str, Any]], Awaitable[Response]]


def admin_routes(admin: AppAdmin) -> list[Route]:
    """The addresses of the module's docstring."""
    table: list[tuple[str, str, Handler]] = [
        ("/headrace/apps", "GET", _list),
        ("/headrace/apps", "POST", _create),
        ("/headrace/apps/{app}", "GET", _show),
        ("/headrace/apps/{app}", "PATCH", _change),
        ("/headrace/apps/{app}", "DELETE", _delete),
        ("/headrace/apps/{app}/secrets", "POST", _add_secret),
        ("/headrace/apps/{app}/secrets/{key}", "DELETE", _remove_credential),
        ("/headrace/apps/{app}/certificates", "POST", _add_certificate),
        ("/headrace/apps/{app}/certificates/{key}", "DELETE", _remove_credential),
    ]
    return [AnyCaseRoute(path, _guarded(admin, handler), methods=[method]) for path, method, handler in table]


def _guarded(admin: AppAdmin, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        try:
            try:
                await asyncio.to_thread(admin.view.refresh)
                admin.authorize(request)
                response = await handler(admin, request, await _body(request))
            except ProblemError as error:
                problem = error.problems[0]
                raise HttpError(_STATUS.get(problem.code, 400), problem) from error
        except HttpError as error:
            response = error_response(error)
        except (SQLAlchemyError, StoreError):
            busy = "The resource store cannot be used at the moment: try again."
            response = error_response(
                http_error(503, "ServiceUnavailable", busy, headers={"Retry-After": "1"})
            )
        response.headers["x-ms-request-id"] = new_guid()
        return response

    return guarded


async def _list(admin: AppAdmin, _request: Request, _body: Mapping[str, Any]) -> Response:
    tenant = admin.view.current.tenant
    return await admin.read(
        lambda connection: json_response(
            {"value": [app.document(tenant) for app in apps.list_apps(connection)]}
        )
    )


async def _show(admin: AppAdmin, request: Request, _body: Mapping[str, Any]) -> Response:
    tenant = admin.view.current.tenant
    return await admin.read(
        lambda connection: json_response(_app(connection, _app_id(request)).document(tenant))
    )


async def _create(admin: AppAdmin, _request: Request, body: Mapping[str, Any]) -> Response:
    name = _text(body, "name" if "name" in body else "displayName")
    certificate, ends = _text(body, "certificate", ""), _end(body)

    def action(connection: Connection) -> Response:
        made = apps.create_app(connection, name, admin.clock.now())
        if certificate:
            return _with_certificate(admin, connection, made.app_id, certificate, "")
        return _with_secret(admin, connection, made.app_id, "", ends, replace=False)

    return await admin.write(action)


async def _change(admin: AppAdmin, request: Request, body: Mapping[str, Any]) -> Response:
    enabled = body.get("enabled")
    if not isinstance(enabled, bool):
        raise _invalid("enabled", "enabled must be true or false.")

    def action(connection: Connection) -> Response:
        apps.set_enabled(connection, _app_id(request), enabled)
        return json_response(_app(connection, _app_id(request)).document(admin.view.current.tenant))

    return await admin.write(action)


async def _delete(admin: AppAdmin, request: Request, _body: Mapping[str, Any]) -> Response:
    def action(connection: Connection) -> Response:
        if not apps.delete_app(connection, _app_id(request)):
            raise _absent(_app_id(request))
        return Response(status_code=204)

    return await admin.write(action)


async def _add_secret(admin: AppAdmin, request: Request, body: Mapping[str, Any]) -> Response:
    name, ends, replace = _text(body, "name", ""), _end(body), body.get("replace", False)
    if not isinstance(replace, bool):
        raise _invalid("replace", "replace must be true or false.")
    return await admin.write(
        lambda connection: _with_secret(admin, connection, _app_id(request), name, ends, replace=replace)
    )


async def _add_certificate(admin: AppAdmin, request: Request, body: Mapping[str, Any]) -> Response:
    pem, name = _text(body, "certificate"), _text(body, "name", "")
    return await admin.write(
        lambda connection: _with_certificate(admin, connection, _app_id(request), pem, name)
    )


def _with_secret(
    admin: AppAdmin, connection: Connection, app_id: str, name: str, ends: int | None, *, replace: bool
) -> Response:
    made = apps.add_secret(
        connection, app_id, admin.clock.now(), display_name=name, ends=ends, replace=replace
    )
    document = _app(connection, app_id).summary(admin.view.current.tenant) | {
        "clientSecret": made.text,
        "keyId": made.key_id,
        "ends": iso(made.ends),
    }
    return json_response(document, 201, _NO_STORE)


def _with_certificate(admin: AppAdmin, connection: Connection, app_id: str, pem: str, name: str) -> Response:
    made = apps.add_certificate(connection, app_id, pem, display_name=name)
    document = _app(connection, app_id).summary(admin.view.current.tenant) | {
        "keyId": made.key_id,
        "ends": iso(made.ends),
    }
    return json_response(document, 201)


async def _remove_credential(admin: AppAdmin, request: Request, _body: Mapping[str, Any]) -> Response:
    key_id = str(request.path_params["key"])

    def action(connection: Connection) -> Response:
        if not apps.remove_credential(connection, _app_id(request), key_id):
            raise http_error(404, "ResourceNotFound", f"The app has no credential '{key_id[:80]}'.")
        return Response(status_code=204)

    return await admin.write(action)


def _app(connection: Connection, app_id: str) -> apps.App:
    found = apps.get_app(connection, app_id)
    if found is None:
        raise _absent(app_id)
    return found


def _app_id(request: Request) -> str:
    return str(request.path_params["app"])


async def _body(request: Request) -> Mapping[str, Any]:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MOST_BODY_BYTES:
            raise http_error(413, "RequestContentTooLarge", f"The body exceeds {MOST_BODY_BYTES} bytes.")
    if not content:
        return {}
    try:
        value = msgspec.json.decode(bytes(content))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _invalid("body", "The request content is not valid JSON.") from error
    if not isinstance(value, dict):
        raise _invalid("body", "The request content must be a JSON object.")
    return value


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise _invalid(name, f"{name} must be a text.")
    return value


def _end(body: Mapping[str, Any]) -> int | None:
    text = body.get("ends")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND
    except (TypeError, ValueError, OverflowError) as error:
        raise _invalid("ends", "ends must be a time in ISO 8601.") from error


def _absent(app_id: str) -> HttpError:
    return http_error(404, "ResourceNotFound", f"There is no app with the id '{app_id[:80]}'.")


def _invalid(target: str, message: str) -> HttpError:
    return http_error(400, "InvalidRequestContent", message, target=target)
