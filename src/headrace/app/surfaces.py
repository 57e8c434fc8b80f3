"""The engine's surfaces: the control plane and identity, for the gateways and for apps on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from headrace.app.activity import ActivityLog
from headrace.app.auditing import audit_routes, audit_trail, deployments_told, describe_management
from headrace.app.common import http_app, issuer_keys, ready_route, running_beside, token_verifier
from headrace.app.control import administration, control_plane_routes, receipt_route, refreshing, sign_in
from headrace.app.ground import Ground
from headrace.catalog.model import Catalog
from headrace.clock import DAY, HOUR, Clock
from headrace.identity.access import load_access
from headrace.identity.keys import is_rotation_due, rotate_if_due
from headrace.identity.managed import ManagedIdentity, managed_routes
from headrace.identity.routes import identity_routes, token_routes
from headrace.journal.mending import MendingJournal
from headrace.observe.answers import Receipt, make_receipt
from headrace.observe.audit.events import Auditor, NoAudit
from headrace.observe.audit.middleware import Audited
from headrace.observe.receipts import Frame, Receipts
from headrace.observe.rule_metrics import RuleMetrics
from headrace.serving import serving_http, serving_socket
from headrace.settings import IdentitySettings
from headrace.store.database import Database, StoreError
from headrace.store.live import LiveView
from headrace.tables.model import TablesError
from headrace.tables.reader import TableReader
from headrace.tables.writer import TableStore
from headrace.transform.model import RuleSource, find_table
from headrace.transform.undeclared import receipt_notes

_log = logging.getLogger(__name__)
_KEY_LOOK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the data's way the surfaces tell of, and where they write what they are asked."""

    tables: TableStore
    receipts: Receipts
    metrics: RuleMetrics
    own_journal: MendingJournal


async def serve_surfaces(ground: Ground, shown: Shown, stack: contextlib.AsyncExitStack) -> None:
    """Serve them until `stack` closes: on the engine's socket, and on loopback what the settings ask for."""
    config, folder, clock = ground.config, ground.folder, ground.clock
    database, catalog = ground.database, ground.catalog
    issuers = issuer_keys(config, clock, stack)
    access = LiveView(database, load_access, clock=clock)
    database.on_change(refreshing(access))
    verifier = token_verifier(config, access, clock, issuers)
    trail = await audit_trail(
        config, shown.own_journal, database, lambda: catalog.current, ground.make_table, stack
    )
    auditor: Auditor = trail or NoAudit()
    activity = ActivityLog(trail, lambda: catalog.current, TableReader(folder.tables)) if trail else None
    signing_in = sign_in(config, database, clock, issuers, auditor)
    admin = administration(config, database, ground.feed, access, verifier, clock)
    routes = [
        ready_route(),
        *control_plane_routes(config, admin, shown.metrics.points, activity, deployments_told(auditor)),
        *(audit_routes(admin, trail) if trail else ()),
        receipt_route(admin, _receipt_finder(shown.receipts, catalog, shown.tables, ground.rules)),
        *identity_routes(signing_in),
    ]
    audited = Audited(http_app(routes), auditor, describe_management(verifier, lambda: admin.home), clock.now)
    await stack.enter_async_context(serving_socket(audited, folder.socket("engine")))
    if config.http_authority_port is not None:
        authority = http_app(token_routes(replace(signing_in, behind_gateway=False)))
        await stack.enter_async_context(serving_http(authority, "127.0.0.1", config.http_authority_port))
    if config.managed_identity_port is not None:
        identity = ManagedIdentity(signing_in.endpoint, clock, config.managed_identity_header, auditor)
        local = http_app(managed_routes(identity))
        await stack.enter_async_context(serving_http(local, "127.0.0.1", config.managed_identity_port))
    await stack.enter_async_context(running_beside(_renew_keys(database, ground.settings.identity, clock)))


def _receipt_finder(
    receipts: Receipts, catalog: LiveView[Catalog], tables: TableStore, rules: RuleSource
) -> Callable[[str], Receipt | None]:
    """Looks a call up; a table's own position says whether its rows are there."""

    def published(frame: Frame, offset: int) -> bool | None:
        table = find_table(catalog.current, frame.workspace, frame.table)
        if table is None or table.incarnation != frame.incarnation:
            return None
        try:
            return tables.position(table, frame.app_id) >= offset
        except TablesError:
            return False

    def notes(frame: Frame, names: Sequence[str]) -> Sequence[str]:
        try:
            stream = rules(frame.rule, frame.rule_version).streams[frame.stream]
        except LookupError:
            return ()
        return receipt_notes(stream, names)

    def find(request_id: str) -> Receipt | None:
        return make_receipt(request_id, receipts.find(request_id), published, notes)

    return find


async def _renew_keys(database: Database, settings: IdentitySettings, clock: Clock) -> None:
    """Let a new signing key take over by age, and drop old ones once no token of theirs is alive."""
    longest, overlap = int(settings.key_days * DAY), int(settings.key_overlap_hours * HOUR)

    def renew() -> None:
        with database.read() as connection:
            if not is_rotation_due(connection, clock.now(), longest=longest, overlap=overlap):
                return
        with database.write() as connection:
            rotate_if_due(connection, clock.now(), longest=longest, overlap=overlap)

    while True:
        try:
            await asyncio.to_thread(renew)
        except (SQLAlchemyError, StoreError) as error:
            _log.warning("signing keys were not looked at: %s", type(error).__name__)
        await asyncio.sleep(_KEY_LOOK_SECONDS)
