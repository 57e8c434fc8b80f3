"""What goes with a resource when it is deleted."""

from __future__ import annotations

from headrace.arm import store
from headrace.arm.ids import RULE_TYPE, WORKSPACE_TYPE
from headrace.arm.kinds.deleted import remember
from headrace.arm.model import Call
from headrace.arm.store import Resource
from headrace.identity.assignments import delete_assignments_under


def remove_resource(call: Call, item: Resource) -> None:
    """Take a resource away with all that belongs to it: role assignments, associations, what is below it.

    A workspace can be recovered with its tables. The rules that send to it stay, and their rows become dead letters.
    Rule versions stay: what was accepted under a rule before is still carried out.
    """
    if item.type == WORKSPACE_TYPE:
        remember(call, item)
    if item.type == RULE_TYPE and item.unique_id:
        store.mark_rule_deleted(call.connection, item.unique_id, call.now)
    _remove(call, item)


def purge_workspace(call: Call, item: Resource) -> None:
    """Take a workspace away for good, with its tables and keys."""
    store.mark_tables_deleted(call.connection, item.unique_id or "", call.now)
    store.remove_shared_keys(call.connection, item.unique_id or "")
    _remove(call, item)


def _remove(call: Call, item: Resource) -> None:
    # What stands in a table has its name in lower case; the table's own key has not.
    for inside in store.below(call.connection, item.id.lower()):
        store.remove(call.connection, inside.key)
    delete_assignments_under(call.connection, item.id)
    store.remove(call.connection, item.key)
