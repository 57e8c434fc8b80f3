"""The audit log, put together: who writes it, who tells it, and what each surface's calls are in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.app.common import running_beside
from headrace.arm.bootstrap import read_sample
from headrace.arm.ids import ASKED_TYPES, parse_path
from headrace.arm.model import Activity, Note
from headrace.catalog.model import Catalog
from headrace.clock import SystemClock
from headrace.data_folder import DataFolder
from headrace.identity.bootstrap import home_subscription
from headrace.identity.explain_routes import ACTION as ROLES_ACTION
from headrace.identity.model import ARM, QUERY, Caller, Surface, TokenError
from headrace.identity.surface import Admin
from headrace.identity.verify import TokenVerifier
from headrace.journal.model import JournalWriter
from headrace.observe.audit.events import AuditEvent, Auditor, Category, NoAudit
from headrace.observe.audit.heads import Heads
from headrace.observe.audit.middleware import Answered, Describe
from headrace.observe.audit.remote import RemoteAuditor, receiving
from headrace.observe.audit.trail import AuditTrail
from headrace.observe.own_rows import AUDIT
from headrace.process import ProcessConfig
from headrace.settings import Settings
from headrace.store.database import Database
from headrace.wire.problems import HttpError, json_response
from headrace.wire.targets import path_segments

_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_ARM = ("subscriptions", "providers", "tenants")
_QUESTIONS = frozenset(f"{name}/action" for name in ASKED_TYPES)
"""What is asked by POST and changes nothing."""


async def audit_trail(
    config: ProcessConfig,
    journal: JournalWriter,
    database: Database,
    catalog: Callable[[], Catalog],
    materialise: Callable[[str, str], None],
    stack: contextlib.AsyncExitStack,
) -> AuditTrail | None:
    """The log, written until the stack ends; None when it is switched off.

    `materialise(customer_id, table)` makes sure that a standard table is stored.
    """
    settings, folder = config.settings.audit, DataFolder(config.settings.data_dir)
    if not settings.enabled:
        return None
    with database.read() as connection:
        subscription = home_subscription(connection)
    sample = read_sample(database, subscription) if subscription else None
    wanted = settings.workspace or (sample.workspace_id if sample else "")

    def workspace() -> str | None:
        found = _workspace(catalog(), wanted)
        if found is not None:
            materialise(found, AUDIT)
        return found

    trail = AuditTrail(journal, await asyncio.to_thread(Heads, folder.audit), workspace, SystemClock())
    await stack.enter_async_context(running_beside(trail.run()))
    await stack.enter_async_context(receiving(folder.socket("audit"), trail))
    return trail


def remote_auditor(folder: DataFolder, settings: Settings) -> Auditor:
    """What gateways and the query process tell."""
    return RemoteAuditor(folder.socket("audit")) if settings.audit.enabled else NoAudit()


def audit_routes(admin: Admin, trail: AuditTrail) -> list[Route]:
    """`GET /headrace/audit`: `{"workspace", "publicKey", "heads": [...]}`, what the rows are verified with."""

    async def show(_admin: Admin, _request: Request, _body: Mapping[str, Any]) -> Response:
        heads = await asyncio.to_thread(trail.heads)
        document = {
            "workspace": await asyncio.to_thread(trail.workspace),
            "publicKey": trail.public_key,
            "heads": [msgspec.to_builtins(head) for head in heads],
        }
        return json_response(document)

    return [admin.route("/headrace/audit", "GET", show, ROLES_ACTION)]


def _workspace(catalog: Catalog, wanted: str) -> str | None:
    """The customer id of the workspace; where it is gone, of the first that there is."""
    lowered = wanted.lower()
    if lowered in catalog.workspaces:
        return lowered
    by_id = catalog.by_resource_id.get(lowered)
    if by_id is not None:
        return by_id.customer_id
    first = min(catalog.by_resource_id, default=None)
    return catalog.by_resource_id[first].customer_id if first is not None else None


def deployments_told(auditor: Auditor) -> Note:
    """Tells the log of the calls that deployments make; for the event loop that it is made in."""
    loop = asyncio.get_running_loop()

    def note(made: Activity) -> None:
        event = AuditEvent(
            "Management",
            made.operation,
            made.status,
            made.code,
            made.principal,
            made.client,
            made.issuer,
            made.address,
            made.correlation,
            made.scope,
            made.details,
        )
        loop.call_soon_threadsafe(auditor.tell, event)

    return note


def describe_management(verifier: TokenVerifier, home: Callable[[], str]) -> Describe:
    """The control plane's and the administration's calls: every change, and every refusal."""

    def describe(answered: Answered) -> AuditEvent | None:
        segments = path_segments(answered.path)
        first = segments[0].lower() if segments else ""
        if first in _ARM:
            operation, scope = _resource(answered)
            if operation in _QUESTIONS and not answered.refused:
                return None
        elif first == "headrace" and len(segments) > 1:
            verb = _VERBS.get(answered.method, "action")
            operation, scope = f"Headrace/{segments[1]}/{verb}", home()
            if len(segments) > 2:
                scope = f"{scope}/headrace/{'/'.join(segments[1:])}"
        elif answered.refused and first in ("v1.0", "beta"):
            operation, scope = "Headrace/directory/read", home()
        else:
            return None
        return _event("Management", operation, scope, answered, _caller(verifier, answered, ARM))

    return describe


def describe_queries(verifier: TokenVerifier) -> Describe:
    """Queries that were not let in."""

    def describe(answered: Answered) -> AuditEvent | None:
        if not answered.refused:
            return None
        segments = path_segments(answered.path)
        scope = segments[2] if len(segments) > 3 and segments[1].lower() == "workspaces" else ""
        operation = "Microsoft.OperationalInsights/workspaces/query/read"
        return _event("Query", operation, scope, answered, _caller(verifier, answered, QUERY))

    return describe


def _resource(answered: Answered) -> tuple[str, str]:
    try:
        target = parse_path(answered.path)
    except HttpError:
        return f"{answered.method} of no resource", ""
    verb = _VERBS.get(answered.method, "action")
    scope = target.parent_id if target.is_collection else target.id
    return f"{target.type}/{verb}", scope


def _caller(verifier: TokenVerifier, answered: Answered, surface: Surface) -> Caller | None:
    header = answered.headers.get(b"authorization")
    try:
        return verifier.verify(None if header is None else header.decode("latin-1"), surface)
    except TokenError:
        return None


def _event(
    category: Category, operation: str, scope: str, answered: Answered, caller: Caller | None
) -> AuditEvent:
    return AuditEvent(
        category,
        operation,
        answered.status,
        answered.code,
        caller.object_id if caller else "",
        caller.app_id if caller else "",
        (caller.issuer or "") if caller else "",
        answered.address,
        answered.request_id,
        scope,
    )
