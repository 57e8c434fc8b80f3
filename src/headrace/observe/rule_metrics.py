"""Azure's metrics of a data collection rule: their definitions, their numbers by minute, and how long they are kept.

The numbers come from the processes' counters (`observe.metrics`): what a counter grew between two looks belongs
to the minute of the later one. Minutes are kept in a file a day, for 93 days and within a bound of bytes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.clock import DAY, MINUTE, Clock, SteadyClock
from headrace.disk import reason, write_replacement
from headrace.frames import Form
from headrace.observe.metrics import Snapshot

_LOG = logging.getLogger(__name__)

NAMESPACE = "microsoft.insights/datacollectionrules"
DAYS = 93
MAX_BYTES = 256 * 1024 * 1024
"""All files together; the oldest days go first."""

STREAM, CODE, ERROR = "InputStreamId", "ResponseCode", "ErrorType"
_FORM = Form(begins=b"\x92", most=MAX_BYTES)
"""A minute is an array of 2, in MessagePack."""
_LAST_FORM = Form(begins=b"\x94", most=MAX_BYTES)
_SUFFIX = ".minutes"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. `unit` is Azure's name of it; `detail` the dimension beside the stream, empty for none.

    `short` is another name that clients have for it, empty for none: who asks by it is answered by it.
    """

    name: str
    display: str
    unit: str
    primary: str
    detail: str = ""
    short: str = ""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of its dimensions."""
        return (STREAM, self.detail) if self.detail else (STREAM,)


DEFINITIONS = (
    Definition("BytesReceived_Count", "Logs Ingestion Bytes per Min", "Bytes", "Total"),
    Definition("ApiCallReceived_Count", "Logs Ingestion Requests per Min", "Count", "Total", CODE),
    Definition("RowsDropped_Count", "Logs Rows Dropped per Min", "Count", "Total"),
    Definition("RowsReceived_Count", "Logs Rows Received per Min", "Count", "Total"),
    Definition(
        "TransformationErrors_Count",
        "Logs Transform Errors per Min",
        "Count",
        "Total",
        ERROR,
        "TransformErrors_Count",
    ),
    Definition(
        "TransformationRuntime_DurationMs",
        "Logs Transform Duration per Min",
        "MilliSeconds",
        "Average",
        short="TransformRuntime_DurationMs",
    ),
)

_RUNTIME = 5
_SIMPLE: Mapping[str, int] = {
    "headrace_wire_bytes_total": 0,
    "headrace_requests_total": 1,
    "headrace_rows_accepted_total": 3,
    "headrace_transform_errors_total": 4,
}
_GATEWAYS = ("headrace_wire_bytes_total", "headrace_requests_total", "headrace_rows_accepted_total")
_FLOW_ROWS = "headrace_flow_rows_total"
_DROPPED = ("filtered", "dead_lettered")
_SECONDS, _RUNS = "headrace_transform_seconds_total", "headrace_transform_runs_total"
_START = "headrace_process_start_time_seconds"
_MILLISECONDS = 1000

Key = tuple[int, str, str]
"""Place in `DEFINITIONS`, stream, value of the other dimension."""


class Point(msgspec.Struct, array_like=True):
    """One series in one minute. `count` is how many samples make `total`."""

    metric: int
    stream: str
    detail: str
    total: float
    count: float


class _Frame(msgspec.Struct, array_like=True):
    minute: int
    rules: dict[str, msgspec.Raw]


class _Counters(msgspec.Struct, array_like=True):
    """A process, when it started, and its counters as they were last."""

    process: str
    start: float
    values: list[tuple[str, tuple[str, ...], float]]


class _Last(msgspec.Struct, array_like=True):
    """What was flushed last: the counters up to there, and the frame, which belongs at `place` of the day's file."""

    counters: list[_Counters]
    day: int
    place: int
    frame: bytes


_FRAMES = msgspec.msgpack.Decoder(_Frame)
_LASTS = msgspec.msgpack.Decoder(_Last)
_POINTS = msgspec.msgpack.Decoder(list[Point])


class RuleMetrics:
    """The minutes of one data folder, for their one writing process. Thread-safe; `rule` is an immutable id."""

    def __init__(self, folder: Path, clock: Clock, *, max_bytes: int = MAX_BYTES) -> None:
        """Open or begin the minutes in `folder`. Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._steady = SteadyClock(clock)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._minute = clock.now() // MINUTE
        self._current: dict[str, dict[Key, Point]] = {}
        self._known: dict[str, _Counters] = {}
        last = self._read_last()
        if last is not None:
            self._known = {one.process: one for one in last.counters}
            with contextlib.suppress(OSError):
                self._put(last)

    @property
    def _last(self) -> Path:
        return self._folder / "last"

    def look(self, snapshots: Iterable[Snapshot]) -> None:
        """Take the processes' counters as they are now."""
        with self._lock:
            minute = self._clock.now() // MINUTE
            if minute != self._minute:
                self._flush()
                self._minute = minute
            for snapshot in snapshots:
                self._take(snapshot)

    def points(self, rule: str, start: int, end: int) -> Iterator[tuple[int, Point]]:
        """The rule's numbers by minute (its start, UTC microseconds) from `start` up to and without `end`."""
        for day in self._days():
            if start // DAY <= day <= end // DAY:
                for frame in _frames(self._path(day)):
                    raw = frame.rules.get(rule)
                    if raw is not None and start <= frame.minute * MINUTE < end:
                        for point in _POINTS.decode(raw):
                            yield frame.minute * MINUTE, point
        with self._lock:
            minute = self._minute * MINUTE
            current = [*self._current.get(rule, {}).values()]
            now = [Point(p.metric, p.stream, p.detail, p.total, p.count) for p in current]
        if start <= minute < end:
            yield from ((minute, point) for point in now)

    def close(self) -> None:
        """Keep the minute that is under way."""
        with self._lock:
            self._flush()

    def _take(self, snapshot: Snapshot) -> None:
        # A process that does not answer tells no start: what it said before stays known.
        for (process,), start in snapshot.get(_START, ()):
            known = self._known.get(process)
            before = {(metric, labels): value for metric, labels, value in known.values} if known else {}
            if known is None or known.start != start:
                before = {}
            values = [
                (metric, tuple(labels), value)
                for metric in (*_SIMPLE, _FLOW_ROWS, _SECONDS, _RUNS)
                for labels, value in snapshot.get(metric, ())
            ]
            self._known[process] = _Counters(process, start, values)
            for metric, labels, value in values:
                grown = value - before.get((metric, labels), 0.0)
                if grown > 0:
                    self._grow(metric, labels, grown)

    def _grow(self, metric: str, labels: tuple[str, ...], grown: float) -> None:
        rule, stream, *rest = labels[1:] if metric in _GATEWAYS else labels
        if not rule:
            return
        detail = rest[0] if rest and metric in _SIMPLE else ""
        if metric in _SIMPLE:
            self._add(rule, (_SIMPLE[metric], stream, detail), grown, 0)
        elif metric == _SECONDS:
            self._add(rule, (_RUNTIME, stream, ""), grown * _MILLISECONDS, 0)
        elif metric == _RUNS:
            self._add(rule, (_RUNTIME, stream, ""), 0, grown)
        elif rest[1] in _DROPPED:
            self._add(rule, (2, stream, ""), grown, 0)

    def _add(self, rule: str, key: Key, total: float, count: float) -> None:
        points = self._current.setdefault(rule, {})
        point = points.get(key)
        if point is None:
            # Of what is only counted, a minute is one sample.
            point = points[key] = Point(*key, 0.0, 0.0 if key[0] == _RUNTIME else 1.0)
        point.total += total
        point.count += count

    def _flush(self) -> None:
        minute, current, self._current = self._minute, self._current, {}
        if not current:
            return
        rules = {
            rule: msgspec.Raw(msgspec.msgpack.encode([*points.values()])) for rule, points in current.items()
        }
        frame = _FORM.pack(msgspec.msgpack.encode(_Frame(minute, rules)))
        day = minute * MINUTE // DAY
        try:
            path = self._path(day)
            place = path.stat().st_size if path.exists() else 0
            last = _Last([*self._known.values()], day, place, frame)
            # At one stroke the counters and what they grew by: a crash here makes no minute twice, nor loses one.
            write_replacement(self._last, _LAST_FORM.pack(msgspec.msgpack.encode(last)))
            self._put(last)
            self._prune()
        except OSError as error:
            _LOG.warning("metrics of rules are not kept: %s", reason(error))

    def _read_last(self) -> _Last | None:
        try:
            with self._last.open("rb") as file:
                whole = next(_LAST_FORM.read(file), None)
            return _LASTS.decode(whole.payload) if whole is not None else None
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _put(self, last: _Last) -> None:
        """Put the frame at its place, if it is not there."""
        path = self._path(last.day)
        with path.open("r+b" if path.exists() else "xb") as file:
            size = file.seek(0, 2)
            if size < last.place + len(last.frame):
                file.seek(min(size, last.place))
                file.write(last.frame)

    def _prune(self) -> None:
        # A clock that was set wrong for a minute must not cost the metrics of 93 days.
        now = self._steady.now()
        oldest = 0 if now is None else now // DAY - DAYS
        total = 0
        for day in reversed(self._days()):
            path = self._path(day)
            total += path.stat().st_size
            if day < oldest or total > self._max_bytes:
                path.unlink(missing_ok=True)

    def _days(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())

    def _path(self, day: int) -> Path:
        return self._folder / f"{day}{_SUFFIX}"


def _frames(path: Path) -> Iterator[_Frame]:
    """Whole frames of a file."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for whole in _FORM.read(file):
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                yield _FRAMES.decode(whole.payload)
