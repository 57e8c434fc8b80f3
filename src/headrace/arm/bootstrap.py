"""The sample of a first start: subscription, group, workspace, table, endpoint, rule and role.

It goes through the same kinds as a client's calls, so it is valid by the same checks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from headrace.arm import store
from headrace.arm.kinds.base import Kind
from headrace.arm.kinds.datacollectionrules import Rules
from headrace.arm.kinds.endpoints import Endpoints
from headrace.arm.kinds.resourcegroups import ResourceGroups
from headrace.arm.kinds.subscriptions import Subscriptions
from headrace.arm.kinds.tables import Tables
from headrace.arm.kinds.workspaces import Workspaces
from headrace.arm.model import ArmDeps, Call
from headrace.identity.access import Access
from headrace.identity.assignments import assign
from headrace.identity.model import Caller
from headrace.identity.roles import MONITORING_METRICS_PUBLISHER, OWNER
from headrace.store.database import Database

LOCATION = "local"
GROUP = "headrace-sample"
WORKSPACE = "headrace-workspace"
TABLE = "HeadraceSample_CL"
STREAM = "Custom-HeadraceSample"
ENDPOINT = "headrace-endpoint"
RULE = "headrace-rule"
VERSION = "2023-03-11"

_TABLE_COLUMNS = (
    ("TimeGenerated", "dateTime", "when it happened"),
    ("Computer", "string", "where it happened"),
    ("Level", "string", "Information, Warning or Error"),
    ("Message", "string", "what happened, in a sentence"),
    ("DurationMs", "real", "how long it took, in milliseconds"),
    ("Properties", "dynamic", "anything else that was sent"),
)
_STREAM_COLUMNS = (
    ("Time", "datetime"),
    ("Computer", "string"),
    ("Level", "string"),
    ("Message", "string"),
    ("DurationMs", "real"),
    ("Properties", "dynamic"),
)
_TRANSFORM = (
    "source"
    " | where isnotempty(Message)"
    " | extend TimeGenerated = iif(isnull(Time), now(), Time)"
    " | extend Level = iif(isempty(Level), 'Information', Level)"
    " | project TimeGenerated, Computer, Level, Message, DurationMs, Properties"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the env file says of the sample. `workspace_id` is the workspace's customerId."""

    subscription: str
    resource_group: str
    location: str
    workspace_name: str
    workspace_id: str
    dcr_immutable_id: str
    stream: str
    table: str
    rule_id: str


def bootstrap_sample(
    deps: ArmDeps, *, subscription: str, principal_id: str, app_id: str, tenant: str
) -> Sample:
    """Make the sample where it is missing and answer it; what is there stays as it is.

    `principal_id` is the object id that may send through the sample's rule. A sample that was made once and
    then deleted in part is completed again. Raises `HttpError` when a name is taken by something else.
    """
    subscription = subscription.lower()
    caller = Caller(principal_id, app_id, tenant, "", 0)
    found = read_sample(deps.database, subscription)
    if found is not None:
        return found
    with deps.database.write() as connection:
        make = _Maker(deps, connection, caller)
        make.subscription(subscription)
        make.all(f"/subscriptions/{subscription}/resourceGroups/{GROUP}", principal_id)
    made = read_sample(deps.database, subscription)
    assert made is not None
    return made


def read_sample(database: Database, subscription: str) -> Sample | None:
    """The sample as it is stored; None when a part of it is missing."""
    group = f"/subscriptions/{subscription.lower()}/resourcegroups/{GROUP}"
    workspace_key = f"{group}/providers/microsoft.operationalinsights/workspaces/{WORKSPACE}"
    with database.read() as connection:
        workspace = store.get(connection, workspace_key)
        rule = store.get(connection, f"{group}/providers/microsoft.insights/datacollectionrules/{RULE}")
        has_table = store.exists(connection, f"{workspace_key}/tables/{TABLE}")
    if workspace is None or rule is None or not has_table:
        return None
    return Sample(
        subscription.lower(),
        GROUP,
        workspace.location,
        workspace.name,
        workspace.unique_id or "",
        rule.unique_id or "",
        STREAM,
        TABLE,
        rule.id,
    )


class _Maker:
    """Puts resources inside one transaction."""

    def __init__(self, deps: ArmDeps, connection: Connection, caller: Caller) -> None:
        # The first start makes the sample before anybody holds a role.
        grants = {caller.object_id: {"": (OWNER,)}}
        access = Access(0, caller.tenant, None, {}, {caller.object_id: caller.app_id}, grants)
        self._deps = replace(deps, access=_Granted(access))
        self._connection = connection
        self._caller = caller

    def subscription(self, subscription: str) -> None:
        """The subscription."""
        self._put(Subscriptions(), f"/subscriptions/{subscription}", {"displayName": "Headrace sample"})

    def all(self, group: str, principal_id: str) -> None:
        """Everything in the group, and the role at the rule."""
        workspace = f"{group}/providers/Microsoft.OperationalInsights/workspaces/{WORKSPACE}"
        endpoint = f"{group}/providers/Microsoft.Insights/dataCollectionEndpoints/{ENDPOINT}"
        rule = f"{group}/providers/Microsoft.Insights/dataCollectionRules/{RULE}"
        columns = [{"name": n, "type": t, "description": d} for n, t, d in _TABLE_COLUMNS]
        self._put(ResourceGroups(), group, {"location": LOCATION})
        self._put(Workspaces(), workspace, {"location": LOCATION, "properties": {}})
        table = {"properties": {"schema": {"name": TABLE, "columns": columns}}}
        self._put(Tables(), f"{workspace}/tables/{TABLE}", table)
        self._put(Endpoints(), endpoint, {"location": LOCATION, "properties": {}})
        document = {"location": LOCATION, "kind": "Direct", "properties": _rule(workspace, endpoint)}
        self._put(Rules(), rule, document)
        role = MONITORING_METRICS_PUBLISHER.id
        now = self._deps.clock.now()
        assign(self._connection, scope=rule, role=role, principal_id=principal_id, by=principal_id, now=now)

    def _put(self, kind: Kind, path: str, body: dict[str, Any]) -> None:
        call = Call.own(self._deps, self._connection, self._caller, "PUT", path, VERSION, body)
        if not store.exists(self._connection, call.target.key):
            kind.put(call)


@dataclass(frozen=True, slots=True)
class _Granted:
    """The one caller of a first start, as owner of everything."""

    current: Access

    def refresh(self) -> bool:
        """Nothing ever changes."""
        return False


def _rule(workspace: str, endpoint: str) -> dict[str, Any]:
    columns = [{"name": name, "type": type_name} for name, type_name in _STREAM_COLUMNS]
    return {
        "description": "Sends rows to the sample table.",
        "dataCollectionEndpointId": endpoint,
        "streamDeclarations": {STREAM: {"columns": columns}},
        "destinations": {"logAnalytics": [{"workspaceResourceId": workspace, "name": "workspace"}]},
        "dataFlows": [
            {
                "streams": [STREAM],
                "destinations": ["workspace"],
                "transformKql": _TRANSFORM,
                "outputStream": f"Custom-{TABLE}",
            }
        ],
    }
