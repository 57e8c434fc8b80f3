"""`POST /headrace/access/explain`: why somebody may or may not do something, for the command line.

The body is `{"principal": TEXT, "action": TEXT, "scope": TEXT, "data"?: bool, "groups"?: [TEXT]}`; `principal` is an
object id, client id or an app's name. The answer is `{"allowed", "reason", "cure", "principalId", "clientId",
"name", "action", "isDataAction", "scope", "assignments": [{"roleAssignmentId", "roleName", "scope",
"principalId", "allows", "reason"}]}`. The caller asks about itself and groups that its token names, or needs the
right `Microsoft.Authorization/roleAssignments/read` at the scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.identity.explain import explain, find_principal
from headrace.identity.surface import Admin, invalid, read_text
from headrace.wire.problems import json_response

ACTION = "Microsoft.Authorization/roleAssignments/read"
LONGEST = 2048
MOST_GROUPS = 200


def explain_routes(admin: Admin) -> list[Route]:
    """The address of the module's docstring."""
    return [admin.route("/headrace/access/explain", "POST", _explain, None)]


async def _explain(admin: Admin, request: Request, body: Mapping[str, Any]) -> Response:
    who, action, scope = (_short(body, name) for name in ("principal", "action", "scope"))
    if not scope.startswith("/"):
        raise invalid("scope", "scope is a resource id, such as /subscriptions/{id}.")
    data, groups = body.get("data"), body.get("groups", [])
    if data is not None and not isinstance(data, bool):
        raise invalid("data", "data must be true or false.")
    if (
        not isinstance(groups, list)
        or len(groups) > MOST_GROUPS
        or any(not isinstance(g, str) for g in groups)
    ):
        raise invalid("groups", f"groups is a list of at most {MOST_GROUPS} object ids.")
    caller = admin.authenticate(request)

    def answer(connection: Connection) -> Response:
        found = find_principal(connection, who)
        lowered = [group.lower() for group in groups]
        if found.object_id != caller.object_id or not set(lowered) <= set(caller.groups):
            admin.authorize(caller, ACTION, scope)
        return json_response(explain(connection, found, action, scope, data=data, groups=lowered).document())

    return await admin.read(answer)


def _short(body: Mapping[str, Any], name: str) -> str:
    value = read_text(body, name).strip()
    if not 0 < len(value) <= LONGEST or not value.isprintable():
        raise invalid(name, f"{name} has 1 to {LONGEST} printable characters.")
    return value
