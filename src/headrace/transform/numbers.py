"""The pipeline's numbers for the metrics."""

from __future__ import annotations

from headrace.clock import SECOND, Clock
from headrace.observe.metrics import Snapshot
from headrace.transform.progress import FlowCounts, Progress


def pipeline_snapshot(progress: Progress, letters: int, clock: Clock, removed: int = 0) -> Snapshot:
    """What the engine tells: the rows of each flow, and how far behind the pipeline is."""
    waited = 0.0 if progress.oldest is None else max(0.0, (clock.now() - progress.oldest) / SECOND)
    flows = [((rule, stream, str(flow)), counts) for (rule, stream, flow), counts in progress.streams.items()]
    journals = [((key,), one) for key, one in progress.journals.items()]
    return {
        "headrace_flow_rows_received_total": [(labels, counts.received) for labels, counts in flows],
        "headrace_flow_rows_total": [
            ((*labels, result), number)
            for labels, counts in flows
            for result, number in _results(counts).items()
        ],
        "headrace_flow_undeclared_payloads_total": [(labels, counts.undeclared) for labels, counts in flows],
        "headrace_transform_errors_total": [*progress.errors.items()],
        "headrace_transform_runs_total": [(key, one.runs) for key, one in progress.runs.items()],
        "headrace_transform_seconds_total": [(key, one.seconds) for key, one in progress.runs.items()],
        "headrace_pipeline_lag_seconds": [((), waited)],
        "headrace_pipeline_retries_total": [((), progress.retries)],
        "headrace_journal_records_waiting": [(key, one.end - one.next) for key, one in journals],
        "headrace_journal_waiting_bytes": [(key, one.waiting_bytes) for key, one in journals],
        "headrace_journal_records_held": [(key, one.end - one.watermark) for key, one in journals],
        "headrace_journal_records_damaged": [(key, one.damaged) for key, one in journals],
        "headrace_dead_letters": [((), letters)],
        "headrace_dead_letters_removed_total": [((), removed)],
    }


def _results(counts: FlowCounts) -> dict[str, int]:
    return {
        "stored": counts.stored,
        "filtered": counts.filtered,
        "dead_lettered": counts.dead,
        "duplicate": counts.duplicate,
    }
