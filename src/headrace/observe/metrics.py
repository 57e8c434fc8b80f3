"""The numbers that Headrace tells of itself: one list of metrics, and what each process gives of them.

Every process keeps plain numbers and makes a `Snapshot` when it is asked; nothing is counted per row, and
nothing but a dictionary's entry changes per request.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

Snapshot = Mapping[str, Sequence[tuple[tuple[str, ...], float]]]
"""By metric: values of its labels, in their order, and the number."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric by its Prometheus name. Counters begin at 0 with their process."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]


_CALL = ("gateway", "rule", "stream")
_FLOW = ("rule", "stream", "flow")
_PROCESS = ("process",)

METRICS: tuple[Metric, ...] = (
    Metric(
        "headrace_requests_total",
        "counter",
        "Calls of the ingestion API that were answered, by HTTP status. Rule and stream are empty where the "
        "call named none that exists.",
        (*_CALL, "code"),
    ),
    Metric("headrace_wire_bytes_total", "counter", "Bytes of accepted bodies, as sent.", _CALL),
    Metric("headrace_json_bytes_total", "counter", "Bytes of accepted bodies after inflate.", _CALL),
    Metric("headrace_rows_accepted_total", "counter", "Rows that were answered 204, durable by then.", _CALL),
    Metric(
        "headrace_members_left_out_total",
        "counter",
        "Array members, or bare objects as one, that mode compatible answered 204 and left out.",
        _CALL,
    ),
    Metric(
        "headrace_journal_bytes", "gauge", "Bytes on disk that a journal still needs.", ("gateway", "journal")
    ),
    Metric(
        "headrace_journal_broken",
        "gauge",
        "Whether the disk refused a journal a write or a sync, so that payloads are answered 503: 1 or 0.",
        ("gateway", "journal"),
    ),
    Metric(
        "headrace_journal_ahead_seconds",
        "gauge",
        "How far a journal's received times are ahead of the clock, which was set back: they stand still until it has "
        "caught up.",
        ("gateway", "journal"),
    ),
    Metric(
        "headrace_flow_rows_received_total",
        "counter",
        "Rows that a data flow is done with: always the sum of headrace_flow_rows_total over its results. "
        "Flow -1 stands for payloads that reached no flow.",
        _FLOW,
    ),
    Metric(
        "headrace_flow_rows_total",
        "counter",
        "What became of those rows: stored, filtered (by the transform), dead_lettered, or duplicate (of a call that "
        "was stored before).",
        (*_FLOW, "result"),
    ),
    Metric(
        "headrace_flow_undeclared_payloads_total",
        "counter",
        "Payloads of those rows that have properties which the stream does not declare: they are not read. "
        "The calls' receipts name them.",
        _FLOW,
    ),
    Metric(
        "headrace_transform_errors_total",
        "counter",
        "Rows that became dead letters, by reason.",
        ("rule", "stream", "reason"),
    ),
    Metric("headrace_transform_runs_total", "counter", "How often transforms ran.", ("rule", "stream")),
    Metric("headrace_transform_seconds_total", "counter", "How long they ran.", ("rule", "stream")),
    Metric(
        "headrace_pipeline_lag_seconds",
        "gauge",
        "Age of the oldest accepted payload that waits for its flow.",
        (),
    ),
    Metric("headrace_pipeline_retries_total", "counter", "Batches that had to be tried again.", ()),
    Metric(
        "headrace_journal_records_waiting",
        "gauge",
        "Payloads in a journal that the pipeline has not read.",
        ("journal",),
    ),
    Metric(
        "headrace_journal_waiting_bytes",
        "gauge",
        "Bytes of those payloads, as they lie on the disk.",
        ("journal",),
    ),
    Metric(
        "headrace_journal_records_held",
        "gauge",
        "Payloads from the first one on whose rows are not safe in a table or among the dead letters.",
        ("journal",),
    ),
    Metric(
        "headrace_journal_records_damaged",
        "gauge",
        "Payloads that were durable once and that the disk cannot give back.",
        ("journal",),
    ),
    Metric("headrace_dead_letters", "gauge", "Dead letters in the data folder.", ()),
    Metric(
        "headrace_dead_letters_removed_total",
        "counter",
        "Dead letters that went because all of them took more than transform.dead_letter_bytes.",
        (),
    ),
    Metric(
        "headrace_deleted_workspaces",
        "gauge",
        "Deleted workspaces that can be recovered: they are purged 14 days after they were deleted.",
        (),
    ),
    Metric(
        "headrace_deleted_workspace_bytes",
        "gauge",
        "Bytes of their tables on the disk, looked at every ten minutes. After the purge the files go within the hour.",
        (),
    ),
    Metric("headrace_process_up", "gauge", "Whether a process answers: 1 or 0.", _PROCESS),
    Metric("headrace_process_restarts_total", "counter", "How often a process was started again.", _PROCESS),
    Metric(
        "headrace_process_start_time_seconds",
        "gauge",
        "When a process started, seconds since 1970.",
        _PROCESS,
    ),
    Metric("headrace_process_resident_memory_bytes", "gauge", "Memory of a process (RSS).", _PROCESS),
)


class CallCounters:
    """Counts of one gateway's calls; for its event loop alone."""

    def __init__(self, gateway: int) -> None:
        self._gateway = str(gateway)
        self._requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        # Wire bytes, JSON bytes, rows.
        self._accepted: dict[tuple[str, str], list[int]] = {}
        self._left_out: defaultdict[tuple[str, str], int] = defaultdict(int)

    def answered(self, rule: str, stream: str, status: int) -> None:
        """A call was answered."""
        self._requests[rule, stream, status] += 1

    def accepted(self, rule: str, stream: str, wire: int, length: int, rows: int) -> None:
        """A payload is in the journal."""
        counts = self._accepted.get((rule, stream))
        if counts is None:
            counts = self._accepted[rule, stream] = [0, 0, 0]
        counts[0] += wire
        counts[1] += length
        counts[2] += rows

    def left_out(self, rule: str, stream: str, members: int) -> None:
        """Members were answered 204 and not kept."""
        self._left_out[rule, stream] += members

    def snapshot(self) -> dict[str, list[tuple[tuple[str, ...], float]]]:
        """The numbers now."""
        own = self._gateway
        names = ("headrace_wire_bytes_total", "headrace_json_bytes_total", "headrace_rows_accepted_total")
        found: dict[str, list[tuple[tuple[str, ...], float]]] = {
            name: [((own, *key), counts[place]) for key, counts in self._accepted.items()]
            for place, name in enumerate(names)
        }
        found["headrace_requests_total"] = [
            ((own, rule, stream, str(code)), count) for (rule, stream, code), count in self._requests.items()
        ]
        found["headrace_members_left_out_total"] = [
            ((own, *key), count) for key, count in self._left_out.items()
        ]
        return found


def process_snapshot(process: str, started: float, restarts: int) -> Snapshot:
    """What every process tells of itself; `started` in seconds since 1970."""
    labels = (process,)
    return {
        "headrace_process_up": [(labels, 1)],
        "headrace_process_restarts_total": [(labels, restarts)],
        "headrace_process_start_time_seconds": [(labels, started)],
        "headrace_process_resident_memory_bytes": [(labels, _resident_bytes())],
    }


def encode(snapshot: Snapshot) -> bytes:
    """A snapshot as one process tells it to another."""
    return msgspec.json.encode(snapshot)


_DECODER = msgspec.json.Decoder(dict[str, list[tuple[tuple[str, ...], float]]])


def decode(text: bytes) -> Snapshot:
    """The reverse of `encode`. Raises `msgspec.MsgspecError`."""
    return _DECODER.decode(text)


def render(snapshots: Iterable[Snapshot]) -> tuple[bytes, str]:
    """All snapshots as Prometheus text, and its content type. Numbers with the same labels are added up."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector

    sums: dict[str, defaultdict[tuple[str, ...], float]] = {}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            numbers = sums.setdefault(name, defaultdict(float))
            for labels, number in samples:
                numbers[labels] += number

    class Joined(Collector):
        def collect(self) -> Iterator[Family]:
            for metric in METRICS:
                make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = make(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
                for labels, number in sums.get(metric.name, {}).items():
                    family.add_metric(labels, number)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Joined())
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
