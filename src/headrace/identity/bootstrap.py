"""The first start: a tenant, a signing key, and an app that owns the sample subscription."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from headrace.identity import keys
from headrace.identity.apps import App, add_secret, create_app, list_apps, load_registrations
from headrace.identity.assignments import assign
from headrace.identity.managed import NAME as MANAGED_IDENTITY
from headrace.identity.passwords import SecretChecker
from headrace.identity.roles import LOG_ANALYTICS_READER, MONITORING_METRICS_PUBLISHER, OWNER
from headrace.identity.store import tenant as tenant_table
from headrace.ids import new_guid

FIRST_APP = "headrace-sample"


@dataclass(frozen=True, slots=True)
class FirstApp:
    """The app that a new installation starts with.

    `secret` is there only when it was made by this very call: it is kept nowhere, so the caller must keep it.
    """

    tenant_id: str
    app_id: str
    principal_id: str
    secret: str | None


def ensure_tenant(connection: Connection, now: int) -> str:
    """The tenant's id; the tenant and its first signing key are made when there are none."""
    tenant_id = connection.execute(select(tenant_table.c.tenant_id)).scalar_one_or_none()
    if tenant_id is None:
        tenant_id = new_guid()
        connection.execute(insert(tenant_table).values(id=1, tenant_id=tenant_id, created=now))
    if keys.load_signing(connection) is None:
        keys.create_signing_key(connection, now)
    return str(tenant_id)


def bootstrap(
    connection: Connection,
    subscription_id: str,
    now: int,
    *,
    reset: bool = False,
) -> FirstApp:
    """Make sure of the tenant, its key, and the first app with its roles on the subscription.

    Idempotent, inside the caller's write transaction (`now`: UTC microseconds). Owner of this subscription
    may manage apps. With `reset` an app that was there gets another secret: for a caller that lost it; its
    others stay. An app that is there keeps its roles as they are.
    """
    tenant_id = ensure_tenant(connection, now)
    home = connection.execute(select(tenant_table.c.home_subscription)).scalar_one()
    if home is None:
        connection.execute(update(tenant_table).values(home_subscription=subscription_id.lower()))
    found = first_app(connection, FIRST_APP)
    if found is not None:
        secret = add_secret(connection, found.app_id, now).text if reset else None
        return FirstApp(tenant_id, found.app_id, found.principal_id, secret)
    made = create_app(connection, FIRST_APP, now)
    for role in (OWNER.name, LOG_ANALYTICS_READER.name):
        assign(
            connection,
            scope=f"/subscriptions/{subscription_id}",
            role=role,
            principal_id=made.principal_id,
            by=made.principal_id,
            now=now,
        )
    secret = add_secret(connection, made.app_id, now, display_name="first").text
    return FirstApp(tenant_id, made.app_id, made.principal_id, secret)


def ensure_managed_identity(connection: Connection, rule: str, now: int) -> None:
    """Make the managed identity's app at its first use; it may then send through `rule` (a resource id)."""
    if first_app(connection, MANAGED_IDENTITY) is not None:
        return
    made = create_app(connection, MANAGED_IDENTITY, now)
    assign(
        connection,
        scope=rule,
        role=MONITORING_METRICS_PUBLISHER.name,
        principal_id=made.principal_id,
        by=made.principal_id,
        now=now,
    )


def first_app(connection: Connection, name: str = FIRST_APP) -> App | None:
    """The app that `bootstrap` made: the oldest one of this name."""
    named = [app for app in list_apps(connection) if app.display_name == name]
    return min(named, key=lambda app: (app.created, app.app_id), default=None)


def home_subscription(connection: Connection) -> str | None:
    """The subscription that the installation began with; None before the first start."""
    found: str | None = connection.execute(select(tenant_table.c.home_subscription)).scalar_one_or_none()
    return found


def is_secret_of(connection: Connection, app_id: str, secret: str, now: int) -> bool:
    """Whether a secret that the caller has kept is (still) one of the app's. Slow on purpose."""
    app = load_registrations(connection).get(app_id.lower())
    found = None if app is None else SecretChecker().slow(secret, app.secrets)
    return found is not None and found.starts <= now < found.ends
