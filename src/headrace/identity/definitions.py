"""Custom role definitions, kept in the store beside the built-in ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from headrace.errors import Problem
from headrace.identity.roles import BUILT_IN, Permission, Role
from headrace.identity.scopes import covers, scope_key
from headrace.identity.store import role_assignment, role_definition
from headrace.ids import guid_of
from headrace.wire.problems import HttpError, http_error

MOST_ROLES = 5000
MOST_SCOPES = 2000
MOST_PERMISSIONS = 32
MOST_PATTERNS = 2048
LONGEST_NAME = 512
LONGEST_DESCRIPTION = 2048
LONGEST_PATTERN = 512
_FIELDS = ("actions", "notActions", "dataActions", "notDataActions")


def load_roles(connection: Connection) -> dict[str, Role]:
    """Every role by id: the built-in ones, then the custom ones by name."""
    rows = connection.execute(select(role_definition).order_by(role_definition.c.name_key))
    return BUILT_IN | {
        row.id: Role(
            row.id,
            row.name,
            row.description,
            tuple(
                Permission(*(tuple(one.get(name, ())) for name in _FIELDS))
                for one in msgspec.json.decode(row.permissions)
            ),
            built_in=False,
            assignable_scopes=tuple(msgspec.json.decode(row.assignable_scopes)),
        )
        for row in rows
    }


def put_role(
    connection: Connection,
    name: str,
    properties: Any,
    *,
    by: str,
    now: int,
    may_write: Callable[[str], bool],
) -> tuple[Role, bool]:
    """Create the custom role `name` (a GUID) or replace it; whether it is new.

    `properties` is the request's, `by` the caller's object id, `now` UTC microseconds, `may_write` whether
    the caller may write role definitions at a scope: asked for each assignable scope, old and new.
    Raises `HttpError`: 400 `InvalidRoleDefinitionId`, `InvalidRequestContent`, `RoleDefinitionLimitExceeded`;
    403 `LinkedAuthorizationFailed`; 409 `RoleDefinitionWithSameNameExists`, `SystemDefinedRole`.
    """
    guid = guid_of(name)
    if guid is None:
        message = f"The role definition ID '{name[:80]}' is not valid. The role definition ID must be a GUID."
        raise http_error(400, "InvalidRoleDefinitionId", message)
    _refuse_built_in(guid)
    role = _read(guid, properties)
    existing = load_roles(connection).get(guid)
    _check_scopes((*role.assignable_scopes, *(existing.assignable_scopes if existing else ())), may_write)
    _check_name(connection, role)
    values = {
        "name": role.name,
        "name_key": role.name.lower(),
        "description": role.description,
        "permissions": _text([permission.document() for permission in role.permissions]),
        "assignable_scopes": _text(list(role.assignable_scopes)),
        "updated": now,
        "updated_by": by,
    }
    if existing is not None:
        connection.execute(update(role_definition).where(role_definition.c.id == guid).values(values))
        return role, False
    if connection.execute(select(func.count()).select_from(role_definition)).scalar_one() >= MOST_ROLES:
        raise http_error(
            400, "RoleDefinitionLimitExceeded", f"There are {MOST_ROLES} custom roles already: delete one."
        )
    connection.execute(insert(role_definition).values(id=guid, created=now, created_by=by, **values))
    return role, True


def delete_role(connection: Connection, name: str, may_write: Callable[[str], bool]) -> Role | None:
    """Delete a custom role; what it was, or None when there is none.

    Raises `HttpError`: 403 `LinkedAuthorizationFailed`; 409 `SystemDefinedRole`, `RoleDefinitionHasAssignments`.
    """
    guid = guid_of(name)
    if guid is None:
        return None
    _refuse_built_in(guid)
    found = load_roles(connection).get(guid)
    if found is None:
        return None
    _check_scopes(found.assignable_scopes, may_write)
    used = select(func.count()).select_from(role_assignment).where(role_assignment.c.role_id == guid)
    count = connection.execute(used).scalar_one()
    if count:
        raise http_error(
            409,
            "RoleDefinitionHasAssignments",
            f"There are existing role assignments referencing role '{found.name}': {count}. Delete them first.",
        )
    connection.execute(delete(role_definition).where(role_definition.c.id == guid))
    return found


def visible_at(roles: Mapping[str, Role], scope: str) -> list[Role]:
    """The roles that may be assigned at a scope, above it, or below it."""
    key = scope_key(scope)

    def reaches(role: Role) -> bool:
        keys = [scope_key(one) for one in role.assignable_scopes]
        return any(covers(one, key) or covers(key, one) for one in keys)

    return [role for role in roles.values() if role.built_in or reaches(role)]


def assignable_at(role: Role, scope: str) -> bool:
    """Whether the role may be assigned at a scope."""
    return any(covers(scope_key(one), scope_key(scope)) for one in role.assignable_scopes)


def _refuse_built_in(guid: str) -> None:
    if guid in BUILT_IN:
        raise http_error(
            409,
            "SystemDefinedRole",
            f"'{BUILT_IN[guid].name}' is a built-in role. Make a custom role under another GUID.",
        )


def _read(guid: str, properties: Any) -> Role:
    if not isinstance(properties, Mapping):
        raise _invalid("properties", "The request content has no properties object.")
    kind = properties.get("type")
    if kind not in (None, "CustomRole"):
        raise _invalid("properties.type", "Only roles of the type CustomRole can be made.")
    name = properties.get("roleName")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= LONGEST_NAME or not name.isprintable():
        raise _invalid(
            "properties.roleName", f"A role has a name of 1 to {LONGEST_NAME} printable characters."
        )
    description = properties.get("description") or ""
    if not isinstance(description, str) or len(description) > LONGEST_DESCRIPTION:
        raise _invalid(
            "properties.description", f"A description is a text of at most {LONGEST_DESCRIPTION} characters."
        )
    permissions = properties.get("permissions")
    if not isinstance(permissions, list) or not 0 < len(permissions) <= MOST_PERMISSIONS:
        raise _invalid("properties.permissions", f"A role has 1 to {MOST_PERMISSIONS} permissions.")
    return Role(
        guid,
        name.strip(),
        description,
        tuple(_permission(one, f"properties.permissions[{at}]") for at, one in enumerate(permissions)),
        built_in=False,
        assignable_scopes=tuple(_scopes(properties.get("assignableScopes"))),
    )


def _permission(document: Any, target: str) -> Permission:
    if not isinstance(document, Mapping):
        raise _invalid(
            target, "A permission is an object with actions, notActions, dataActions, notDataActions."
        )
    return Permission(*(_patterns(document.get(name), f"{target}.{name}") for name in _FIELDS))


def _patterns(given: Any, target: str) -> tuple[str, ...]:
    listed = [] if given is None else given
    if not isinstance(listed, list) or len(listed) > MOST_PATTERNS:
        raise _invalid(target, f"This is a list of at most {MOST_PATTERNS} actions.")
    for one in listed:
        fits = (
            isinstance(one, str) and 0 < len(one) <= LONGEST_PATTERN and one.isascii() and one.isprintable()
        )
        if not fits or not (one == "*" or "/" in one):
            raise _invalid(
                target,
                "An action has the form Microsoft.Insights/dataCollectionRules/read; each part may be *.",
            )
    return tuple(listed)


def _scopes(given: Any) -> Sequence[str]:
    if not isinstance(given, list) or not 0 < len(given) <= MOST_SCOPES:
        raise _invalid("properties.assignableScopes", f"A role has 1 to {MOST_SCOPES} assignable scopes.")
    for at, one in enumerate(given):
        if (
            not isinstance(one, str)
            or not one.startswith("/")
            or len(one) > LONGEST_NAME
            or not one.isprintable()
        ):
            raise _invalid(
                f"properties.assignableScopes[{at}]", "A scope is a resource id, such as /subscriptions/{id}."
            )
    return list(dict.fromkeys(one.rstrip("/") or "/" for one in given))


def _check_scopes(scopes: Sequence[str], may_write: Callable[[str], bool]) -> None:
    for scope in scopes:
        if not may_write(scope):
            raise http_error(
                403,
                "LinkedAuthorizationFailed",
                "The client may not perform action 'Microsoft.Authorization/roleDefinitions/write' at the"
                f" assignable scope '{scope}' or the scope is invalid.",
            )


def _check_name(connection: Connection, role: Role) -> None:
    taken = connection.execute(
        select(role_definition.c.id).where(role_definition.c.name_key == role.name.lower())
    ).scalar_one_or_none()
    built_in = any(one.name.lower() == role.name.lower() for one in BUILT_IN.values())
    if built_in or taken not in (None, role.id):
        raise http_error(
            409,
            "RoleDefinitionWithSameNameExists",
            f"Another role has the name '{role.name}': choose another.",
        )


def _invalid(target: str, message: str) -> HttpError:
    return HttpError(400, Problem("InvalidRequestContent", message, target=target))


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
