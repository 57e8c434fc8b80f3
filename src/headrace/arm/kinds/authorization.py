"""What somebody may do: a caller's own permissions at a scope, and checks of single actions.

Mirrors Microsoft.Authorization/permissions and checkAccess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.arm.ids import CHECK_ACCESS_TYPE, PERMISSION_TYPE
from headrace.arm.kinds.base import Kind, find_member, invalid
from headrace.arm.kinds.scopes import require_scope_resource
from headrace.arm.model import Answer, Call
from headrace.identity.challenge import arm_forbidden
from headrace.identity.explain import Explanation, explain, find_principal
from headrace.identity.scopes import covers, scope_key
from headrace.ids import guid_of

MOST_ACTIONS = 200
MOST_GROUPS = 200
_LONGEST_ID = 2048
_SEES_OTHERS = "Microsoft.Authorization/roleAssignments/read"
_FIRST_OF_PAGES = "2021-01-01"
"""The api-version from which on decisions come as a page; older ones have a bare array."""


class Permissions(Kind):
    """Microsoft.Authorization/permissions: what the caller's roles give at a scope. Everybody may ask of himself."""

    type = PERMISSION_TYPE

    def list(self, call: Call) -> Answer:
        """GET: the permissions of each role, as the roles define them."""
        caller = call.caller
        roles = call.deps.access.current.roles_at(caller.object_id, call.target.scope or "/", caller.groups)
        if roles:
            # Who has no role here does not get to know what there is.
            require_scope_resource(call)
        given = [permission.document() for role in roles for permission in role.permissions]
        return Answer(200, {"value": given})


class CheckAccess(Kind):
    """Microsoft.Authorization/checkAccess: whether a principal may do each of some actions at a resource."""

    type = CHECK_ACCESS_TYPE

    def ask(self, call: Call) -> Answer:
        """POST: a decision for each action, in their order.

        The caller asks about itself and the groups that its token names, or needs the right
        `Microsoft.Authorization/roleAssignments/read` there.
        """
        scope = _resource(call)
        attributes = _part(_part(call.body, "subject", "Subject"), "attributes", "Subject.Attributes")
        object_id = guid_of(_text(attributes, "objectId", "Subject.Attributes.ObjectId"))
        if object_id is None:
            raise invalid("'ObjectId' is the object id of a principal.", "Subject.Attributes.ObjectId")
        groups = [group.lower() for group in _groups(attributes)]
        caller, access = call.caller, call.deps.access.current
        own = object_id == caller.object_id and set(groups) <= set(caller.groups)
        if not own and not access.allows(caller.object_id, _SEES_OTHERS, scope, groups=caller.groups):
            raise arm_forbidden(caller, _SEES_OTHERS, scope)
        who = find_principal(call.connection, object_id)
        decisions = [
            _decision(explain(call.connection, who, name, scope, data=data, groups=groups))
            for name, data in _actions(call.body)
        ]
        return Answer(200, {"value": decisions} if call.version >= _FIRST_OF_PAGES else decisions)


def _decision(found: Explanation) -> dict[str, Any]:
    giving = next((one.assignment for one in found.considered if one.allows), None) if found.allowed else None
    return {
        "actionId": found.action,
        "isDataAction": found.data,
        "accessDecision": "Allowed" if found.allowed else "NotAllowed",
        "roleAssignment": None
        if giving is None
        else {
            "id": giving.id,
            "roleDefinitionId": giving.document()["properties"]["roleDefinitionId"],
            "principalId": giving.principal_id,
            "principalType": giving.principal_type,
            "scope": giving.scope,
        },
        "denyAssignment": None,
        "timeToLiveInMs": 0,
    }


def _resource(call: Call) -> str:
    """The resource that is asked about: the one in the body, at the address's scope or below it, else that scope."""
    scope = call.target.scope or "/"
    value = find_member(call.body, "resource")
    named = find_member(value, "id") if isinstance(value, Mapping) else None
    if named is None:
        return scope
    if not isinstance(named, str) or not named.startswith("/") or len(named) > _LONGEST_ID:
        raise invalid("'Id' is the id of a resource.", "Resource.Id")
    if not covers(scope_key(scope), scope_key(named)):
        raise invalid(f"'Id' is not the id of '{scope}' or of a resource below it.", "Resource.Id")
    return named


def _actions(body: Mapping[str, Any]) -> list[tuple[str, bool | None]]:
    listed = find_member(body, "actions")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_ACTIONS:
        raise invalid(f"'Actions' is a list of 1 to {MOST_ACTIONS} actions.", "Actions")
    found: list[tuple[str, bool | None]] = []
    for place, item in enumerate(listed):
        where = f"Actions[{place}]"
        name = _text(item if isinstance(item, Mapping) else {}, "id", f"{where}.Id")
        data = find_member(item, "isDataAction")
        if data is not None and not isinstance(data, bool):
            raise invalid("'IsDataAction' is true or false.", f"{where}.IsDataAction")
        found.append((name, data))
    return found


def _groups(attributes: Mapping[str, Any]) -> list[str]:
    groups = find_member(attributes, "groups") or []
    if (
        not isinstance(groups, list)
        or len(groups) > MOST_GROUPS
        or any(not isinstance(g, str) for g in groups)
    ):
        raise invalid(f"'Groups' is a list of at most {MOST_GROUPS} object ids.", "Subject.Attributes.Groups")
    return groups


def _part(value: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    found = find_member(value, name)
    if not isinstance(found, Mapping):
        raise invalid(f"'{where.rpartition('.')[2]}' is an object.", where)
    return found


def _text(value: Mapping[str, Any], name: str, where: str) -> str:
    found = find_member(value, name)
    if not isinstance(found, str) or not 0 < len(found) <= _LONGEST_ID or not found.isprintable():
        raise invalid(f"'{where.rpartition('.')[2]}' is a text of at most {_LONGEST_ID} characters.", where)
    return found
