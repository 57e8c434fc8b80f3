"""Role assignments and definitions, extensions of any scope. Mirrors Microsoft.Authorization."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from headrace.arm.ids import ASSIGNMENT_TYPE, DEFINITION_TYPE
from headrace.arm.kinds.base import Kind, require_scope
from headrace.arm.kinds.scopes import require_scope_resource
from headrace.arm.model import Answer, Call
from headrace.identity import assignments
from headrace.identity.definitions import delete_role, load_roles, put_role, visible_at
from headrace.identity.roles import Role, role_definition_id, role_document
from headrace.ids import guid_of
from headrace.wire.problems import http_error

_TERM = re.compile(
    r"\s*(?:roleName\s+eq\s+'(?P<name>(?:[^']|'')*)'|type\s+eq\s+'(?P<type>[^']*)'|atScopeAndBelow\(\s*\))"
    r"\s*(?P<more>\band\b|$)",
    re.IGNORECASE,
)
_LONGEST_FILTER = 2000


class RoleAssignments(Kind):
    """Microsoft.Authorization/roleAssignments."""

    type = ASSIGNMENT_TYPE

    def get(self, call: Call) -> Answer:
        """GET of an assignment at its own scope."""
        require_scope_resource(call)
        found = assignments.get_assignment(call.connection, call.target.scope or "/", call.target.name)
        if found is None:
            raise http_error(
                404,
                "RoleAssignmentNotFound",
                f"The role assignment '{call.target.name}' is not found.",
            )
        return Answer(200, _shown(call, found))

    def list(self, call: Call) -> Answer:
        """GET of the assignments that count at a scope."""
        require_scope_resource(call)
        wanted = assignments.parse_filter(call.query.get("$filter"))
        found = assignments.list_assignments(call.connection, call.target.scope or "/", wanted)
        return Answer(200, {"value": [_shown(call, assignment) for assignment in found]})

    def put(self, call: Call) -> Answer:
        """PUT: 201 when it is new, 200 when it is there under that name."""
        require_scope_resource(call)
        made, new = assignments.put_assignment(
            call.connection,
            scope=call.target.scope or "/",
            name=call.target.name,
            properties=call.body.get("properties"),
            by=call.caller.object_id,
            now=call.now,
        )
        return Answer(201 if new else 200, _shown(call, made))

    def delete(self, call: Call) -> Answer:
        """DELETE: 200 with what it was, 204 when there is none."""
        gone = assignments.delete_assignment(call.connection, call.target.scope or "/", call.target.name)
        return Answer(204) if gone is None else Answer(200, _shown(call, gone))


class RoleDefinitions(Kind):
    """Microsoft.Authorization/roleDefinitions: the built-in roles and custom ones.

    At the root everybody may read: the built-in roles, and the custom ones that may be assigned where he may read them.
    """

    type = DEFINITION_TYPE

    def get(self, call: Call) -> Answer:
        """GET of a role by its GUID."""
        role = load_roles(call.connection).get(guid_of(call.target.name) or "")
        if role is None or not _is_shown(call, role):
            raise http_error(
                404,
                "RoleDefinitionDoesNotExist",
                f"The specified role definition with ID '{call.target.name}' does not exist.",
            )
        return Answer(200, role_document(role, call.target.subscription))

    def list(self, call: Call) -> Answer:
        """GET of the roles of a scope, by `$filter=roleName eq '...'`, `type eq '...'` or all."""
        found = visible_at(load_roles(call.connection), call.target.scope or "/")
        roles = [role for role in found if _is_shown(call, role)]
        for name, kind in _terms(call.query.get("$filter", "")):
            if name is not None:
                roles = [role for role in roles if role.name.lower() == name.replace("''", "'").lower()]
            if kind is not None:
                roles = [role for role in roles if role.type.lower() == kind.lower()]
        return Answer(200, {"value": [role_document(role, call.target.subscription) for role in roles]})

    def put(self, call: Call) -> Answer:
        """PUT of a custom role: 201, whether it is new or replaced."""
        require_scope(call)
        role, _ = put_role(
            call.connection,
            call.target.name,
            call.body.get("properties"),
            by=call.caller.object_id,
            now=call.now,
            may_write=_may(call, "write"),
        )
        return Answer(201, role_document(role, call.target.subscription))

    def delete(self, call: Call) -> Answer:
        """DELETE: 200 with what it was, 204 when there is none."""
        gone = delete_role(call.connection, call.target.name, _may(call, "write"))
        return Answer(204) if gone is None else Answer(200, role_document(gone, call.target.subscription))


def _terms(text: str) -> Iterator[tuple[str | None, str | None]]:
    """The name, still escaped, and the type that each term of a `$filter` asks for. Raises `HttpError` 400."""
    place, more = 0, bool(text.strip())
    while more:
        match = _TERM.match(text, place) if len(text) <= _LONGEST_FILTER else None
        if match is None:
            raise http_error(
                400,
                "UnsupportedQuery",
                "The filter is not supported: use roleName eq '{name}', type eq 'BuiltInRole',"
                " type eq 'CustomRole' or atScopeAndBelow(), joined by and.",
                target="$filter",
            )
        yield match["name"], match["type"]
        place, more = match.end(), bool(match["more"])


def _is_shown(call: Call, role: Role) -> bool:
    """Whether a role that the call finds is the caller's to see."""
    return bool(call.target.scope) or role.built_in or any(map(_may(call, "read"), role.assignable_scopes))


def _may(call: Call, verb: str) -> Callable[[str], bool]:
    access, caller = call.deps.access.current, call.caller
    return lambda scope: access.allows(
        caller.object_id, f"{DEFINITION_TYPE}/{verb}", scope, groups=caller.groups
    )


def _shown(call: Call, assignment: assignments.Assignment) -> dict[str, Any]:
    """The assignment; its role is named inside the call's subscription, as lists of roles name it."""
    document = assignment.document()
    properties = document["properties"]
    definition = role_definition_id(assignment.role_id, call.target.subscription)
    return {**document, "properties": {**properties, "roleDefinitionId": definition}}
