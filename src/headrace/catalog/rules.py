"""A data collection rule, read from its ARM document into what the gateway, validation and pipeline need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.kql.types import SchemaColumn


@dataclass(frozen=True, slots=True)
class Stream:
    """An input stream: the top-level properties that incoming objects are read for."""

    name: str
    columns: tuple[SchemaColumn, ...]


@dataclass(frozen=True, slots=True)
class DataFlow:
    """One way out of a stream. `index` is its place in `properties.dataFlows`: its identity in the journal.

    `workspaces` are the lower-case ARM ids of its Log Analytics destinations; `table` is the name of the
    output table (`MyTable_CL`, `Syslog`); `transform` is the KQL text, `source` when there is none.
    """

    index: int
    streams: tuple[str, ...]
    destinations: tuple[str, ...]
    workspaces: tuple[str, ...]
    output_stream: str
    table: str
    transform: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One version of a data collection rule: what a journal record that was accepted under it goes through."""

    immutable_id: str
    version: int
    resource_id: str
    kind: str
    streams: Mapping[str, Stream]
    flows: tuple[DataFlow, ...]

    def flows_of(self, stream: str) -> tuple[DataFlow, ...]:
        """The flows that take this input stream, by index."""
        return tuple(flow for flow in self.flows if stream in flow.streams)
