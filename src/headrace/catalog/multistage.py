"""Multi-stage transformations (api-version 2025-05-11): a header, then processors in their order.

Source: Azure Monitor, 'Data collection rule (DCR) structure', Transformations. The processors' names are
case-sensitive, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.kql.types import KustoType, parse_type

Report = Callable[[str, str, str, str | None], None]
"""Takes a problem: code, message, target, cure."""

CODE = "InvalidTransform"
CAST_TYPES = ("string", "int", "long", "real", "bool", "datetime")
OPERATORS = ("==", "!=", "contains", "!contains", ">", "<", ">=", "<=")

_MOST_PROCESSORS = 50
_MOST_ITEMS = 500
_MOST_TEXT = 64 * 1024
_MOST_NAME = 256
_SHOWN = 128


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of `filter.Basic`."""

    column: str
    operator: str
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Filter:
    """`filter.Basic`: a record stays when all conditions of any group hold."""

    groups: tuple[tuple[Condition, ...], ...]


@dataclass(frozen=True, slots=True)
class Renaming:
    """One column of `map.Rename`; `type` is what its values are cast to."""

    column: str
    name: str
    type: KustoType | None


@dataclass(frozen=True, slots=True)
class Rename:
    """`map.Rename`."""

    items: tuple[Renaming, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """`map.Drop`."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extraction:
    """One new column of a `parse` processor."""

    path: str
    name: str
    type: KustoType


@dataclass(frozen=True, slots=True)
class Extract:
    """`parse.JsonPath`, `parse.XmlPath` or `parse.CEFAttribute`, whichever the stage's processor is."""

    column: str
    items: tuple[Extraction, ...]


@dataclass(frozen=True, slots=True)
class Kql:
    """`transform.KQL`."""

    text: str


Step = Filter | Rename | Drop | Extract | Kql


@dataclass(frozen=True, slots=True)
class Stage:
    """A processor with its place, as errors name it: `properties.transformations[0].processors[1]`."""

    transformation: str
    processor: str
    target: str
    step: Step


@dataclass(frozen=True, slots=True)
class Transformation:
    """A transformation that a data flow may name. `stream` is what its header takes, None after a problem."""

    stream: str | None
    stages: tuple[Stage, ...]


_HEADERS = ("header.StandardStream", "header.CustomStream")
_AGENT_HEADERS = (
    "header.Syslog",
    "header.WindowsEvents",
    "header.WindowsPerformanceCounters",
    "header.LinuxPerformanceCounters",
    "header.TextLog",
    "header.IISLog",
    "header.WindowsFirewallLog",
)
_REFUSED: Mapping[str, tuple[str, str]] = {
    "aggregate.Basic": (
        "it brings the records of a time window together, and a transformation here works record by record",
        "Aggregate in a query, with summarize.",
    ),
    "enrich.DNSLookup": (
        "it would ask name servers about every record while logs are taken in",
        "Resolve the name before the record is sent.",
    ),
}


class TransformationReader:
    """Reads `properties.transformations`; what is wrong is told to `report`."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._readers: Mapping[str, Callable[[Mapping[str, Any], str, str], Step | None]] = {
            "filter.Basic": self._filter,
            "map.Rename": self._rename,
            "map.Drop": self._drop,
            "parse.JsonPath": self._extract,
            "parse.XmlPath": self._extract,
            "parse.CEFAttribute": self._extract,
            "transform.KQL": self._kql,
        }

    def read(self, items: list[Any]) -> dict[str, Transformation]:
        """The transformations by name. Those whose header is an agent's are kept untouched and not read."""
        found: dict[str, Transformation] = {}
        for place, item in enumerate(items):
            target = f"properties.transformations[{place}]"
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str) or not name.strip() or len(name) > _MOST_NAME:
                self._report(CODE, "A transformation needs a 'name'.", f"{target}.name", None)
                continue
            if name in found:
                cure = "Give each transformation a name of its own."
                self._report(CODE, f"Two transformations are called '{shown(name)}'.", f"{target}.name", cure)
                continue
            header = item.get("headerProcessor")
            if isinstance(header, dict) and header.get("processor") in _AGENT_HEADERS:
                continue
            stream = self._header(header, f"{target}.headerProcessor", name)
            found[name] = Transformation(stream, self._stages(item.get("processors"), target, name))
        return found

    def _header(self, header: Any, target: str, name: str) -> str | None:
        processor = header.get("processor") if isinstance(header, dict) else None
        if processor not in _HEADERS:
            what = f"'{shown(str(processor))}'" if processor is not None else "nothing"
            message = f"The header of transformation '{shown(name)}' is {what}."
            cure = f"Use {' or '.join(_HEADERS)} with a streamId; names of processors are case-sensitive."
            self._report(CODE, message, f"{target}.processor", cure)
            return None
        configuration = header.get("configuration")
        stream = configuration.get("streamId") if isinstance(configuration, dict) else None
        prefix = "Custom-" if processor == "header.CustomStream" else "Microsoft-"
        if not isinstance(stream, str) or not stream.startswith(prefix):
            message = f"{processor} of transformation '{shown(name)}' needs the name of a stream."
            cure = f"Give it configuration.streamId, which begins with '{prefix}'."
            self._report(CODE, message, f"{target}.configuration.streamId", cure)
            return None
        return stream

    def _stages(self, items: Any, where: str, name: str) -> tuple[Stage, ...]:
        target = f"{where}.processors"
        if items is None:
            return ()
        if not isinstance(items, list) or len(items) > _MOST_PROCESSORS:
            message = f"'processors' is a list of at most {_MOST_PROCESSORS} processors."
            self._report(CODE, message, target, "Split the transformation in two.")
            return ()
        stages = [self._stage(item, f"{target}[{place}]", name) for place, item in enumerate(items)]
        return tuple(stage for stage in stages if stage is not None)

    def _stage(self, item: Any, target: str, name: str) -> Stage | None:
        processor = item.get("processor") if isinstance(item, dict) else None
        if not isinstance(processor, str):
            self._report(CODE, "A processor needs the name of its kind.", f"{target}.processor", None)
            return None
        if processor in _REFUSED:
            reason, cure = _REFUSED[processor]
            self._report(CODE, f"{processor} is not supported: {reason}.", f"{target}.processor", cure)
            return None
        reader = self._readers.get(processor)
        if reader is None:
            message = f"There is no processor '{shown(processor)}'."
            near = [known for known in self._readers if known.lower() == processor.lower()]
            known = near[0] if near else f"one of {', '.join(self._readers)}"
            cure = f"Use {known}; names of processors are case-sensitive."
            self._report(CODE, message, f"{target}.processor", cure)
            return None
        configuration = item.get("configuration")
        if not isinstance(configuration, dict):
            self._report(CODE, f"{processor} needs a 'configuration'.", f"{target}.configuration", None)
            return None
        step = reader(configuration, f"{target}.configuration", processor)
        return Stage(name, processor, target, step) if step is not None else None

    # The processors

    def _filter(self, configuration: Mapping[str, Any], target: str, processor: str) -> Step | None:
        groups: list[tuple[Condition, ...]] = []
        for place, group in enumerate(self._list(configuration, "any", target, processor)):
            where = f"{target}.any[{place}]"
            conditions = self._list(group if isinstance(group, dict) else {}, "all", where, processor)
            read = [
                self._condition(item, f"{where}.all[{number}]", processor)
                for number, item in enumerate(conditions)
            ]
            groups.append(tuple(condition for condition in read if condition is not None))
        return Filter(tuple(groups)) if groups and all(groups) else None

    def _condition(self, item: Any, target: str, processor: str) -> Condition | None:
        entry = item if isinstance(item, dict) else {}
        column = self._name(entry, "columnName", target, processor)
        operator = entry.get("operator")
        value = entry.get("value")
        if operator not in OPERATORS:
            message = f"A condition of {processor} has no operator '{shown(str(operator))}'."
            self._report(CODE, message, f"{target}.operator", f"Use one of {' '.join(OPERATORS)}.")
            return None
        if not isinstance(value, str | int | float | bool) or len(str(value)) > _MOST_TEXT:
            message = f"A condition of {processor} needs a 'value': a text, a number, true or false."
            self._report(CODE, message, f"{target}.value", None)
            return None
        return Condition(column, operator, value) if column is not None else None

    def _rename(self, configuration: Mapping[str, Any], target: str, processor: str) -> Step | None:
        items: list[Renaming] = []
        for place, item in enumerate(self._list(configuration, "all", target, processor)):
            where = f"{target}.all[{place}]"
            entry = item if isinstance(item, dict) else {}
            column = self._name(entry, "columnName", where, processor)
            if entry.get("nameAs") is None and entry.get("typeAs") is None:
                message = f"An entry of {processor} changes nothing."
                self._report(CODE, message, where, "Give it nameAs, typeAs, or both.")
                continue
            name = column
            if entry.get("nameAs") is not None:
                name = self._name(entry, "nameAs", where, processor)
            valid, type = self._type(entry, where, processor)
            if column is not None and name is not None and valid:
                items.append(Renaming(column, name, type))
        return Rename(tuple(items)) if items else None

    def _drop(self, configuration: Mapping[str, Any], target: str, processor: str) -> Step | None:
        columns = self._list(configuration, "columnNames", target, processor)
        wrong = [place for place, name in enumerate(columns) if not _is_name(name)]
        for place in wrong[:1]:
            message = f"{processor} takes names of columns."
            self._report(CODE, message, f"{target}.columnNames[{place}]", None)
        return Drop(tuple(columns)) if columns and not wrong else None

    def _extract(self, configuration: Mapping[str, Any], target: str, processor: str) -> Step | None:
        column = self._name(configuration, "columnName", target, processor)
        items: list[Extraction] = []
        for place, item in enumerate(self._list(configuration, "all", target, processor)):
            where = f"{target}.all[{place}]"
            entry = item if isinstance(item, dict) else {}
            path = entry.get("path")
            if not isinstance(path, str) or not path.strip() or len(path) > _MOST_TEXT:
                self._report(CODE, f"An entry of {processor} needs a 'path'.", f"{where}.path", None)
                continue
            name = self._name(entry, "nameAs", where, processor)
            valid, type = self._type(entry, where, processor)
            if name is not None and valid:
                items.append(Extraction(path, name, type or KustoType.STRING))
        return Extract(column, tuple(items)) if column is not None and items else None

    def _kql(self, configuration: Mapping[str, Any], target: str, processor: str) -> Step | None:
        text = configuration.get("expression")
        if not isinstance(text, str) or not text.strip() or len(text) > _MOST_TEXT:
            message = f"{processor} needs an 'expression' of at most {_MOST_TEXT} characters."
            self._report(CODE, message, f"{target}.expression", "For instance: source | where Level > 2.")
            return None
        return Kql(text)

    # Parts of configurations

    def _list(self, entry: Mapping[str, Any], field: str, target: str, processor: str) -> list[Any]:
        value = entry.get(field)
        if isinstance(value, list) and 0 < len(value) <= _MOST_ITEMS:
            return value
        message = f"'{field}' of {processor} is a list of 1 to {_MOST_ITEMS} entries."
        self._report(CODE, message, f"{target}.{field}", None)
        return []

    def _name(self, entry: Mapping[str, Any], field: str, target: str, processor: str) -> str | None:
        value = entry.get(field)
        if _is_name(value):
            return str(value)
        message = f"'{field}' of {processor} is the name of a column."
        self._report(CODE, message, f"{target}.{field}", None)
        return None

    def _type(self, entry: Mapping[str, Any], target: str, processor: str) -> tuple[bool, KustoType | None]:
        value = entry.get("typeAs")
        if value is None:
            return True, None
        if value in CAST_TYPES:
            return True, parse_type(str(value))
        message = f"{processor} cannot cast to '{shown(str(value))}'."
        self._report(CODE, message, f"{target}.typeAs", f"Use one of {', '.join(CAST_TYPES)}.")
        return False, None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MOST_NAME and value.isprintable()


def shown(text: str) -> str:
    """A text of the document for a message."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
