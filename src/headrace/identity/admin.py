"""App registrations over HTTP, for the command line: JSON with ARM's errors and a token for ARM's audience.

The caller needs the right `Microsoft.Authorization/applications/write` on the subscription that the
installation began with. Its Owner has it, a Contributor has not: who may make secrets can act as any app.

- `GET /headrace/apps`: `{"value": [app...]}`; `GET /headrace/apps/{clientId}`: one app. An app is
  `{"name", "clientId", "principalId", "objectId", "tenantId", "enabled", "created", "secrets": [{"keyId", "name",
  "hint", "starts", "ends"}...], "certificates": [{"keyId", "name", "thumbprint", "starts", "ends"}...],
  "federatedCredentials": [{"keyId", "name", "issuer", "subject", "audiences"}...]}`.
- `POST /headrace/apps` `{"name", "certificate"?: PEM, "ends"?}`: 201 with the ids, `keyId`, `ends` and, unless a
  certificate came, `clientSecret`, shown this once. `displayName` is taken for `name`, too.
- `PATCH /headrace/apps/{clientId}` `{"enabled": bool}`: the app. `DELETE`: 204, its roles go with it.
- `POST /headrace/apps/{clientId}/secrets` `{"name"?, "ends"?, "replace"?: bool}`: 201 with the ids, `keyId`,
  `ends`, `clientSecret`; with `replace` all older secrets end. `DELETE .../secrets/{keyId}`: 204.
- `POST /headrace/apps/{clientId}/certificates` `{"certificate": PEM, "name"?}`: 201 with the ids, `keyId`,
  `ends`. `DELETE .../certificates/{keyId}`: 204.
- `POST /headrace/apps/{clientId}/federatedCredentials` `{"issuer", "subject", "name"?, "audiences"?: [one]}`: 201 with
  the credential. `DELETE .../federatedCredentials/{keyId}`: 204.

`ends` is ISO 8601, UTC unless it says otherwise. Errors: 400 `InvalidRequestContent`, `InvalidCertificate`,
`CredentialLimitReached`; 404 `ResourceNotFound`; 409 `CredentialExists`; 503 `ServiceUnavailable`; 401 and 403
as ARM's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.clock import from_iso, iso
from headrace.identity import apps
from headrace.identity.federation import DEFAULT_AUDIENCE, add_federated
from headrace.identity.surface import Admin, Handler, invalid, read_text
from headrace.wire.problems import HttpError, http_error, json_response

ACTION = "Microsoft.Authorization/applications/write"
_NO_STORE = {"Cache-Control": "no-store"}


def admin_routes(admin: Admin) -> list[Route]:
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
        ("/headrace/apps/{app}/federatedCredentials", "POST", _add_federated),
        ("/headrace/apps/{app}/federatedCredentials/{key}", "DELETE", _remove_credential),
    ]
    return [admin.route(path, method, handler, ACTION) for path, method, handler in table]


async def _list(admin: Admin, _request: Request, _body: Mapping[str, Any]) -> Response:
    tenant = admin.view.current.tenant
    return await admin.read(
        lambda connection: json_response(
            {"value": [app.document(tenant) for app in apps.list_apps(connection)]}
        )
    )


async def _show(admin: Admin, request: Request, _body: Mapping[str, Any]) -> Response:
    tenant = admin.view.current.tenant
    return await admin.read(
        lambda connection: json_response(_app(connection, _app_id(request)).document(tenant))
    )


async def _create(admin: Admin, _request: Request, body: Mapping[str, Any]) -> Response:
    name = read_text(body, "name" if "name" in body else "displayName")
    certificate, ends = read_text(body, "certificate", ""), _end(body)

    def action(connection: Connection) -> Response:
        made = apps.create_app(connection, name, admin.clock.now())
        if certificate:
            return _with_certificate(admin, connection, made.app_id, certificate, "")
        return _with_secret(admin, connection, made.app_id, "", ends, replace=False)

    return await admin.write(action)


async def _change(admin: Admin, request: Request, body: Mapping[str, Any]) -> Response:
    enabled = body.get("enabled")
    if not isinstance(enabled, bool):
        raise invalid("enabled", "enabled must be true or false.")

    def action(connection: Connection) -> Response:
        apps.set_enabled(connection, _app_id(request), enabled)
        return json_response(_app(connection, _app_id(request)).document(admin.view.current.tenant))

    return await admin.write(action)


async def _delete(admin: Admin, request: Request, _body: Mapping[str, Any]) -> Response:
    def action(connection: Connection) -> Response:
        if not apps.delete_app(connection, _app_id(request)):
            raise _absent(_app_id(request))
        return Response(status_code=204)

    return await admin.write(action)


async def _add_secret(admin: Admin, request: Request, body: Mapping[str, Any]) -> Response:
    name, ends, replace = read_text(body, "name", ""), _end(body), body.get("replace", False)
    if not isinstance(replace, bool):
        raise invalid("replace", "replace must be true or false.")
    return await admin.write(
        lambda connection: _with_secret(admin, connection, _app_id(request), name, ends, replace=replace)
    )


async def _add_certificate(admin: Admin, request: Request, body: Mapping[str, Any]) -> Response:
    pem, name = read_text(body, "certificate"), read_text(body, "name", "")
    return await admin.write(
        lambda connection: _with_certificate(admin, connection, _app_id(request), pem, name)
    )


async def _add_federated(admin: Admin, request: Request, body: Mapping[str, Any]) -> Response:
    issuer, subject = read_text(body, "issuer"), read_text(body, "subject")
    audiences = body.get("audiences", [DEFAULT_AUDIENCE])
    if not isinstance(audiences, list) or len(audiences) != 1 or not isinstance(audiences[0], str):
        raise invalid("audiences", "audiences is a list of one text.")
    name = read_text(body, "name", "") or subject[:120]

    def action(connection: Connection) -> Response:
        made = add_federated(
            connection,
            _app_id(request),
            name=name,
            issuer=issuer,
            subject=subject,
            audience=audiences[0],
            now=admin.clock.now(),
        )
        return json_response(made.document(), 201)

    return await admin.write(action)


def _with_secret(
    admin: Admin, connection: Connection, app_id: str, name: str, ends: int | None, *, replace: bool
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


def _with_certificate(admin: Admin, connection: Connection, app_id: str, pem: str, name: str) -> Response:
    made = apps.add_certificate(connection, app_id, pem, display_name=name)
    document = _app(connection, app_id).summary(admin.view.current.tenant) | {
        "keyId": made.key_id,
        "ends": iso(made.ends),
    }
    return json_response(document, 201)


async def _remove_credential(admin: Admin, request: Request, _body: Mapping[str, Any]) -> Response:
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


def _end(body: Mapping[str, Any]) -> int | None:
    text = body.get("ends")
    if text is None:
        return None
    try:
        return from_iso(text)
    except (TypeError, ValueError) as error:
        raise invalid("ends", "ends must be a time in ISO 8601.") from error


def _absent(app_id: str) -> HttpError:
    return http_error(404, "ResourceNotFound", f"There is no app with the id '{app_id[:80]}'.")
