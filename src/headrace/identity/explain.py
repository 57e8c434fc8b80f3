"""Why a principal may or may not do something: every assignment that was looked at, and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, or_, select

from headrace.identity.assignments import Assignment, assigned_key, list_assignments
from headrace.identity.definitions import load_roles
from headrace.identity.roles import Role, is_data_action
from headrace.identity.scopes import covers
from headrace.identity.store import app, principal

MOST_OTHERS = 20


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asked about. `app_id` and `name` are None for a principal that only assignments know."""

    object_id: str
    app_id: str | None
    name: str | None
    enabled: bool


@dataclass(frozen=True, slots=True)
class Considered:
    """One assignment that was looked at. `allows` says whether it gives the action, `reason` why."""

    assignment: Assignment
    role: Role
    allows: bool
    reason: str

    def document(self) -> dict[str, Any]:
        """The assignment as the explanation shows it."""
        return {
            "roleAssignmentId": self.assignment.id,
            "roleName": self.role.name,
            "scope": self.assignment.scope,
            "principalId": self.assignment.principal_id,
            "allows": self.allows,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its grounds. `cure` is empty when the action is allowed."""

    principal: Principal
    action: str
    scope: str
    data: bool
    allowed: bool
    reason: str
    cure: str
    considered: tuple[Considered, ...]

    def document(self) -> dict[str, Any]:
        """The explanation as JSON."""
        return {
            "allowed": self.allowed,
            "reason": self.reason,
            "cure": self.cure or None,
            "principalId": self.principal.object_id,
            "clientId": self.principal.app_id,
            "name": self.principal.name,
            "action": self.action,
            "isDataAction": self.data,
            "scope": self.scope,
            "assignments": [one.document() for one in self.considered],
        }


def find_principal(connection: Connection, text: str) -> Principal:
    """The principal that a text means: its object id, its app's client id, object id or (single) name.

    Any other text is taken for the object id of a principal that this server has no app for.
    """
    wanted = text.strip().lower()
    columns = (principal.c.object_id, principal.c.display_name, principal.c.enabled, app.c.app_id)
    joined = select(*columns).outerjoin(app, app.c.principal_id == principal.c.object_id)
    ids = or_(principal.c.object_id == wanted, app.c.app_id == wanted, app.c.object_id == wanted)
    rows = connection.execute(joined.where(ids)).all()
    if not rows:
        rows = connection.execute(joined.where(principal.c.display_name == text.strip())).all()
    if len(rows) != 1:
        return Principal(wanted, None, None, True)
    found = rows[0]
    return Principal(found.object_id, found.app_id, found.display_name, found.enabled)


def explain(
    connection: Connection,
    who: Principal,
    action: str,
    scope: str,
    *,
    data: bool | None = None,
    groups: Sequence[str] = (),
) -> Explanation:
    """Why the principal, or a group of its, may do `action` at `scope` or not.

    `data` says whether it is a data action; None goes by its name.
    """
    is_data = is_data_action(action) if data is None else data
    roles = load_roles(connection)
    holders = {who.object_id, *groups}
    key = assigned_key(connection, scope)
    everything = [one for one in list_assignments(connection, "/") if one.principal_id in holders]
    here = [one for one in everything if covers(one.key, key)]
    considered = tuple(
        _consider(one, roles[one.role_id], action, is_data) for one in here if one.role_id in roles
    )
    giving = next((one for one in considered if one.allows), None)
    elsewhere = [
        one
        for one in everything
        if not covers(one.key, key)
        and one.role_id in roles
        and roles[one.role_id].allows(action, data=is_data)
    ]
    if giving is not None and who.enabled:
        reason = f"The role '{giving.role.name}', assigned at {giving.assignment.scope}, gives the action."
        return Explanation(who, action, scope, is_data, True, reason, "", considered)
    if giving is not None:
        reason = f"The role '{giving.role.name}' would give the action, but the app is disabled."
        cure = f'Enable it: PATCH /headrace/apps/{who.app_id} with {{"enabled": true}}.'
    else:
        what = "data action" if is_data else "action"
        reason = _why_not(who, what, considered, elsewhere)
        cure = _assign(who, scope, what, [one for one in roles.values() if one.allows(action, data=is_data)])
    return Explanation(who, action, scope, is_data, False, reason, cure, considered)


def _consider(assignment: Assignment, role: Role, action: str, data: bool) -> Considered:
    verdict = role.verdict(action, data=data)
    if verdict == "given":
        return Considered(assignment, role, True, "The role gives the action.")
    if verdict == "withheld":
        which = "notDataActions" if data else "notActions"
        return Considered(assignment, role, False, f"The role takes the action away by its {which}.")
    if role.allows(action, data=not data):
        has, needs = ("actions", "data action") if data else ("dataActions", "management action")
        reason = f"The role has the action among its {has} only, and this is a {needs}."
        return Considered(assignment, role, False, reason)
    return Considered(assignment, role, False, "The role does not have the action.")


def _why_not(
    who: Principal, what: str, considered: Sequence[Considered], elsewhere: Sequence[Assignment]
) -> str:
    """Why no assignment gives the action: they are elsewhere, have other roles, or there is none."""
    if elsewhere:
        places = ", ".join(sorted({one.scope for one in elsewhere})[:MOST_OTHERS])
        return f"A role that gives the {what} is assigned only at {places}: not at this scope or above it."
    if considered:
        named = ", ".join(sorted({one.role.name for one in considered}))
        return f"None of the roles assigned at this scope or above it gives the {what}: {named}."
    if who.app_id is None:
        return (
            f"No role is assigned to {who.object_id} at this scope or above it, and no app has this id here:"
            " roles are assigned to a service principal's object id."
        )
    return "No role is assigned to the principal at this scope or above it."


def _assign(who: Principal, scope: str, what: str, fitting: Sequence[Role]) -> str:
    """The cure: to assign the narrowest of the roles that give the action."""
    narrow = min(fitting, key=_breadth, default=None)
    if narrow is None:
        return f"No role has this {what}: check its spelling, or make a custom role with it."
    return f"headrace role assign '{narrow.name}' --principal {who.object_id} --scope {scope}"


def _breadth(role: Role) -> tuple[int, int, str]:
    """Narrow roles first: few wildcards, few patterns, and no custom role before a built-in one."""
    patterns = [pattern for one in role.permissions for pattern in (*one.actions, *one.data_actions)]
    wide = sum(10 if pattern == "*" else 5 if pattern.startswith("*") else 1 for pattern in patterns)
    return (0 if role.built_in else 1, wide, role.name)
