"""What the surfaces need to decide who may do what, as one immutable snapshot of the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from sqlalchemy import Connection, select

from headrace.identity import keys
from headrace.identity.definitions import load_roles
from headrace.identity.roles import Role
from headrace.identity.scopes import ancestors, root_group, scope_key
from headrace.identity.store import app, principal, role_assignment
from headrace.identity.store import tenant as tenant_table


@dataclass(frozen=True, slots=True)
class Access:
    """The tenant, the keys that tokens may be signed with, the enabled principals and their roles.

    `principals` maps the object ids of enabled service principals to their app ids. All GUIDs are
    lower-case. `tenant` is empty as long as there is none: then nobody is let in.
    """

    change: int
    tenant: str
    home_subscription: str | None
    keys: Mapping[str, RSAPublicKey]
    principals: Mapping[str, str]
    grants: Mapping[str, Mapping[str, tuple[Role, ...]]] = field(repr=False)

    def allows(
        self, object_id: str, action: str, scope: str, *, data: bool = False, groups: Sequence[str] = ()
    ) -> bool:
        """Whether the principal may perform `action` (a data action with `data`) at the resource `scope`.

        True when a role assigned to it or to one of its `groups`, at the scope or above it, gives the action.
        Case does not matter.
        """
        return any(role.allows(action, data=data) for role in self.roles_at(object_id, scope, groups))

    def roles_at(self, object_id: str, scope: str, groups: Sequence[str] = ()) -> tuple[Role, ...]:
        """The roles that count at the resource `scope`: assigned to the principal or a group of its, there or above."""
        holders = (object_id, *groups) if groups else (object_id,)
        granted = [self.grants[holder] for holder in holders if holder in self.grants]
        if not granted:
            return ()
        keys = ancestors(_effective(scope_key(scope), self.tenant))
        return tuple(role for grants in granted for key in keys for role in grants.get(key, ()))

    def allows_somewhere(
        self, object_id: str, action: str, *, data: bool = False, groups: Sequence[str] = ()
    ) -> bool:
        """Whether there is any scope at which the principal may perform `action`; see `allows`."""
        return any(
            role.allows(action, data=data)
            for holder in (object_id, *groups)
            for roles in self.grants.get(holder, {}).values()
            for role in roles
        )


def _effective(key: str, tenant: str) -> str:
    """The root management group stands for the root."""
    return "" if key.startswith("/providers/microsoft.management/") and key == root_group(tenant) else key


def load_access(connection: Connection, change: int) -> Access:
    """The snapshot of the store that `connection` sees; the `load` of a `LiveView[Access]`."""
    home = connection.execute(select(tenant_table)).one_or_none()
    apps = connection.execute(
        select(principal.c.object_id, principal.c.enabled, app.c.app_id).outerjoin(
            app, app.c.principal_id == principal.c.object_id
        )
    ).all()
    disabled = {row.object_id for row in apps if not row.enabled}
    return Access(
        change=change,
        tenant="" if home is None else home.tenant_id,
        home_subscription=None if home is None else home.home_subscription,
        keys={key.kid: key.public for key in keys.load_public(connection)},
        principals={row.object_id: row.app_id for row in apps if row.enabled and row.app_id is not None},
        grants=_grants(connection, disabled),
    )


def _grants(connection: Connection, disabled: set[str]) -> dict[str, dict[str, tuple[Role, ...]]]:
    roles = load_roles(connection)
    grants: defaultdict[str, dict[str, tuple[Role, ...]]] = defaultdict(dict)
    columns = (role_assignment.c.principal_id, role_assignment.c.scope_key, role_assignment.c.role_id)
    for principal_id, scope, role_id in connection.execute(select(*columns)):
        role = roles.get(role_id)
        if role is not None and principal_id not in disabled:
            scopes = grants[principal_id]
            scopes[scope] = (*scopes.get(scope, ()), role)
    return dict(grants)
