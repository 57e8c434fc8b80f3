"""The control plane and identity, put together: for the engine process and for the first start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from starlette.routing import BaseRoute

from headrace.app.common import addresses_of
from headrace.app.front_page import front_page_route
from headrace.app.openapi import openapi_route
from headrace.arm.bootstrap import bootstrap_sample
from headrace.arm.cloud import cloud_routes
from headrace.arm.model import ActivitySource, ArmDeps, MetricSource, Note
from headrace.arm.routes import arm_routes
from headrace.arm.views import load_rule
from headrace.catalog.rules import RuleLimits
from headrace.clock import Clock, SystemClock
from headrace.data_folder import DataFolder
from headrace.env_file import Sample
from headrace.identity.access import Access, load_access
from headrace.identity.admin import admin_routes
from headrace.identity.bootstrap import (
    bootstrap,
    ensure_managed_identity,
    home_subscription,
    is_secret_of,
)
from headrace.identity.endpoint import TokenEndpoint, load_authority
from headrace.identity.explain_routes import explain_routes
from headrace.identity.graph import Graph, graph_routes
from headrace.identity.issuers import IssuerKeys
from headrace.identity.key_routes import key_routes
from headrace.identity.limits import SignInLimits
from headrace.identity.routes import SignIn
from headrace.identity.surface import Admin
from headrace.identity.verify import TokenVerifier
from headrace.ids import new_guid
from headrace.ingest.receipts import receipts_route
from headrace.observe.answers import Receipt
from headrace.observe.audit.events import Auditor
from headrace.process import ProcessConfig
from headrace.settings import Settings
from headrace.store.database import Database
from headrace.store.feed import FeedServer
from headrace.store.live import LiveView
from headrace.testing.faultbook import FaultBook
from headrace.testing.switches import fault_routes
from headrace.transform.validate import validate_rule
from headrace.wire.addresses import Addresses

T = TypeVar("T")
_log = logging.getLogger(__name__)

_PUBLISH_SECONDS = 2.0


def administration(
    config: ProcessConfig,
    database: Database,
    feed: FeedServer,
    access: LiveView[Access],
    verifier: TokenVerifier,
    clock: Clock,
) -> Admin:
    """What the addresses of the control plane and of the administration share."""

    async def published(change: int) -> None:
        if not await feed.wait_for_peers(change, _PUBLISH_SECONDS):
            _log.warning("a process has not taken change %d in time; it will within a second", change)

    return Admin(database, access, verifier, addresses_of(config), clock, published)


def control_plane_routes(
    config: ProcessConfig, admin: Admin, metrics: MetricSource, activity: ActivitySource | None, note: Note
) -> list[BaseRoute]:
    """The addresses of apps, of the directory, of the cloud's description and of all ARM resources.

    `activity` is the log of calls, None where none is kept. `note` is told of the calls that deployments make.
    """
    access = admin.view
    made = arm_deps(config.settings, admin)
    deps = replace(made, metrics=metrics, activity=activity or made.activity, note=note)
    graph = Graph(admin.database, access, admin.verifier, admin.addresses)
    clouds = cloud_routes(admin.addresses, lambda: access.current.tenant)
    own = [
        front_page_route(admin.addresses),
        openapi_route(admin.addresses),
        *admin_routes(admin),
        *key_routes(admin),
        *explain_routes(admin),
    ]
    if config.settings.faults.enabled:
        own += fault_routes(admin, FaultBook(DataFolder(config.settings.data_dir).faults))
    return [*own, *clouds, *graph_routes(graph), *arm_routes(deps)]


def receipt_route(admin: Admin, find: Callable[[str], Receipt | None]) -> BaseRoute:
    """The address of receipts."""

    def scope_of(rule: str, version: int) -> str | None:
        with admin.database.read() as connection:
            try:
                return load_rule(connection, rule, version).resource_id
            except LookupError:
                return None

    return receipts_route(find, scope_of, admin.verifier, lambda: admin.view.current, admin.addresses)


def sign_in(
    config: ProcessConfig, database: Database, clock: Clock, keys: IssuerKeys, auditor: Auditor
) -> SignIn:
    """The parts of the token endpoint."""
    addresses = addresses_of(config)
    authority = LiveView(database, load_authority, clock=clock)
    own = config.settings.identity
    return SignIn(
        TokenEndpoint(
            authority,
            addresses,
            clock,
            issuers=keys,
            limits=SignInLimits(own.tokens_per_minute, own.failures_per_minute, clock),
        ),
        addresses,
        clock,
        auditor,
    )


def refreshing(view: LiveView[T]) -> Callable[[int], None]:
    """A listener that brings the view up to date at each change."""

    def refresh(_change: int) -> None:
        view.refresh()

    return refresh


def prepare_store(folder: DataFolder, settings: Settings, known: Sample | None) -> Sample:
    """Bring the store up to date and make sure of the sample. Runs before the processes start."""
    clock = SystemClock()
    database = Database.open(folder.store)
    try:
        database.migrate()
        with database.write() as connection:
            subscription = known.subscription_id if known else home_subscription(connection) or new_guid()
            stale = known is None or not is_secret_of(
                connection, known.client_id, known.client_secret, clock.now()
            )
            first = bootstrap(connection, subscription, clock.now(), reset=stale)
        admin = unwatched(database, Addresses("https://localhost"), clock)
        made = bootstrap_sample(
            arm_deps(settings, admin),
            subscription=subscription,
            principal_id=first.principal_id,
            app_id=first.app_id,
            tenant=first.tenant_id,
        )
        if settings.server.managed_identity is not None:
            with database.write() as connection:
                ensure_managed_identity(connection, made.rule_id, clock.now())
    finally:
        database.close()
    secret = first.secret or (known.client_secret if known else "")
    return Sample(
        tenant_id=first.tenant_id,
        client_id=first.app_id,
        client_secret=secret,
        principal_id=first.principal_id,
        subscription_id=made.subscription,
        resource_group=made.resource_group,
        location=made.location,
        workspace_name=made.workspace_name,
        workspace_id=made.workspace_id,
        dcr_immutable_id=made.dcr_immutable_id,
        dcr_stream=made.stream,
        table=made.table,
    )


def unwatched(database: Database, addresses: Addresses, clock: Clock) -> Admin:
    """What the server's own changes are made with: nobody waits until the gateways have them."""
    access = LiveView(database, load_access, clock=clock)

    async def published(_change: int) -> None:
        """Those that run find out by themselves."""

    return Admin(database, access, TokenVerifier(access, addresses, clock), addresses, clock, published)


def arm_deps(settings: Settings, admin: Admin) -> ArmDeps:
    """The control plane's parts."""
    return ArmDeps(
        database=admin.database,
        verifier=admin.verifier,
        access=admin.view,
        addresses=admin.addresses,
        clock=admin.clock,
        validate=partial(validate_rule, settings=settings.transform),
        published=admin.published,
        endpoint_template=settings.ingest.endpoint_template,
        limits=RuleLimits.azure() if settings.profile == "azure" else RuleLimits(),
    )
