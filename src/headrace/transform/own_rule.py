"""The rules that the server itself sends under: one for each workspace, to `Usage`, `LAQueryLogs` and their like.

They stand in no store. Their rows go through a journal and the pipeline like any other rows.
"""

from __future__ import annotations

from functools import cache

from headrace.catalog import standard
from headrace.catalog.model import Workspace
from headrace.catalog.rules import DataFlow, Rule, Stream
from headrace.kql.types import KustoType, SchemaColumn
from headrace.observe.own_rows import (
    AUDIT,
    OPERATION,
    QUERY_LOGS,
    USAGE,
    VERSION,
    rule_id,
    stream_of,
    workspace_of,
)
from headrace.transform.model import CatalogView, RuleSource

TABLES = (USAGE, OPERATION, AUDIT, QUERY_LOGS)
"""In the order of the flows, which never changes: their numbers stand in the tables' logs."""

_OF_RESOURCES = (AUDIT, QUERY_LOGS)


def with_own_rules(rules: RuleSource, catalog: CatalogView) -> RuleSource:
    """`rules`, and the own rule of each workspace that there is."""

    def find(immutable_id: str, version: int) -> Rule:
        workspace = workspace_of(immutable_id)
        if workspace is None:
            return rules(immutable_id, version)
        return own_rule(catalog.current.workspaces[workspace])

    return find


def own_rule(workspace: Workspace) -> Rule:
    """The own rule of a workspace."""
    flows = tuple(
        DataFlow(
            index,
            (stream_of(table),),
            ("own",),
            (workspace.resource_id,),
            f"Microsoft-{table}",
            table,
            "source",
        )
        for index, table in enumerate(TABLES)
    )
    streams = {stream_of(table): _stream(table) for table in TABLES}
    return Rule(rule_id(workspace.customer_id), VERSION, workspace.resource_id, "Direct", streams, flows)


@cache
def _stream(table: str) -> Stream:
    found = standard.untouched("", table)
    assert found is not None
    columns = [SchemaColumn(column.name, column.type) for column in found.schema.columns]
    if table in _OF_RESOURCES:
        columns.append(SchemaColumn("_ResourceId", KustoType.STRING))
    return Stream(stream_of(table), tuple(columns))
