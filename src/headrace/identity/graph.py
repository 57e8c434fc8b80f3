"""The few calls of Microsoft Graph that role commands make: who is behind a name or an object id. Read-only.

Paths begin with `/v1.0` or `/beta`. A caller may look itself up; one who may see role assignments anywhere may
look up everyone. Secrets and certificates are never part of an answer.

- `GET /servicePrincipals?$filter=...`, `GET /servicePrincipals/{object id}`, `GET /servicePrincipals(appId='...')`
- `GET /applications?$filter=...`, `GET /applications/{object id}`, `GET /applications(appId='...')`
- `GET /users`, `GET /groups`: there are none
- `POST /directoryObjects/getByIds` `{"ids": [...], "types"?: [...]}`
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.clock import iso
from headrace.identity.access import Access
from headrace.identity.challenge import arm_unauthenticated
from headrace.identity.model import GRAPH, TokenError
from headrace.identity.store import app, principal
from headrace.identity.verify import TokenVerifier
from headrace.store.database import Database, StoreError
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses
from headrace.wire.bodies import BodyTooLargeError, read_bounded
from headrace.wire.problems import HttpError, error_response, http_error, json_response
from headrace.wire.routing import AnyCaseRoute

_SEES_ALL = "Microsoft.Authorization/roleAssignments/read"
MOST_IDS = 1000
MOST_BODY_BYTES = 128 * 1024
_PRINCIPAL = "#microsoft.graph.servicePrincipal"
_FILTER = re.compile(
    r"\s*(?:servicePrincipalNames/any\(\s*(?P<v>\w+)\s*:\s*(?P=v)\s+eq\s+'(?P<names>(?:[^']|'')*)'\s*\)"
    r"|(?P<field>appId|id|displayName)\s+eq\s+'(?P<value>(?:[^']|'')*)'"
    r"|startswith\(\s*(?P<part>displayName)\s*,\s*'(?P<start>(?:[^']|'')*)'\s*\))\s*",
    re.IGNORECASE,
)
_BY_APP = re.compile(r"appId='([^']{1,100})'", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Graph:
    """What the directory's addresses need."""

    database: Database
    view: LiveView[Access]
    verifier: TokenVerifier
    addresses: Addresses


@dataclass(frozen=True, slots=True)
class Entry:
    """An app registration with its service principal, by all its names. `created` is UTC microseconds."""

    app_id: str
    object_id: str
    principal_id: str
    name: str
    enabled: bool
    created: int
    tenant: str

    def principal(self) -> dict[str, Any]:
        """As `servicePrincipal`."""
        return {
            "id": self.principal_id,
            "appId": self.app_id,
            "displayName": self.name,
            "appDisplayName": self.name,
            "accountEnabled": self.enabled,
            "appOwnerOrganizationId": self.tenant,
            "servicePrincipalNames": [self.app_id],
            "servicePrincipalType": "Application",
            "createdDateTime": iso(self.created),
        }

    def application(self) -> dict[str, Any]:
        """As `application`."""
        return {
            "id": self.object_id,
            "appId": self.app_id,
            "displayName": self.name,
            "identifierUris": [],
            "signInAudience": "AzureADMyOrg",
            "createdDateTime": iso(self.created),
        }


Shown = Callable[[Entry], dict[str, Any]]


def graph_routes(graph: Graph) -> list[Route]:
    """The addresses of the module's docstring."""
    table = [
        ("/servicePrincipals", "GET", _listing(Entry.principal)),
        ("/servicePrincipals({by})", "GET", _by_app(Entry.principal)),
        ("/servicePrincipals/{id}", "GET", _by_id(Entry.principal)),
        ("/applications", "GET", _listing(Entry.application)),
        ("/applications({by})", "GET", _by_app(Entry.application)),
        ("/applications/{id}", "GET", _by_id(Entry.application)),
        ("/users", "GET", _nobody),
        ("/groups", "GET", _nobody),
        ("/directoryObjects/getByIds", "POST", _by_ids),
        ("/directoryObjects/microsoft.graph.getByIds", "POST", _by_ids),
    ]
    return [
        AnyCaseRoute(f"/{version}{path}", _guarded(graph, handler), methods=[method])
        for version in ("v1.0", "beta")
        for path, method, handler in table
    ]


Handler = Callable[[Request, Sequence[Entry], Mapping[str, Any]], dict[str, Any]]


def _guarded(graph: Graph, handler: Handler) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        try:
            entries = await asyncio.to_thread(_visible, graph, request)
            body = await _body(request) if request.method == "POST" else {}
            return json_response(handler(request, entries, body))
        except HttpError as error:
            return error_response(error)
        except (SQLAlchemyError, StoreError):
            busy = "The directory cannot be read at the moment: try again."
            return error_response(http_error(503, "serviceNotAvailable", busy, headers={"Retry-After": "1"}))

    return answer


def _visible(graph: Graph, request: Request) -> list[Entry]:
    """Everyone whom the caller may look up. Raises `HttpError` 401."""
    graph.view.refresh()
    access = graph.view.current
    try:
        caller = graph.verifier.verify(request.headers.get("authorization"), GRAPH)
    except TokenError as error:
        authority = graph.addresses.authority(request.headers.get("host"), access.tenant)
        raise arm_unauthenticated(error, authority) from None
    with graph.database.read() as connection:
        entries = _entries(connection, access.tenant)
    if access.allows_somewhere(caller.object_id, _SEES_ALL, groups=caller.groups):
        return entries
    return [entry for entry in entries if entry.principal_id == caller.object_id]


def _entries(connection: Connection, tenant: str) -> list[Entry]:
    columns = (
        app.c.app_id, app.c.object_id, app.c.principal_id, app.c.display_name, principal.c.enabled, app.c.created,
    )  # fmt: skip
    query = select(*columns).join(principal, principal.c.object_id == app.c.principal_id)
    return [Entry(*row, tenant) for row in connection.execute(query.order_by(app.c.app_id))]


def _listing(shown: Shown) -> Handler:
    def answer(request: Request, entries: Sequence[Entry], _body: Mapping[str, Any]) -> dict[str, Any]:
        text = request.query_params.get("$filter")
        chosen = entries if text is None else [e for e in entries if _matches(e, shown(e), text)]
        return {"value": [shown(entry) for entry in chosen]}

    return answer


def _matches(entry: Entry, document: Mapping[str, Any], text: str) -> bool:
    term = _FILTER.fullmatch(text[:1000])
    if term is None:
        raise http_error(
            400,
            "Request_UnsupportedQuery",
            "The filter is not supported: use appId, id or displayName eq '...', startswith(displayName,'...') or "
            "servicePrincipalNames/any(c:c eq '...').",
            target="$filter",
        )
    wanted = (term["names"] or term["value"] or term["start"] or "").replace("''", "'").lower()
    if term["names"] is not None:
        return wanted == entry.app_id
    if term["part"] is not None:
        return entry.name.lower().startswith(wanted)
    names = {"appid": "appId", "id": "id", "displayname": "displayName"}
    return str(document[names[term["field"].lower()]]).lower() == wanted


def _by_app(shown: Shown) -> Handler:
    def answer(request: Request, entries: Sequence[Entry], _body: Mapping[str, Any]) -> dict[str, Any]:
        named = _BY_APP.fullmatch(request.path_params["by"])
        app_id = named[1].lower() if named else ""
        return _one(shown, [entry for entry in entries if entry.app_id == app_id], app_id)

    return answer


def _by_id(shown: Shown) -> Handler:
    def answer(request: Request, entries: Sequence[Entry], _body: Mapping[str, Any]) -> dict[str, Any]:
        wanted = str(request.path_params["id"]).lower()
        return _one(shown, [entry for entry in entries if shown(entry)["id"] == wanted], wanted)

    return answer


def _one(shown: Shown, entries: Sequence[Entry], wanted: str) -> dict[str, Any]:
    if not entries:
        raise http_error(
            404,
            "Request_ResourceNotFound",
            f"Resource '{wanted[:100]}' does not exist or one of its queried reference-property objects are not "
            "present.",
        )
    return shown(entries[0])


def _nobody(_request: Request, _entries: Sequence[Entry], _body: Mapping[str, Any]) -> dict[str, Any]:
    """Users and groups: the directory has apps only."""
    return {"value": []}


def _by_ids(_request: Request, entries: Sequence[Entry], body: Mapping[str, Any]) -> dict[str, Any]:
    ids = body.get("ids")
    if not isinstance(ids, list) or len(ids) > MOST_IDS or not all(isinstance(item, str) for item in ids):
        raise http_error(400, "Request_BadRequest", f"'ids' is a list of at most {MOST_IDS} object ids.")
    wanted = {item.lower() for item in ids}
    found = [entry.principal() for entry in entries if entry.principal_id in wanted]
    return {"value": [{"@odata.type": _PRINCIPAL, **item} for item in found]}


async def _body(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await read_bounded(request, MOST_BODY_BYTES), type=dict[str, Any])
    except BodyTooLargeError:
        message = f"The body is longer than {MOST_BODY_BYTES} bytes."
        raise http_error(413, "RequestEntityTooLarge", message) from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise http_error(400, "Request_BadRequest", "The body is no JSON object.") from None
