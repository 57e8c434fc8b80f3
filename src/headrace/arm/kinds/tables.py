"""Tables of a workspace: custom ones, and Microsoft's with columns added. Mirrors workspaces/tables.

A standard table is in every workspace without a row of the store; rows are made once somebody changes the
table or a rule sends to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from headrace.arm import store
from headrace.arm.ids import TABLE_TYPE, WORKSPACE_TYPE, Target
from headrace.arm.kinds.base import (
    Kind,
    answer,
    changed,
    check_etag,
    clean,
    invalid,
    new_resource,
    not_found,
    render,
    require_parent,
)
from headrace.arm.kinds.cascade import remove_resource
from headrace.arm.kinds.tableplan import RETENTION_FIELDS, Plan, read_plan
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource, TableRow
from headrace.arm.views import decode_schema, encode_schema, interactive_retention, workspace_retention
from headrace.catalog import schema, standard
from headrace.catalog.model import TableSchema
from headrace.catalog.names import MAX_CUSTOM_TABLES
from headrace.clock import iso
from headrace.errors import ProblemError
from headrace.ids import new_guid
from headrace.wire.problems import HttpError, http_error

_READ_ONLY = frozenset(
    {
        "provisioningState",
        "archiveRetentionInDays",
        "retentionInDaysAsDefault",
        "totalRetentionInDaysAsDefault",
        "lastPlanModifiedDate",
        "resultStatistics",
    }
)
_READ_ONLY_SCHEMA = frozenset(
    {
        "standardColumns",
        "categories",
        "labels",
        "solutions",
        "isTroubleshootingAllowed",
        "source",
        "tableType",
        "tableSubType",
    }
)


_REFUSED = {
    "cancelsearch": "There are no search jobs to cancel: query the table itself, all of it is at hand.",
    "deletedata": "Single rows cannot be deleted. Shorten the table's totalRetentionInDays, which deletes rows by "
    "the day, or delete the table.",
}
"""Azure's actions that there is no use for, or no way to do, and what to do instead."""


class Tables(Kind):
    """Microsoft.OperationalInsights/workspaces/tables. Every write is done when it is answered."""

    type = TABLE_TYPE
    actions = frozenset({"migrate", *_REFUSED})
    silent_actions = frozenset({"migrate"})

    def get(self, call: Call) -> Answer:
        """GET of a table."""
        workspace = require_parent(call, WORKSPACE_TYPE)
        row = _find(call.connection, workspace, call.target.name)
        if row is None:
            raise not_found(call)
        item = store.get(call.connection, call.target.key)
        body = _shown(call.target.id, workspace, row, item)
        return answer(item, body) if item is not None else Answer(200, body)

    def list(self, call: Call) -> Answer:
        """GET of all tables, Microsoft's too; one page, as in Azure."""
        workspace = require_parent(call, WORKSPACE_TYPE)
        rows = {row.name: row for row in store.live_tables(call.connection, [workspace.unique_id or ""])}
        items = store.select_page(call.connection, self.type, parent_key=workspace.key)
        by_name = {item.name: item for item in items}
        shown = []
        for name in sorted({*rows, *standard.names()}):
            row = rows.get(name) or _untouched(workspace, name)
            resource_id = f"{workspace.id}/tables/{name}"
            shown.append(_shown(resource_id, workspace, row, by_name.get(name)))
        return Answer(200, {"value": shown})

    def put(self, call: Call) -> Answer:
        """PUT: create, or replace: absent retention goes back to the default, `columns` replace."""
        return self._write(call, replace_all=True)

    def patch(self, call: Call) -> Answer:
        """PATCH: what is absent stays, `columns` are added."""
        return self._write(call, replace_all=False)

    def delete(self, call: Call) -> Answer:
        """DELETE of a custom table; making it again makes an empty one."""
        workspace = require_parent(call, WORKSPACE_TYPE)
        name = call.target.name
        if standard.is_standard(name):
            raise http_error(
                400,
                "InvalidParameter",
                f"'{name}' is a standard table: only custom tables (_CL) can be deleted. To take its custom "
                "columns away, PUT it with columns: [].",
            )
        item = store.get(call.connection, call.target.key)
        check_etag(call, item)
        if item is None:
            return Answer(204)
        store.mark_tables_deleted(call.connection, workspace.unique_id or "", call.now, name)
        remove_resource(call, item)
        return Answer(200)

    def post(self, call: Call) -> Answer:
        """POST `migrate`: a classic table becomes one that rules write to. Idempotent. Others are refused by name."""
        workspace = require_parent(call, WORKSPACE_TYPE)
        refusal = _REFUSED.get(call.action or "")
        if refusal is not None:
            raise http_error(400, "OperationNotSupported", refusal)
        row = _find(call.connection, workspace, call.target.name)
        if row is None:
            raise not_found(call)
        item = store.get(call.connection, call.target.key)
        if item is not None and item.state.get("classic"):
            state = {name: value for name, value in item.state.items() if name != "classic"}
            store.save(call.connection, changed(call, item, item.document, state=state))
        return Answer(200)

    def _write(self, call: Call, *, replace_all: bool) -> Answer:
        workspace = require_parent(call, WORKSPACE_TYPE)
        name = call.target.name
        document = clean(call.body, _READ_ONLY)
        properties = document["properties"]
        for job in ("searchResults", "restoredLogs"):
            if properties.get(job) is not None:
                raise http_error(
                    400,
                    "InvalidParameter",
                    "Search jobs and restores are not supported: query the table itself, all of it is at hand.",
                    target=f"properties.{job}",
                )
        sent = properties.get("schema")
        if sent is not None and not isinstance(sent, dict):
            raise invalid("'schema' is an object.", "properties.schema")
        sent = {field: value for field, value in (sent or {}).items() if field not in _READ_ONLY_SCHEMA}
        item = store.get(call.connection, call.target.key)
        row = _find(call.connection, workspace, name)
        if row is None and not replace_all:
            raise not_found(call)
        check_etag(call, item)
        try:
            schema.check_table_name(name, sent.get("name"))
            made = _next_schema(name, row, sent.get("columns"), replace_all=replace_all)
        except ProblemError as error:
            raise table_invalid(error) from None
        before = Plan(row.plan, row.retention_days, row.total_retention_days) if row is not None else None
        days = workspace_retention(workspace)
        plan = read_plan(properties, before, replace_all=replace_all, workspace_days=days)
        row = self._store(call, workspace, row, made, plan)
        saved = _document(item, document, sent, replace_all=replace_all)
        state = dict(item.state) if item is not None else {}
        if before is not None and plan.name != before.name:
            state["planModified"] = call.now
        base = item if item is not None else new_resource(call, saved, workspace.location)
        item = changed(call, base, saved, state=state)
        store.save(call.connection, item)
        return answer(item, _shown(item.id, workspace, row, item))

    def _store(
        self, call: Call, workspace: Resource, row: TableRow | None, made: TableSchema, plan: Plan
    ) -> TableRow:
        customer_id, name = workspace.unique_id or "", call.target.name
        encoded = encode_schema(made)
        if row is None:
            _check_count(call, workspace)
            row = TableRow(
                new_guid(),
                customer_id,
                name,
                plan.name,
                plan.retention,
                plan.total,
                call.now,
                schemas=((made.version, encoded),),
            )
            store.add_table(call.connection, row)
            return row
        if standard.is_standard(name):
            ensure_standard(call.connection, customer_id, name, call.now)
        if made.version != row.schemas[-1][0]:
            store.add_table_schema(call.connection, row.incarnation, made.version, encoded, call.now)
            row = replace(row, schemas=(*row.schemas, (made.version, encoded)))
        store.set_table_plan(call.connection, row.incarnation, plan.name, plan.retention, plan.total)
        return replace(row, plan=plan.name, retention_days=plan.retention, total_retention_days=plan.total)


def table_invalid(error: ProblemError) -> HttpError:
    """400 with the first problem's code; the others, if any, in `details`."""
    first, *rest = error.problems
    if not rest:
        return HttpError(400, first)
    return http_error(400, first.code, "The table is not valid.", details=error.problems)


def ensure_standard(connection: Connection, customer_id: str, name: str, now: int) -> None:
    """Store a standard table of a workspace as it is today, if nothing is stored about it yet.

    From then on its columns and their ids stay what they are, whatever a newer list of standard tables says.
    """
    if next(store.live_tables(connection, [customer_id], name), None) is not None:
        return
    table = standard.untouched(customer_id, name)
    if table is None:
        return
    schemas = tuple((item.version, encode_schema(item)) for item in table.schemas)
    row = TableRow(table.incarnation, customer_id, name, "Analytics", None, None, now, schemas=schemas)
    store.add_table(connection, row)


def table_exists(connection: Connection, target: Target) -> bool:
    """Whether the id is that of a standard table of a workspace that exists."""
    if target.type != TABLE_TYPE or not standard.is_standard(target.name):
        return False
    return store.exists(connection, target.parent_id.lower())


def _untouched(workspace: Resource, name: str) -> TableRow:
    table = standard.untouched(workspace.unique_id or "", name)
    assert table is not None
    schemas = tuple((item.version, encode_schema(item)) for item in table.schemas)
    return TableRow(
        table.incarnation, table.workspace, name, "Analytics", None, None, workspace.created, schemas=schemas
    )


def _find(connection: Connection, workspace: Resource, name: str) -> TableRow | None:
    row = next(store.live_tables(connection, [workspace.unique_id or ""], name), None)
    if row is None and standard.is_standard(name):
        return _untouched(workspace, name)
    return row


def _next_schema(name: str, row: TableRow | None, columns: object, *, replace_all: bool) -> TableSchema:
    if row is None:
        specs = schema.parse_columns(columns, name) if columns is not None else ()
        return schema.first_schema(name, specs)
    history = [decode_schema(version, text) for version, text in row.schemas]
    if columns is None:
        return history[-1]
    specs = schema.parse_columns(columns, name)
    if replace_all:
        return schema.replace_columns(name, history, specs)
    return schema.add_columns(name, history, specs)


def _check_count(call: Call, workspace: Resource) -> None:
    items = store.select_page(call.connection, TABLE_TYPE, parent_key=workspace.key)
    count = sum(1 for item in items if schema.is_custom(item.name))
    if count >= MAX_CUSTOM_TABLES:
        raise http_error(
            400,
            "InvalidParameter",
            f"Workspace '{workspace.name}' has {count} custom tables; {MAX_CUSTOM_TABLES} is the most.",
        )


def _document(
    item: Resource | None, document: dict[str, Any], sent: dict[str, Any], *, replace_all: bool
) -> dict[str, Any]:
    """What is kept of a request: unknown properties and what it says of columns beyond name and type."""
    properties = {n: v for n, v in document["properties"].items() if n not in (*RETENTION_FIELDS, "plan")}
    old_columns = _sent_columns(item)
    new_columns = {c["name"]: c for c in sent.get("columns") or [] if isinstance(c, dict)}
    if replace_all:
        columns = new_columns if sent.get("columns") is not None else old_columns
        kept: dict[str, Any] = {}
    else:
        columns = {**old_columns, **new_columns}
        before = dict(item.properties) if item is not None else {}
        kept = dict(before.get("schema") or {})
        properties = {**before, **properties}
    properties["schema"] = {**kept, **sent, "columns": list(columns.values())}
    return {**document, "properties": properties}


def _sent_columns(item: Resource | None) -> dict[str, Mapping[str, Any]]:
    kept = item.properties.get("schema") if item is not None else None
    columns = kept.get("columns") if isinstance(kept, dict) else None
    return {column["name"]: column for column in columns or []}


def _shown(resource_id: str, workspace: Resource, row: TableRow, item: Resource | None) -> dict[str, Any]:
    kept = dict(item.properties) if item is not None else {}
    sent_schema = kept.pop("schema", None) or {}
    current = decode_schema(*row.schemas[-1])
    columns, built_in = schema.column_lists(row.name, current, list(_sent_columns(item).values()))
    default = workspace_retention(workspace)
    retention = interactive_retention(row.plan, row.retention_days, default)
    total = max(row.total_retention_days or retention, retention)
    is_custom = schema.is_custom(row.name)
    classic = item is not None and bool(item.state.get("classic"))
    ruled = is_custom or bool(columns)
    properties: dict[str, Any] = {
        **kept,
        "plan": row.plan,
        "retentionInDays": retention,
        "totalRetentionInDays": total,
        "archiveRetentionInDays": total - retention,
        "retentionInDaysAsDefault": row.retention_days is None,
        "totalRetentionInDaysAsDefault": row.total_retention_days is None,
        "provisioningState": "Succeeded",
        "schema": {
            **sent_schema,
            "name": row.name,
            "columns": columns,
            "standardColumns": built_in,
            "categories": [],
            "labels": [],
            "solutions": ["LogManagement"],
            "isTroubleshootingAllowed": not is_custom,
            "source": "customer" if is_custom else "microsoft",
            "tableType": "CustomLog" if is_custom else "Microsoft",
            "tableSubType": "Classic" if classic else "DataCollectionRuleBased" if ruled else "Any",
        },
    }
    if item is None:
        return {"id": resource_id, "name": row.name, "type": TABLE_TYPE, "properties": properties}
    if "planModified" in item.state:
        properties["lastPlanModifiedDate"] = iso(int(item.state["planModified"]))
    return render(item, properties, location=False)
