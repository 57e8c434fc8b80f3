"""From a table of the Data Collector API to the data collection rule that fills it instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.collector.mapping import TYPES, Columns, transform_text
from headrace.collector.model import Source
from headrace.kql.types import KustoType


def properties_of(columns: Iterable[tuple[str, KustoType]]) -> dict[str, tuple[str, ...]]:
    """The properties that a table's columns were made for, each with the suffixes that it has."""
    found: dict[str, tuple[str, ...]] = {}
    for name, kusto in columns:
        base, mark, suffix = name.rpartition("_")
        if mark and base and TYPES.get(suffix) is kusto:
            found[base] = (*found.get(base, ()), suffix)
    return found


def rule_document(
    log_type: str,
    columns: Iterable[tuple[str, KustoType]],
    *,
    workspace_id: str,
    location: str,
    time_field: str = "",
) -> dict[str, Any]:
    """The ARM document of a `Direct` rule that takes the records an old sender posts as they are.

    `columns` are the table's. Its transform converts values as the old API did; properties that the table has no
    column for are not declared, and so left out.
    """
    source = Source("", log_type, time_field)
    mapping = Columns(properties_of(columns), (), ())
    names = dict.fromkeys((*mapping.suffixes, *([time_field] if time_field else [])))
    return {
        "location": location,
        "kind": "Direct",
        "properties": {
            "description": f"Takes the records of log type {log_type}, as the Data Collector API did.",
            "streamDeclarations": {
                source.stream: {"columns": [{"name": name, "type": "dynamic"} for name in names]}
            },
            "destinations": {"logAnalytics": [{"workspaceResourceId": workspace_id, "name": "workspace"}]},
            "dataFlows": [
                {
                    "streams": [source.stream],
                    "destinations": ["workspace"],
                    "transformKql": transform_text(source, mapping),
                    "outputStream": source.stream,
                }
            ],
        },
    }
