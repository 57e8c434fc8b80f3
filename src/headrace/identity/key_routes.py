"""The keys that tokens are signed with, over HTTP, for the command line. Rights as for `/headrace/apps`.

- `GET /headrace/keys`: `{"value": [{"kid", "signs", "created"}...]}`, newest first.
- `POST /headrace/keys` `{"revoke"?: bool}`: 201 with the list. A new key signs from now on; the others go on verifying
  until `identity.key_overlap_hours` have passed, or end at once with `revoke`: all tokens with them.
- `DELETE /headrace/keys/{kid}`: 204; the tokens that it signed end at once. The key that signs cannot go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.identity import keys
from headrace.identity.admin import ACTION
from headrace.identity.surface import Admin, invalid
from headrace.wire.problems import http_error, json_response


def key_routes(admin: Admin) -> list[Route]:
    """The addresses of the module's docstring."""
    return [
        admin.route("/headrace/keys", "GET", _list, ACTION),
        admin.route("/headrace/keys", "POST", _rotate, ACTION),
        admin.route("/headrace/keys/{kid}", "DELETE", _drop, ACTION),
    ]


async def _list(admin: Admin, _request: Request, _body: Mapping[str, Any]) -> Response:
    return await admin.read(lambda connection: json_response({"value": keys.list_keys(connection)}))


async def _rotate(admin: Admin, _request: Request, body: Mapping[str, Any]) -> Response:
    revoke = body.get("revoke", False)
    if not isinstance(revoke, bool):
        raise invalid("revoke", "revoke must be true or false.")

    def action(connection: Connection) -> Response:
        made = keys.create_signing_key(connection, admin.clock.now())
        if revoke:
            for key in keys.list_keys(connection):
                if key["kid"] != made:
                    keys.delete_signing_key(connection, key["kid"])
        return json_response({"value": keys.list_keys(connection)}, 201)

    return await admin.write(action)


async def _drop(admin: Admin, request: Request, _body: Mapping[str, Any]) -> Response:
    kid = str(request.path_params["kid"])

    def action(connection: Connection) -> Response:
        if keys.delete_signing_key(connection, kid):
            return Response(status_code=204)
        signs = any(key["kid"] == kid and key["signs"] for key in keys.list_keys(connection))
        if signs:
            raise http_error(409, "Conflict", "This key signs: let another take over first.")
        raise http_error(404, "ResourceNotFound", f"There is no key '{kid[:80]}'.")

    return await admin.write(action)
