"""Reads a rule's ARM document and lists everything that is structurally wrong with it.

Codes, targets and the first sentence of a message are Azure's where they are known; the hint is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from headrace.catalog import standard
from headrace.catalog.multistage import Stage, Transformation, TransformationReader
from headrace.catalog.rulemodel import FLOW_STRIDE, DataFlow, RuleLimits, Stream
from headrace.errors import Problem
from headrace.kql.types import KustoType, SchemaColumn, parse_type

STREAM_TYPES: Mapping[str, KustoType] = {
    "string": KustoType.STRING,
    "int": KustoType.INT,
    "long": KustoType.LONG,
    "real": KustoType.REAL,
    "boolean": KustoType.BOOL,
    "datetime": KustoType.DATETIME,
    "dynamic": KustoType.DYNAMIC,
}
"""The types that a stream declaration may use, by Azure's names in lower case."""

_NEAR_TYPES = {
    "integer": "int", "number": "real", "float": "real", "object": "dynamic", "array": "dynamic", "json": "dynamic",
    "text": "string", "timestamp": "datetime",
}  # fmt: skip
"""What people write who come from other systems, and what they mean."""

CUSTOM = "Custom-"
MICROSOFT = "Microsoft-"
PASS_THROUGH = "source"

_MAX_PROBLEMS = 50
_MAX_NAME = 256
_SHOWN = 128
WORKSPACE_TRANSFORMS = "WorkspaceTransforms"
"""The kind of rules that change what comes to a workspace by other ways than rules."""

_KINDS = (
    "AgentDirectToStore", "AgentSettings", "Direct", "Linux", "PlatformTelemetry", "Windows", WORKSPACE_TRANSFORMS,
)  # fmt: skip
_OF_TABLE = f"{MICROSOFT}Table-"
"""How the streams of such rules begin; the table's name follows."""
_WORKSPACE = ("subscriptions", "resourcegroups", "providers", "microsoft.operationalinsights", "workspaces")


def canonical_kind(value: object) -> str:
    """A rule's kind without blanks around it, in Azure's letter case where it is one of Azure's."""
    text = value.strip() if isinstance(value, str) else ""
    return next((kind for kind in _KINDS if kind.lower() == text.lower()), text)


class RuleReader:
    """One reading of one document; `problems` fills up as it goes.

    What is at fault is read as what was probably meant, so that it hides no fault of what hangs on it. `declared` are
    the streams that the document declares, whether a data flow takes them or not.
    """

    def __init__(self, document: Mapping[str, Any], limits: RuleLimits) -> None:
        self.problems: list[Problem] = []
        self.declared: Mapping[str, Stream] = {}
        self._named: dict[str, Transformation] = {}
        self.kind = canonical_kind(document.get("kind"))
        self._limits = limits
        properties = document.get("properties")
        self._properties: Mapping[str, Any] = properties if isinstance(properties, dict) else {}
        if properties is not None and not isinstance(properties, dict):
            self._add("InvalidPayload", "'properties' is an object.", "properties")

    def read(self) -> tuple[dict[str, Stream], tuple[DataFlow, ...]]:
        """The input streams with their columns, by name, and the data flows of those streams."""
        self._named = TransformationReader(self._add).read(self._transformations())
        self.declared = self._declarations()
        workspaces, names = self._destinations()
        if self.kind == WORKSPACE_TRANSFORMS and len(workspaces) != 1:
            self._add(
                "InvalidDestination",
                f"A rule of kind '{self.kind}' has one Log Analytics destination, this one has {len(workspaces)}.",
                "properties.destinations.logAnalytics",
                "Make a rule for each workspace.",
            )
        produced = self._data_sources()
        return self._flows(self.declared, workspaces, names, produced)

    def _add(self, code: str, message: str, target: str, hint: str | None = None) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(Problem(code, message, target, hint=hint))

    def _transformations(self) -> list[Any]:
        section: list[Any] = self._section("transformations", list, "InvalidTransform")
        most = self._limits.transformations
        self._too_many(
            "Transformations", len(section), most, "InvalidTransform", "properties.transformations"
        )
        return section[:most]

    def _section(self, name: str, expected: type[Any], code: str) -> Any:
        value = self._properties.get(name)
        if value is None:
            return expected()
        if not isinstance(value, expected):
            form = "an object" if expected is dict else "a list"
            self._add(code, f"'{name}' is {form}.", f"properties.{name}")
            return expected()
        return value

    def _too_many(self, what: str, count: int, most: int, code: str, target: str) -> None:
        if count > most:
            self._add(
                code,
                f"'{what}' item count should be {most} or less. Specified list has {count} items.",
                target,
                "Split the rule in two.",
            )

    # Stream declarations

    def _declarations(self) -> dict[str, Stream]:
        section = self._section("streamDeclarations", dict, "InvalidStream")
        where = "properties.streamDeclarations"
        self._too_many("Stream Declarations", len(section), self._limits.streams, "InvalidStream", where)
        streams: dict[str, Stream] = {}
        for name, value in section.items():
            target = f"{where}.{_shown(name)}"
            self._check_stream_name(name, target)
            columns = value.get("columns") if isinstance(value, dict) else None
            if not isinstance(columns, list) or not columns:
                self._add(
                    "InvalidStream",
                    f"The declaration of stream '{_shown(name)}' has no columns.",
                    f"{target}.columns",
                    "Give it columns: [{name, type}, ...].",
                )
                continue
            streams[name] = Stream(name, self._columns(columns, f"{target}.columns"))
        return streams

    def _check_stream_name(self, name: str, target: str) -> None:
        if not name.startswith(CUSTOM) or len(name) == len(CUSTOM):
            self._add(
                "InvalidStream",
                f"Stream '{_shown(name)}' must be a custom stream: its name begins with 'Custom-'.",
                target,
                f"Declare it as 'Custom-{_shown(name)}'.",
            )
        elif len(name) > _MAX_NAME or not name.isprintable() or "/" in name:
            self._add(
                "InvalidStream",
                f"Stream name '{_shown(name)}' has more than {_MAX_NAME} characters, a '/' or characters "
                "that cannot be printed.",
                target,
            )

    def _columns(self, columns: list[Any], where: str) -> tuple[SchemaColumn, ...]:
        self._too_many("Columns", len(columns), self._limits.stream_columns, "InvalidStream", where)
        found: dict[str, SchemaColumn] = {}
        for place, item in enumerate(columns[: self._limits.stream_columns]):
            target = f"{where}[{place}]"
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str) or not name or len(name) > _MAX_NAME or not name.isprintable():
                self._add("InvalidStream", "A column of a stream needs a 'name'.", f"{target}.name")
                continue
            kusto = self._column_type(item.get("type"), name, f"{target}.type")
            if name in found and found[name].type is not kusto:
                self._add(
                    "InvalidStream",
                    f"Column '{_shown(name)}' is declared twice, with different types.",
                    f"{target}.type",
                )
            found[name] = SchemaColumn(name, kusto)
        return tuple(found.values())

    def _column_type(self, value: object, name: str, target: str) -> KustoType:
        text = value.strip().lower() if isinstance(value, str) else ""
        if text in STREAM_TYPES:
            return STREAM_TYPES[text]
        kusto = parse_type(text)
        meant = next((azure for azure, own in STREAM_TYPES.items() if own is kusto), None)
        if kusto is not None and meant is not None and self._limits.type_aliases:
            return kusto
        hint = f"Use one of: {', '.join(STREAM_TYPES)}."
        near = _NEAR_TYPES.get(text) or next(iter(get_close_matches(text, STREAM_TYPES, 1)), None)
        if meant is not None:
            hint = f"Azure's name of that type is {meant}."
        elif kusto is not None:
            hint += (
                f" Declare it string, and convert it in the transformation: to{kusto.value}({_shown(name)})."
            )
        elif near is not None:
            hint += f" Did you mean {near}?"
        shown = f"'{value[:40]}'" if isinstance(value, str) else "nothing"
        self._add("InvalidStream", f"Column '{_shown(name)}' has {shown} as its type.", target, hint)
        return kusto or STREAM_TYPES[near or "string"]

    # Destinations

    def _destinations(self) -> tuple[dict[str, str], set[str]]:
        """Lower-case workspace ids by destination name, and all destination names."""
        section = self._section("destinations", dict, "InvalidDestination")
        workspaces: dict[str, str] = {}
        names: set[str] = set()
        for kind, value in section.items():
            where = f"properties.destinations.{_shown(kind)}"
            items = value if isinstance(value, list) else [value]
            single = not isinstance(value, list)
            if value is None:
                continue
            if kind == "logAnalytics" and single:
                self._add("InvalidDestination", "'logAnalytics' is a list.", where)
                continue
            if kind == "logAnalytics":
                self._too_many(
                    "Log Analytics", len(items), self._limits.workspaces, "InvalidDestination", where
                )
            for place, item in enumerate(items):
                target = where if single else f"{where}[{place}]"
                name = self._destination_name(item, target, names)
                if name is not None and kind == "logAnalytics":
                    workspaces[name] = self._workspace(item.get("workspaceResourceId"), target)
        return workspaces, names

    def _destination_name(self, item: object, target: str, names: set[str]) -> str | None:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME:
            self._add("InvalidDestination", "A destination needs a 'name'.", f"{target}.name")
            return None
        if name in names:
            self._add(
                "InvalidDestination",
                f"Destination name '{_shown(name)}' is there twice.",
                f"{target}.name",
                "Names are unique over all destinations of a rule, whatever their kind.",
            )
        names.add(name)
        return name

    def _workspace(self, value: object, target: str) -> str:
        text = value.strip().rstrip("/") if isinstance(value, str) else ""
        parts = [part for part in text.lower().split("/") if part]
        # subscriptions/S/resourceGroups/G/providers/Microsoft.OperationalInsights/workspaces/W
        if len(parts) != 8 or (parts[0], parts[2], parts[4], parts[5], parts[6]) != _WORKSPACE:
            self._add(
                "InvalidDestination",
                "'Workspace Resource Id' is not the id of a Log Analytics workspace.",
                f"{target}.workspaceResourceId",
                "It has the form /subscriptions/{id}/resourceGroups/{group}/providers/"
                "Microsoft.OperationalInsights/workspaces/{name}.",
            )
            return ""
        return "/" + "/".join(parts)

    # Data sources

    def _data_sources(self) -> set[str]:
        """The streams that the rule's data sources produce: known by that, whatever their columns."""
        produced: set[str] = set()
        for name in ("dataSources", "directDataSources"):
            count = 0
            section = self._section(name, dict, "InvalidDataSource")
            for kind, items in section.items():
                where = f"properties.{name}.{_shown(kind)}"
                for place, item in enumerate(items if isinstance(items, list) else [items]):
                    if not isinstance(item, dict):
                        continue
                    count += 1
                    self._data_source(kind, item, f"{where}[{place}]")
                    streams = item.get("streams")
                    if isinstance(streams, list):
                        produced.update(stream for stream in streams if isinstance(stream, str))
            most = self._limits.data_sources
            self._too_many("Data Sources", count, most, "InvalidDataSource", f"properties.{name}")
            extensions = section.get("extensions")
            if isinstance(extensions, list):
                where = f"properties.{name}.extensions"
                most = self._limits.extensions
                self._too_many("Extensions", len(extensions), most, "InvalidDataSource", where)
        return produced

    def _data_source(self, kind: str, item: Mapping[str, Any], target: str) -> None:
        bounds = {
            "performanceCounters": ("counterSpecifiers", self._limits.counter_specifiers),
            "syslog": ("facilityNames", self._limits.syslog_facilities),
            "windowsEventLogs": ("xPathQueries", self._limits.xpath_queries),
        }
        if kind in bounds:
            field, most = bounds[kind]
            values = item.get(field)
            if isinstance(values, list):
                self._too_many(field, len(values), most, "InvalidDataSource", f"{target}.{field}")
        if kind == "extensions" and item.get("extensionSettings") is not None:
            most = self._limits.extension_settings_bytes
            size = len(json.dumps(item["extensionSettings"]).encode())
            if size > most:
                self._add(
                    "InvalidDataSource",
                    f"'Extension Settings' has {size} bytes; {most} is the most.",
                    f"{target}.extensionSettings",
                )

    # Data flows

    def _flows(
        self,
        declared: Mapping[str, Stream],
        workspaces: Mapping[str, str],
        names: set[str],
        produced: set[str],
    ) -> tuple[dict[str, Stream], tuple[DataFlow, ...]]:
        section = self._section("dataFlows", list, "InvalidDataFlow")
        most = self._limits.data_flows
        self._too_many("Data Flows", len(section), most, "InvalidDataFlow", "properties.dataFlows")
        streams: dict[str, Stream] = {}
        flows: list[DataFlow] = []
        for place, item in enumerate(section[:most]):
            target = f"properties.dataFlows[{place}]"
            if not isinstance(item, dict):
                self._add("InvalidDataFlow", "A data flow is an object.", target)
                continue
            sources = self._flow_streams(item, target, declared, produced, workspaces)
            chosen = self._flow_destinations(item, target, names)
            transform = self._transform(item, target, len(sources))
            stages = self._stages(item, target, tuple(sources))
            ids = tuple(dict.fromkeys(workspaces[name] for name in chosen if name in workspaces))
            for number, (name, stream) in enumerate(sources.items()):
                output = self._output(item, name, stream, target)
                if stream is None or output is None:
                    continue
                streams[name] = stream
                if not ids:
                    continue  # only to destinations that are kept and not served
                table = output.partition("-")[2]
                index = place + number * FLOW_STRIDE
                flows.append(DataFlow(index, (name,), chosen, ids, output, table, transform, stages))
            if item.get("outputStream") and len(chosen) > 1:
                self._add(
                    "InvalidDataFlow",
                    "A data flow with an 'outputStream' has one destination.",
                    f"{target}.destinations",
                    "Give each destination a data flow of its own.",
                )
        flows.sort(key=lambda flow: flow.index)
        self._one_workspace(flows)
        return streams, tuple(flows)

    def _flow_streams(
        self,
        item: Mapping[str, Any],
        target: str,
        declared: Mapping[str, Stream],
        produced: set[str],
        workspaces: Mapping[str, str],
    ) -> dict[str, Stream | None]:
        """The flow's input streams; None for one whose columns nobody needs to know here.

        Those are Microsoft's streams that agents send, and all that go past every workspace: to metrics, storage or
        event hubs, where nothing is said about columns.
        """
        listed = item.get("destinations")
        stored = not isinstance(listed, list) or any(
            name in workspaces for name in listed if isinstance(name, str)
        )
        agents = {name for name in produced if not name.startswith(CUSTOM)} if stored else produced
        found: dict[str, Stream | None] = {}
        for place, name in self._strings(item, "streams", "Streams", target):
            where = f"{target}.streams[{place}]"
            if self.kind == WORKSPACE_TRANSFORMS:
                found[name] = self._table_stream(name, where)
            elif name in declared:
                found[name] = declared[name]
            elif (table := standard.find_stream(name)) is not None:
                found[name] = Stream(name, table.columns)
            elif name in agents or (name.startswith(MICROSOFT) and not stored):
                found[name] = None
            else:
                self._unknown_stream(name, where, declared)
        return found

    def _table_stream(self, name: str, target: str) -> Stream | None:
        """What comes to a table of the workspace by other ways; None where its columns are the workspace's own."""
        table = name.removeprefix(_OF_TABLE)
        if table in ("", name):
            self._add(
                "InvalidStream",
                f"'Streams' stream '{_shown(name)}' of a rule of kind '{self.kind}' is not '{_OF_TABLE}' and the name "
                "of a table.",
                target,
            )
            return None
        known = standard.find(table)
        return Stream(name, known.columns) if known is not None else None

    def _unknown_stream(self, name: str, target: str, declared: Mapping[str, Stream]) -> None:
        shown = _shown(name)
        section = self._properties.get("streamDeclarations")
        if isinstance(section, dict) and name in section:
            return  # its declaration is at fault, and said so
        if name.startswith(CUSTOM):
            have = ", ".join(_shown(known) for known in declared) or "none"
            self._add(
                "InvalidStream",
                f"'Streams' stream '{shown}' is not declared in this rule.",
                target,
                f"Add it to properties.streamDeclarations (declared: {have}); names are case-sensitive.",
            )
            return
        near = [f"{MICROSOFT}{table}" for table in standard.names() if table.lower() in name.lower()][:5]
        listed = ",".join(near) or "Microsoft-<name of a standard table>"
        self._add(
            "InvalidStream",
            f"'Streams' stream '{shown}' must be a custom stream or one of: {listed}.",
            target,
            "A custom stream's name begins with 'Custom-' and stands in properties.streamDeclarations.",
        )

    def _strings(
        self, item: Mapping[str, Any], field: str, title: str, target: str
    ) -> Iterator[tuple[int, str]]:
        values = item.get(field)
        if not isinstance(values, list) or not values:
            self._add(
                "InvalidDataFlow",
                f"'{title}' item count should be 1 or more. Specified list has 0 items.",
                f"{target}.{field}",
            )
            return
        self._too_many(title, len(values), FLOW_STRIDE - 1, "InvalidDataFlow", f"{target}.{field}")
        for place, value in enumerate(values[: FLOW_STRIDE - 1]):
            if isinstance(value, str) and value:
                yield place, value
            else:
                self._add("InvalidDataFlow", f"'{title}' holds names.", f"{target}.{field}[{place}]")

    def _flow_destinations(self, item: Mapping[str, Any], target: str, names: set[str]) -> tuple[str, ...]:
        chosen = []
        for place, name in self._strings(item, "destinations", "Destinations", target):
            if name not in names:
                have = ", ".join(sorted(_shown(known) for known in names)) or "none"
                self._add(
                    "InvalidDataFlow",
                    f"'DataFlows' destination name is unknown: {_shown(name)}.",
                    f"{target}.destinations[{place}]",
                    f"properties.destinations has: {have}.",
                )
            elif name not in chosen:
                chosen.append(name)
        return tuple(chosen)

    def _transform(self, item: Mapping[str, Any], target: str, streams: int) -> str:
        text = item.get("transformKql")
        if text is None:
            return PASS_THROUGH
        if not isinstance(text, str):
            self._add("InvalidTransformQuery", "'transformKql' is a text.", target)
            return PASS_THROUGH
        most = self._limits.transform_characters
        if len(text) > most:
            self._add(
                "InvalidTransformQuery",
                f"The transformation has {len(text)} characters; {most} is the most.",
                target,
            )
        if text.strip() in ("", PASS_THROUGH):
            return PASS_THROUGH
        if streams > 1:
            self._add(
                "InvalidDataFlow",
                "A data flow with a transformation has one stream.",
                f"{target}.streams",
                "Give each stream a data flow of its own.",
            )
        return text

    def _stages(self, item: Mapping[str, Any], target: str, streams: tuple[str, ...]) -> tuple[Stage, ...]:
        """The processors of the transformation that the flow names, if it names one."""
        name = item.get("transform")
        if name is None:
            return ()
        where = f"{target}.transform"
        found = self._named.get(name) if isinstance(name, str) else None
        if item.get("transformKql") is not None:
            message = "A data flow has either 'transform' or 'transformKql'."
            self._add("InvalidDataFlow", message, where, "Put the KQL into a transform.KQL processor.")
        elif found is None:
            have = ", ".join(_shown(known) for known in self._named) or "none"
            message = f"There is no transformation '{_shown(str(name))}' for data flows."
            self._add("InvalidTransform", message, where, f"properties.transformations has: {have}.")
        elif len(streams) > 1:
            message = "A data flow with a transformation has one stream."
            cure = "Give each stream a data flow of its own."
            self._add("InvalidDataFlow", message, f"{target}.streams", cure)
        elif found.stream is not None and streams and found.stream != streams[0]:
            message = (
                f"Transformation '{_shown(str(name))}' takes stream '{_shown(found.stream)}', "
                f"the data flow has '{_shown(streams[0])}'."
            )
            cure = "Correct streamId of its header, or make a transformation for this stream."
            self._add("InvalidTransform", message, where, cure)
        return found.stages if found is not None else ()

    def _output(self, item: Mapping[str, Any], name: str, stream: Stream | None, target: str) -> str | None:
        output = item.get("outputStream")
        if output is None or output == "":
            return name.replace(_OF_TABLE, MICROSOFT, 1) if self.kind == WORKSPACE_TRANSFORMS else name
        text = output if isinstance(output, str) else ""
        prefix = next((p for p in (CUSTOM, MICROSOFT) if text.startswith(p)), None)
        if prefix is None or len(text) == len(prefix) or len(text) > _MAX_NAME:
            shown = _shown(text)
            self._add(
                "InvalidOutputTable",
                f"Output stream '{shown}' is not the name of an output stream.",
                target,
                "It is 'Custom-' and a custom table's name, like Custom-MyTable_CL, or 'Microsoft-' and a "
                "standard table's.",
            )
            return None
        return text if stream is not None else None

    def _one_workspace(self, flows: list[DataFlow]) -> None:
        first: dict[str, str] = {}
        for flow in flows:
            for workspace in flow.workspaces:
                if workspace and first.setdefault(flow.streams[0], workspace) != workspace:
                    self._add(
                        "InvalidDataFlow",
                        f"Stream '{_shown(flow.streams[0])}' goes to more than one Log Analytics workspace.",
                        f"{flow.target}.destinations",
                        "Make a rule for each workspace.",
                    )


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
