"""What goes with a resource when it is deleted."""

from __future__ import annotations

from dataclasses import replace

from headrace.arm import store
from headrace.arm.ids import RULE_TYPE, WORKSPACE_TYPE, parse_segments, split_path
from headrace.arm.kinds.locks import check_locks
from headrace.arm.model import Call
from headrace.arm.store import Resource
from headrace.catalog.rules import RuleLimits, parse_rule
from headrace.errors import ProblemError
from headrace.identity.assignments import delete_assignments_under


def remove_resource(call: Call, item: Resource) -> None:
    """Take a resource away with all that belongs to it: role assignments, associations, tables, rules.

    Raises `HttpError` 409 `ScopeLocked` when one of the rules is locked.
    Rule versions stay: what was accepted under a rule before is still carried out.
    """
    if item.type == WORKSPACE_TYPE:
        _remove_workspace_contents(call, item)
    if item.type == RULE_TYPE and item.unique_id:
        store.mark_rule_deleted(call.connection, item.unique_id, call.now)
    for inside in store.below(call.connection, item.key):
        store.remove(call.connection, inside.key)
    delete_assignments_under(call.connection, item.id)
    store.remove(call.connection, item.key)


def _remove_workspace_contents(call: Call, item: Resource) -> None:
    """The workspace's tables and keys, and the rules that send nowhere else."""
    store.mark_tables_deleted(call.connection, item.unique_id or "", call.now)
    store.remove_shared_keys(call.connection, item.unique_id or "")
    for rule in store.select_page(call.connection, RULE_TYPE):
        if _log_destinations(rule) == {item.key}:
            # It may stand in another group, with a lock of its own.
            check_locks(replace(call, target=parse_segments(split_path(rule.id))))
            remove_resource(call, rule)


def _log_destinations(item: Resource) -> set[str]:
    try:
        rule = parse_rule(item.document, item.unique_id or "", 1, limits=RuleLimits.stored())
    except ProblemError:
        return set()
    return {workspace for flow in rule.flows for workspace in flow.workspaces}
