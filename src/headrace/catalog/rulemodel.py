"""What a data collection rule is to the gateway, validation and pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.catalog.multistage import Stage
from headrace.kql.types import SchemaColumn

FLOW_STRIDE = 1000
"""A data flow of several streams is one `DataFlow` a stream; this is the step between their indices."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An input stream: the top-level properties that incoming objects are read for."""

    name: str
    columns: tuple[SchemaColumn, ...]


@dataclass(frozen=True, slots=True)
class DataFlow:
    """One way out of a stream. `index` is its identity in the journal, `place` where the rule has it.

    `streams` holds exactly one name: a data flow that lists several becomes several of these, with the
    indices `place`, `place + FLOW_STRIDE`, ... `workspaces` are the lower-case ARM ids of its Log Analytics
    destinations; `table` is the name of the output table (`MyTable_CL`, `Syslog`); `transform` is the KQL
    text, `source` when there is none or when the flow goes through the `stages` of a multi-stage transformation.
    """

    index: int
    streams: tuple[str, ...]
    destinations: tuple[str, ...]
    workspaces: tuple[str, ...]
    output_stream: str
    table: str
    transform: str
    stages: tuple[Stage, ...] = ()

    @property
    def place(self) -> int:
        """The data flow's place in `properties.dataFlows`."""
        return self.index % FLOW_STRIDE

    @property
    def target(self) -> str:
        """The data flow as errors name it: `properties.dataFlows[0]`."""
        return f"properties.dataFlows[{self.place}]"


@dataclass(frozen=True, slots=True)
class Rule:
    """One version of a data collection rule: what a record that was accepted under it goes through."""

    immutable_id: str
    version: int
    resource_id: str
    kind: str
    streams: Mapping[str, Stream]
    flows: tuple[DataFlow, ...]

    def flows_of(self, stream: str) -> tuple[DataFlow, ...]:
        """The flows that take this input stream, by index."""
        return tuple(flow for flow in self.flows if stream in flow.streams)


@dataclass(frozen=True, slots=True)
class RuleLimits:
    """The most that one rule may hold, each counted as Azure counts it.

    Source: Azure Monitor service limits, data collection rules. Headrace's own default takes longer
    transformations: rules made by tools go beyond Azure's 15,360 characters.
    """

    data_sources: int = 10
    data_flows: int = 10
    streams: int = 10
    workspaces: int = 10
    extensions: int = 10
    extension_settings_bytes: int = 32 * 1024
    counter_specifiers: int = 100
    syslog_facilities: int = 20
    xpath_queries: int = 100
    transform_characters: int = 64 * 1024
    stream_columns: int = 2000
    transformations: int = 50
    type_aliases: bool = False
    """Whether a stream's column may have Kusto's other names of a type, which Azure does not take."""

    @classmethod
    def azure(cls) -> RuleLimits:
        """Azure's documented limits."""
        return cls(transform_characters=15_360)

    @classmethod
    def stored(cls) -> RuleLimits:
        """For documents that were accepted once: today's checks do not make them unreadable."""
        most = FLOW_STRIDE - 1
        huge = 1 << 30
        return cls(most, most, most, most, most, huge, huge, huge, huge, huge, huge, huge, type_aliases=True)
