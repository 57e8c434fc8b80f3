"""Deleted workspaces, which can be recovered for 14 days. Mirrors Microsoft.OperationalInsights/deletedWorkspaces.

A workspace that is deleted without `force` leaves a record of itself and of what was below it; its tables take no rows
and are shown nowhere, but their files stay. A PUT of a workspace with the same id puts all of that back. Roles are not:
who could use the workspace before has to be given a role again.
"""

from __future__ import annotations

from typing import Any

from headrace.arm import store
from headrace.arm.ids import DELETED_WORKSPACE_TYPE, WORKSPACE_TYPE
from headrace.arm.kinds.base import Kind, list_resources, require_scope
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.clock import DAY, iso

RECOVERABLE = 14 * DAY
"""How long a deleted workspace can be recovered, in microseconds."""


class DeletedWorkspaces(Kind):
    """Microsoft.OperationalInsights/deletedWorkspaces."""

    type = DELETED_WORKSPACE_TYPE

    def list(self, call: Call) -> Answer:
        """GET of a subscription's or group's workspaces that can be recovered."""
        require_scope(call)
        return list_resources(call, self.type, lambda _call, item: _shown(item))


def remember(call: Call, workspace: Resource) -> None:
    """Keep what recovers a workspace that is about to be removed; its tables take no rows from now on."""
    customer_id = workspace.unique_id or ""
    kept = [workspace, *store.below(call.connection, workspace.key)]
    store.mark_tables_deleted(call.connection, customer_id, call.now)
    store.remove(call.connection, workspace.key)
    subscription = f"/subscriptions/{workspace.subscription}"
    place = f"{subscription}/providers/{DELETED_WORKSPACE_TYPE}/{customer_id}"
    record = Resource(
        key=place.lower(),
        id=place,
        type=DELETED_WORKSPACE_TYPE,
        subscription=workspace.subscription,
        group_key=workspace.group_key,
        parent_key=subscription.lower(),
        name=workspace.name,
        # Without a location it is no resource of the group.
        location="",
        document={},
        etag=workspace.etag,
        created=workspace.created,
        created_by=workspace.created_by,
        modified=call.now,
        modified_by=call.caller.object_id,
        unique_id=customer_id,
        state={"resources": [store.packed(item) for item in kept]},
    )
    store.save(call.connection, record)


def recover(call: Call) -> Resource | None:
    """Put a deleted workspace back that has the id of the call; None when there is none to recover."""
    if store.exists(call.connection, call.target.key):
        return None
    record = _find(call)
    if record is None:
        return None
    store.remove(call.connection, record.key)
    resources = [store.unpacked(row) for row in record.state["resources"]]
    for item in resources:
        store.save(call.connection, item)
    store.restore_tables(call.connection, record.unique_id or "", record.modified)
    found: Resource = resources[0]
    return found


def _find(call: Call) -> Resource | None:
    group = call.target.scope.lower()
    for record in store.select_page(call.connection, DELETED_WORKSPACE_TYPE, group_key=group):
        same = record.name.lower() == call.target.name.lower()
        if same and record.modified > call.now - RECOVERABLE:
            return record
    return None


def _shown(record: Resource) -> dict[str, Any]:
    workspace = store.unpacked(record.state["resources"][0])
    return {
        "id": workspace.id,
        "name": workspace.name,
        "type": WORKSPACE_TYPE,
        "location": workspace.location,
        "tags": workspace.document.get("tags") or {},
        "properties": {
            "customerId": record.unique_id,
            "provisioningState": "Deleting",
            "deletedDate": iso(record.modified),
            "scheduledPurgeDate": iso(record.modified + RECOVERABLE),
        },
    }
