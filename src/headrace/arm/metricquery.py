"""A metrics query of `Microsoft.Insights/metrics`, read and answered: timespan, interval, aggregations, filter.

Pure: numbers by minute in, the document out. Source: Azure Monitor's REST reference, Metrics - List.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from headrace.clock import DAY, FIRST, HOUR, LAST, MINUTE, SECOND, from_iso, to_datetime
from headrace.observe.rule_metrics import DEFINITIONS, NAMESPACE, STREAM, Definition, Point
from headrace.wire.problems import HttpError, http_error

INTERVALS: Mapping[str, int] = {
    "PT1M": MINUTE, "PT5M": 5 * MINUTE, "PT15M": 15 * MINUTE, "PT30M": 30 * MINUTE, "PT1H": HOUR, "PT6H": 6 * HOUR,
    "PT12H": 12 * HOUR, "P1D": DAY,
}  # fmt: skip
AGGREGATIONS = ("Total", "Average", "Minimum", "Maximum", "Count")
MAX_NAMES = 20
MAX_POINTS = 150_000
"""Points of one answer: the whole retention by the minute of one series."""
_MOST_SERIES = 1000
_LONGEST_FILTER = 4000
_TERM = re.compile(r"\s*([\w.]+)\s+(eq|ne|sw|startswith)\s+'((?:[^']|'')*)'\s*", re.IGNORECASE)
_ORDER = re.compile(r"\s*(\w+)(?:\s+(asc|desc))?\s*", re.IGNORECASE)
RESOURCE = "Microsoft.ResourceId"
"""The dimension that tells resources apart where several are asked at once."""
_DURATION = re.compile(r"P(?:(\d{1,4})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Condition:
    """One dimension's alternatives; without `terms` every value passes and is shown by itself."""

    dimension: str
    terms: tuple[tuple[str, str], ...]

    def passes(self, value: str) -> bool:
        return not self.terms or any(_passes(operator, text, value) for operator, text in self.terms)


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """What is asked. Times are UTC microseconds; `end` is not included.

    `definitions` are by their places in `DEFINITIONS`, under the names that they were asked by. Conditions on the
    dimensions `rolled` narrow without splitting. `order` is the aggregation that series are ranked by, the least first
    where `ascending`.
    """

    definitions: Mapping[int, Definition]
    start: int
    end: int
    interval: str
    aggregations: tuple[str, ...]
    conditions: tuple[_Condition, ...]
    rolled: frozenset[str]
    top: int
    order: str
    ascending: bool
    metadata_only: bool

    @property
    def split(self) -> tuple[_Condition, ...]:
        """The conditions whose dimensions have a series for each of their values."""
        return tuple(one for one in self.conditions if one.dimension not in self.rolled)

    def takes(self, resource_id: str) -> bool:
        """Whether the conditions let a resource through."""
        return all(one.passes(resource_id) for one in self.conditions if one.dimension == RESOURCE)

    @property
    def step(self) -> int:
        """The interval in microseconds: all of the timespan for `FULL`."""
        return INTERVALS.get(self.interval, max(self.end - self.start, MINUTE))


def read_query(query: Mapping[str, str], now: int, *, across: bool = False) -> MetricQuery:
    """The query that parameters (names in lower case) ask; `across` several resources, which `$filter` may name.

    Raises `HttpError` 400 with the parameter and the cure.
    """
    # The Azure CLI encodes parameters twice, which Azure takes.
    query = {name: unquote(value) for name, value in query.items()}
    start, end = _timespan(query.get("timespan", "PT1H"), now)
    interval = _interval(
        query.get("interval") or "PT1M", adjust=_is(query, "autoadjusttimegrain", default=False)
    )
    namespace = query.get("metricnamespace") or NAMESPACE
    if namespace.lower() != NAMESPACE.lower():
        raise _bad("metricnamespace", f"'{namespace[:80]}' is not the one that there is: {NAMESPACE}.")
    definitions = _definitions(query.get("metricnames", ""))
    known = {name.lower(): name for definition in definitions.values() for name in definition.dimensions}
    if across:
        known[RESOURCE.lower()] = RESOURCE
    order, ascending = _order(query.get("orderby") or "total desc")
    asked = MetricQuery(
        definitions,
        start - start % MINUTE,
        end,
        interval,
        _aggregations(query.get("aggregation", "")),
        _conditions(query.get("$filter", ""), known, strict=_is(query, "validatedimensions", default=True)),
        frozenset(known.get(name.strip().lower(), name) for name in query.get("rollupby", "").split(",")),
        _top(query.get("top") or "10"),
        order,
        ascending,
        query.get("resulttype", "Data").lower() == "metadata",
    )
    if (asked.end - asked.start) // asked.step > MAX_POINTS:
        raise _bad(
            "timespan", f"it has more than {MAX_POINTS} intervals. Ask for a longer interval or less time."
        )
    return asked


def answer(
    asked: MetricQuery,
    scope_id: str,
    location: str,
    sources: Iterable[tuple[str, Iterable[tuple[int, Point]]]],
) -> dict[str, Any]:
    """The document about a resource or scope; `sources` are the numbers by minute of each resource, by its id."""
    wanted = asked.definitions
    series: dict[int, dict[tuple[str, ...], dict[int, list[Point]]]] = {place: {} for place in wanted}
    splitting = asked.split
    for resource_id, minute, point in _each(sources):
        definition = wanted.get(point.metric)
        if definition is None or not asked.start <= minute < asked.end:
            continue
        values = {STREAM: point.stream, definition.detail: point.detail, RESOURCE: resource_id}
        if all(one.passes(values.get(one.dimension, "")) for one in asked.conditions):
            split = tuple(values.get(one.dimension, "") for one in splitting)
            slot = (minute - asked.start) // asked.step
            series[point.metric].setdefault(split, {}).setdefault(slot, []).append(point)
    return {
        "cost": max(0, (asked.end - asked.start) // MINUTE - 1),
        "timespan": f"{_iso(asked.start)}/{_iso(asked.end)}",
        "interval": asked.interval,
        "namespace": NAMESPACE,
        "resourceregion": location,
        "value": [
            {
                "id": f"{scope_id}/providers/Microsoft.Insights/metrics/{definition.name}",
                "type": "Microsoft.Insights/metrics",
                "name": {"value": definition.name, "localizedValue": definition.display},
                "displayDescription": definition.display,
                "unit": definition.unit,
                "timeseries": _timeseries(asked, definition, series[place]),
                "errorCode": "Success",
            }
            for place, definition in wanted.items()
        ],
    }


def _each(
    sources: Iterable[tuple[str, Iterable[tuple[int, Point]]]],
) -> Iterator[tuple[str, int, Point]]:
    for resource_id, points in sources:
        for minute, point in points:
            yield resource_id, minute, point


def definitions_of(resource_id: str) -> dict[str, Any]:
    """The document of `metricDefinitions`."""
    return {"value": [_defined(resource_id, definition) for definition in DEFINITIONS]}


def _defined(resource_id: str, definition: Definition) -> dict[str, Any]:
    return {
        "id": f"{resource_id}/providers/microsoft.insights/metricdefinitions/{definition.name}",
        "resourceId": resource_id,
        "namespace": NAMESPACE,
        "name": {"value": definition.name, "localizedValue": definition.display},
        "displayDescription": definition.display,
        "isDimensionRequired": False,
        "unit": definition.unit,
        "primaryAggregationType": definition.primary,
        "supportedAggregationTypes": list(AGGREGATIONS),
        "metricAvailabilities": [{"timeGrain": name, "retention": "P93D"} for name in INTERVALS],
        "dimensions": [{"value": name, "localizedValue": name} for name in definition.dimensions],
    }


def _timeseries(
    asked: MetricQuery,
    definition: Definition,
    series: Mapping[tuple[str, ...], Mapping[int, Sequence[Point]]],
) -> list[dict[str, Any]]:
    kinds = asked.aggregations or (definition.primary,)
    splitting = asked.split
    if not splitting:
        series = series or {(): {}}
    slots = -(-(asked.end - asked.start) // asked.step)
    ranked = sorted(series.items(), key=lambda item: _rank(asked, item[1]), reverse=not asked.ascending)
    most = max(1, min(asked.top if splitting else 1, MAX_POINTS // max(slots, 1)))
    shown = []
    for split, found in ranked[:most]:
        metadata = [
            {
                "name": {"value": one.dimension.lower(), "localizedValue": one.dimension.lower()},
                "value": value,
            }
            for one, value in zip(splitting, split, strict=True)
        ]
        data = [
            {"timeStamp": _iso(asked.start + slot * asked.step), **_aggregate(kinds, found.get(slot, ()))}
            for slot in range(slots if not asked.metadata_only else 0)
        ]
        shown.append({"metadatavalues": metadata, "data": data})
    return shown


def _rank(asked: MetricQuery, found: Mapping[int, Sequence[Point]]) -> float:
    points = [point for slot in found.values() for point in slot]
    return _aggregate((asked.order,), points).get(asked.order.lower(), 0.0)


def _aggregate(kinds: Sequence[str], points: Sequence[Point]) -> dict[str, float]:
    total, count = sum(point.total for point in points), sum(point.count for point in points)
    each = [point.total / point.count for point in points if point.count]
    values = {"Total": total, "Count": count}
    if each and count:
        values |= {"Average": total / count, "Minimum": min(each), "Maximum": max(each)}
    return {kind.lower(): values[kind] for kind in kinds if kind in values}


def _is(query: Mapping[str, str], name: str, *, default: bool) -> bool:
    return query.get(name, str(default)).lower() == "true"


def _interval(text: str, *, adjust: bool) -> str:
    """The interval as Azure writes it; with `adjust` the next longer one that there is."""
    if text.upper() in (*INTERVALS, "FULL"):
        return text.upper()
    if adjust:
        try:
            wanted = _length(text)
        except ValueError:
            wanted = 0
        if wanted > 0:
            return next((name for name, length in INTERVALS.items() if length >= wanted), "P1D")
    raise _bad("interval", f"'{text[:40]}' is none of {', '.join((*INTERVALS, 'FULL'))}.")


def _order(text: str) -> tuple[str, bool]:
    match = _ORDER.fullmatch(text)
    known = {name.lower(): name for name in (*AGGREGATIONS, "Sum")}
    name = known.get(match[1].lower()) if match is not None else None
    if match is None or name is None:
        raise _bad("orderby", f"it is one of {', '.join(AGGREGATIONS)}, and asc or desc behind it.")
    return ("Total" if name == "Sum" else name), (match[2] or "desc").lower() == "asc"


def _definitions(names: str) -> dict[int, Definition]:
    if not names.strip():
        return {0: DEFINITIONS[0]}
    known = {
        name.lower(): (place, replace(definition, name=name))
        for place, definition in enumerate(DEFINITIONS)
        for name in (definition.name, definition.short)
    }
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if len(wanted) > MAX_NAMES:
        raise _bad("metricnames", f"at most {MAX_NAMES} metrics can be asked for at once.")
    for name in wanted:
        if name.lower() not in known:
            listed = ",".join(definition.name for definition in DEFINITIONS)
            raise _bad(
                "metricnames",
                f"Failed to find metric configuration for '{name[:80]}'. Valid metrics: {listed}",
            )
    return dict(known[name.lower()] for name in wanted)


def _aggregations(text: str) -> tuple[str, ...]:
    known = {name.lower(): name for name in AGGREGATIONS}
    wanted = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise _bad("aggregation", f"'{name[:40]}' is none of {', '.join(AGGREGATIONS)}.")
    return tuple(dict.fromkeys(known[name] for name in wanted))


def _top(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= _MOST_SERIES:
        raise _bad("top", f"it is a number from 1 to {_MOST_SERIES}.")
    return int(text)


def _conditions(text: str, known: Mapping[str, str], *, strict: bool) -> tuple[_Condition, ...]:
    """`A eq 'x' and (B eq 'y' or B eq 'z')`: every dimension once, `eq '*'` for each of its values.

    `known` are the dimensions by their lower-case names; others are left out unless `strict`.
    """
    if not text.strip():
        return ()
    if len(text) > _LONGEST_FILTER:
        raise _bad("$filter", f"it has more than {_LONGEST_FILTER} characters.")
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"\s+and\s+(?=[(\w])", text.strip(), flags=re.IGNORECASE):
        inner = part.strip()
        inner = inner[1:-1] if inner.startswith("(") and inner.endswith(")") else inner
        terms = re.split(r"\s+or\s+(?=[\w.]+\s+(?:eq|ne|sw|startswith)\s)", inner, flags=re.IGNORECASE)
        names = set()
        for term in terms:
            match = _TERM.fullmatch(term)
            if match is None:
                raise _bad("$filter", "it has the form: Dimension eq 'value' and Other eq '*'.")
            name = known.get(match[1].lower())
            if name is None and strict:
                raise _bad(
                    "$filter",
                    f"'{match[1][:80]}' is no dimension of the metrics asked for: {', '.join(known.values())}.",
                )
            if name is None:
                continue
            names.add(name)
            found.setdefault(name, []).append((match[2].lower(), match[3].replace("''", "'")))
        if len(names) > 1:
            raise _bad("$filter", "'or' stands between values of one dimension only.")
    return tuple(
        _Condition(name, () if ("eq", "*") in terms else tuple(terms)) for name, terms in found.items()
    )


def _passes(operator: str, text: str, value: str) -> bool:
    given, wanted = value.lower(), text.lower()
    if operator == "eq":
        return given == wanted
    return given != wanted if operator == "ne" else given.startswith(wanted)


def _timespan(text: str, now: int) -> tuple[int, int]:
    first, slash, second = text.strip().partition("/")
    end = now - now % MINUTE + MINUTE
    try:
        if not slash:
            start = end - _length(first)
        elif first[:1] in "Pp":
            end = _moment(second)
            start = end - _length(first)
        else:
            start = _moment(first)
            end = start + _length(second) if second[:1] in "Pp" else _moment(second)
    except ValueError:
        raise _bad("timespan", f"'{text[:80]}' is not of the form START/END, in ISO 8601.") from None
    if end <= start:
        raise _bad("timespan", "it ends before it starts.")
    if not FIRST <= start < end <= LAST:
        raise _bad("timespan", "it leaves the years 1 to 9999.")
    return start, end


def _length(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(text)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * DAY + hours * HOUR + minutes * MINUTE + seconds * SECOND


def _moment(text: str) -> int:
    # A '+' of an offset that was not percent-encoded has become a space.
    return from_iso(re.sub(r" (?=\d\d:\d\d$)", "+", text.strip()))


def _iso(moment: int) -> str:
    return to_datetime(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bad(parameter: str, text: str) -> HttpError:
    return http_error(400, "BadRequest", f"The parameter {parameter} is wrong: {text}", target=parameter)
