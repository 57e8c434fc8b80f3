"""Role assignments: who has which role at which scope. The functions that the control plane's kind calls.

A scope is a resource id (`/`, `/subscriptions/...`). It counts for itself and for everything below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, or_, select, true, update

from headrace.clock import iso
from headrace.identity.definitions import assignable_at, load_roles
from headrace.identity.roles import Role, find_role, role_definition_id
from headrace.identity.scopes import ROOT, ancestors, root_group, scope_key
from headrace.identity.store import app, principal, role_assignment
from headrace.identity.store import tenant as tenant_table
from headrace.ids import guid_of, new_guid
from headrace.wire.problems import http_error

TYPE = "Microsoft.Authorization/roleAssignments"
PRINCIPAL_TYPES = ("User", "Group", "ServicePrincipal", "ForeignGroup", "Device")
_FILTER_TERM = re.compile(
    r"\s*(?:(?P<at>atScope\(\s*\))|principalId\s+eq\s+'(?P<principal>[^']*)'"
    r"|assignedTo\(\s*'(?P<assigned>[^']*)'\s*\))\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One role assignment. Times are UTC microseconds, `created_by` and `updated_by` object ids.

    `key` is the scope as it is compared.
    """

    name: str
    scope: str
    key: str
    role_id: str
    principal_id: str
    principal_type: str
    properties: Mapping[str, Any]
    created: int
    updated: int
    created_by: str
    updated_by: str

    @property
    def id(self) -> str:
        """The resource id."""
        return f"{self.scope.rstrip('/')}/providers/{TYPE}/{self.name}"

    def document(self) -> dict[str, Any]:
        """The assignment as ARM shows it."""
        sent = self.properties
        return {
            "properties": {
                **sent,
                "roleDefinitionId": sent.get("roleDefinitionId") or role_definition_id(self.role_id),
                "principalId": self.principal_id,
                "principalType": self.principal_type,
                "scope": self.scope,
                "condition": None,
                "conditionVersion": None,
                "createdOn": iso(self.created),
                "updatedOn": iso(self.updated),
                "createdBy": self.created_by,
                "updatedBy": self.updated_by,
                "delegatedManagedIdentityResourceId": sent.get("delegatedManagedIdentityResourceId"),
                "description": sent.get("description"),
            },
            "id": self.id,
            "name": self.name,
            "type": TYPE,
        }


@dataclass(frozen=True, slots=True)
class AssignmentFilter:
    """What a list asks for: `at_scope` leaves out scopes below, `principal_id` all other principals."""

    at_scope: bool = False
    principal_id: str | None = None


def parse_filter(text: str | None) -> AssignmentFilter:
    """The list operation's `$filter`: `atScope()`, `principalId eq '..'`, `assignedTo('..')`, joined by and.

    Raises `HttpError` 400 `UnsupportedQuery` for anything else.
    """
    result = AssignmentFilter()
    if text is None or not text.strip():
        return result
    for term in re.split(r"\band\b", text[:1000], flags=re.IGNORECASE):
        match = _FILTER_TERM.fullmatch(term)
        if match is None:
            raise http_error(
                400,
                "UnsupportedQuery",
                "The filter is not supported: use atScope(), principalId eq '{id}' or assignedTo('{id}').",
                target="$filter",
            )
        wanted = match["principal"] or match["assigned"]
        result = AssignmentFilter(
            result.at_scope or match["at"] is not None, wanted.lower() if wanted else result.principal_id
        )
    return result


def put_assignment(
    connection: Connection, *, scope: str, name: str, properties: Any, by: str, now: int
) -> tuple[Assignment, bool]:
    """Create the assignment `name` (a GUID) at `scope`, or change its description; whether it is new.

    `properties` is the request's, `by` the caller's object id, `now` UTC microseconds. Raises `HttpError`:
    400 `InvalidRoleAssignmentId`, `InvalidRequestContent`, `PrincipalNotFound`, `UnmatchedPrincipalType`,
    `RoleAssignmentScopeNotAssignableToRoleDefinition`,
    `RoleAssignmentUpdateNotPermitted`, `RoleAssignmentConditionNotSupported`; 404
    `RoleDefinitionDoesNotExist`; 409 `RoleAssignmentExists`.
    """
    guid = guid_of(name)
    if guid is None:
        raise http_error(
            400,
            "InvalidRoleAssignmentId",
            f"The role assignment ID '{name[:80]}' is not valid. The role assignment ID must be a GUID.",
        )
    role, principal_id, kept = _checked(properties, load_roles(connection))
    principal_type = _principal_type(connection, principal_id, kept.get("principalType"))
    key = assigned_key(connection, scope)
    if not assignable_at(role, key or "/"):
        raise http_error(
            400,
            "RoleAssignmentScopeNotAssignableToRoleDefinition",
            f"The role '{role.name}' cannot be assigned at '{scope}'. Its assignable scopes are"
            f" {', '.join(role.assignable_scopes)}.",
        )
    existing = _by_name(connection, guid)
    if existing is not None:
        _refuse_another(existing, key, role.id, principal_id)
        values = {"properties": _text(kept), "updated": now, "updated_by": by}
        connection.execute(update(role_assignment).where(role_assignment.c.name == guid).values(values))
        return _required(connection, guid), False
    _refuse_second(_same(connection, key, role.id, principal_id))
    connection.execute(
        insert(role_assignment).values(
            name=guid,
            scope=scope.rstrip("/") or "/",
            scope_key=key,
            role_id=role.id,
            principal_id=principal_id,
            principal_type=principal_type,
            properties=_text(kept),
            created=now,
            updated=now,
            created_by=by,
            updated_by=by,
        )
    )
    return _required(connection, guid), True


def assign(
    connection: Connection, *, scope: str, role: str, principal_id: str, by: str, now: int
) -> Assignment:
    """Give a principal a role (by name or id) at a scope; an assignment that is there already is returned."""
    found = find_role(role, load_roles(connection))
    if found is None:
        raise _no_such_role(role)
    same = _same(connection, assigned_key(connection, scope), found.id, principal_id.lower())
    if same is not None:
        return same
    properties = {"roleDefinitionId": role_definition_id(found.id), "principalId": principal_id}
    return put_assignment(connection, scope=scope, name=new_guid(), properties=properties, by=by, now=now)[0]


def get_assignment(connection: Connection, scope: str, name: str) -> Assignment | None:
    """The assignment `name` that was made at exactly this scope."""
    guid = guid_of(name)
    found = _by_name(connection, guid) if guid else None
    return found if found is not None and scope_key(found.scope) == scope_key(scope) else None


def delete_assignment(connection: Connection, scope: str, name: str) -> Assignment | None:
    """Delete the assignment `name` of exactly this scope; what it was, or None when there is none."""
    found = get_assignment(connection, scope, name)
    if found is not None:
        connection.execute(delete(role_assignment).where(role_assignment.c.name == found.name))
    return found


def delete_assignments_under(connection: Connection, scope: str) -> int:
    """Delete all assignments at a resource that is being deleted and below it; how many there were.

    Raises `ValueError` for the root scope.
    """
    key = scope_key(scope)
    if key == ROOT:
        raise ValueError("the root scope cannot be deleted")
    return connection.execute(delete(role_assignment).where(_at_or_below(key))).rowcount


def list_assignments(
    connection: Connection, scope: str, wanted: AssignmentFilter | None = None
) -> list[Assignment]:
    """The assignments that count at `scope` (made there or above) and, unless filtered out, those below."""
    wanted = wanted or AssignmentFilter()
    key = assigned_key(connection, scope)
    where: ColumnElement[bool] = role_assignment.c.scope_key.in_(ancestors(key))
    if not wanted.at_scope:
        where = or_(where, _at_or_below(key))
    if wanted.principal_id is not None:
        where = and_(where, role_assignment.c.principal_id == wanted.principal_id.lower())
    rows = connection.execute(select(role_assignment).where(where).order_by(role_assignment.c.name))
    return [_assignment(row) for row in rows]


def assigned_key(connection: Connection, scope: str) -> str:
    """The key that assignments at a scope are kept by: the root's for the root management group, too."""
    key = scope_key(scope)
    tenant = connection.execute(select(tenant_table.c.tenant_id)).scalar_one_or_none()
    return ROOT if tenant and key == root_group(tenant) else key


def _at_or_below(key: str) -> ColumnElement[bool]:
    if not key:
        return true()
    below = role_assignment.c.scope_key.startswith(f"{key}/", autoescape=True)
    return or_(role_assignment.c.scope_key == key, below)


def _checked(properties: Any, roles: Mapping[str, Role]) -> tuple[Role, str, dict[str, Any]]:
    if not isinstance(properties, Mapping):
        raise _invalid("properties", "The request content has no properties object.")
    kept = {str(name): value for name, value in properties.items()}
    if kept.get("condition") is not None:
        raise http_error(
            400,
            "RoleAssignmentConditionNotSupported",
            "Conditions on role assignments are not supported: they would not be enforced.",
            target="properties.condition",
        )
    definition = kept.get("roleDefinitionId")
    if not isinstance(definition, str) or not definition:
        raise _invalid("properties.roleDefinitionId", "The role definition's resource id is missing.")
    role_guid = guid_of(definition.rstrip("/").rpartition("/")[2])
    role = find_role(role_guid, roles) if role_guid else None
    if role is None:
        raise _no_such_role(definition)
    principal_id = kept.get("principalId")
    guid = guid_of(principal_id) if isinstance(principal_id, str) else None
    if guid is None:
        raise _invalid(
            "properties.principalId", "The principal id is missing or no GUID; it is an object id."
        )
    if "/" not in definition:
        kept["roleDefinitionId"] = role_definition_id(role.id)
    return role, guid, kept


def _principal_type(connection: Connection, principal_id: str, claimed: Any) -> str:
    if claimed is not None and claimed not in PRINCIPAL_TYPES:
        raise _invalid(
            "properties.principalType", f"The principal type is one of {', '.join(PRINCIPAL_TYPES)}."
        )
    kind = connection.execute(
        select(principal.c.kind).where(principal.c.object_id == principal_id)
    ).scalar_one_or_none()
    if kind is not None:
        if claimed is not None and claimed != kind:
            raise http_error(
                400,
                "UnmatchedPrincipalType",
                f"The principal {principal_id} has type {kind}, which is not the given type {claimed}.",
                target="properties.principalType",
            )
        return str(kind)
    meant = connection.execute(
        select(app.c.principal_id).where(or_(app.c.app_id == principal_id, app.c.object_id == principal_id))
    ).scalar_one_or_none()
    if meant is not None:
        raise _not_found(
            connection,
            principal_id,
            "This is the id of an app registration. A role is assigned to its service principal:"
            f" use the object id {meant}.",
        )
    if claimed is None:
        raise _not_found(
            connection,
            principal_id,
            "Check that it is the service principal's object id; if it was just created, give principalType.",
        )
    return str(claimed)


def _not_found(connection: Connection, principal_id: str, cure: str) -> Exception:
    tenant = connection.execute(select(tenant_table.c.tenant_id)).scalar_one_or_none()
    return http_error(
        400,
        "PrincipalNotFound",
        f"Principal {principal_id.replace('-', '')} does not exist in the directory {tenant}. {cure}",
        target="properties.principalId",
    )


def _invalid(target: str, message: str) -> Exception:
    return http_error(400, "InvalidRequestContent", message, target=target)


def _no_such_role(role: str) -> Exception:
    return http_error(
        404,
        "RoleDefinitionDoesNotExist",
        f"The role definition '{role[:200]}' does not exist.",
        target="properties.roleDefinitionId",
    )


def _text(properties: Mapping[str, Any]) -> str:
    return msgspec.json.encode(properties).decode()


def _refuse_another(existing: Assignment, key: str, role_id: str, principal_id: str) -> None:
    if (existing.key, existing.role_id, existing.principal_id) != (key, role_id, principal_id):
        raise http_error(
            400,
            "RoleAssignmentUpdateNotPermitted",
            "Role definition, principal ID, and scope are not allowed to be updated: delete the role"
            f" assignment {existing.name} and create another.",
        )


def _refuse_second(same: Assignment | None) -> None:
    if same is not None:
        raise http_error(
            409,
            "RoleAssignmentExists",
            "The role assignment already exists. The ID of the existing role assignment is "
            f"{same.name.replace('-', '')}.",
        )


def _same(connection: Connection, key: str, role_id: str, principal_id: str) -> Assignment | None:
    """The assignment of this role to this principal at exactly this scope, whatever its name."""
    row = connection.execute(
        select(role_assignment).where(
            role_assignment.c.scope_key == key,
            role_assignment.c.role_id == role_id,
            role_assignment.c.principal_id == principal_id,
        )
    ).one_or_none()
    return None if row is None else _assignment(row)


def _by_name(connection: Connection, guid: str) -> Assignment | None:
    row = connection.execute(select(role_assignment).where(role_assignment.c.name == guid)).one_or_none()
    return None if row is None else _assignment(row)


def _required(connection: Connection, guid: str) -> Assignment:
    found = _by_name(connection, guid)
    assert found is not None
    return found


def _assignment(row: Row[Any]) -> Assignment:
    return Assignment(
        row.name,
        row.scope,
        row.scope_key,
        row.role_id,
        row.principal_id,
        row.principal_type,
        msgspec.json.decode(row.properties),
        row.created,
        row.updated,
        row.created_by,
        row.updated_by,
    )
