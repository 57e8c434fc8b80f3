"""Metrics: counted, joined from several processes, rendered as Prometheus text that its own parser reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.clock import ManualClock
from headrace.observe import exchange
from headrace.observe.exchange import all_numbers, giving_numbers, numbers_socket
from headrace.observe.metrics import METRICS, CallCounters, Snapshot, decode, encode, process_snapshot, render
from headrace.transform.numbers import pipeline_snapshot
from headrace.transform.progress import Counters, JournalProgress, Progress


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def engine_snapshot() -> Snapshot:
    counters = Counters()
    counters.add("dcr-1", "Custom-A", 0, received=5, stored=3, filtered=2)
    counters.add("dcr-1", "Custom-A", 0, received=1, dead=1)
    clock = ManualClock()
    progress = Progress(
        streams=counters.snapshot(),
        journals={"j": JournalProgress(3, 5, 9, damaged=1)},
        oldest=clock.now() - 2_500_000,
        retries=4,
    )
    return pipeline_snapshot(progress, 7, clock)


def test_every_number_is_in_the_list_with_its_labels() -> None:
    calls = CallCounters(0)
    calls.answered("dcr-1", "Custom-A", 204)
    calls.accepted("dcr-1", "Custom-A", 10, 20, 2)
    calls.left_out("dcr-1", "Custom-A", 1)
    known = {metric.name: metric for metric in METRICS}
    given: set[str] = {f"headrace_journal_{name}" for name in ("bytes", "broken", "ahead_seconds")}
    given |= {"headrace_deleted_workspaces", "headrace_deleted_workspace_bytes"}
    for snapshot in (calls.snapshot(), engine_snapshot(), process_snapshot("engine-0", 1.0, 2)):
        assert decode(encode(snapshot)) == snapshot
        for name, numbers in snapshot.items():
            given.add(name)
            assert all(len(labels) == len(known[name].labels) for labels, _ in numbers)
    assert given == set(known)


def test_rendered_text_reads_back() -> None:
    text, content_type = render([engine_snapshot(), process_snapshot("engine-0", 5.0, 2)])
    assert content_type.startswith("text/plain")
    found = samples(text)
    flow = {("rule", "dcr-1"), ("stream", "Custom-A"), ("flow", "0")}
    results = {
        name: found["headrace_flow_rows_total", frozenset({*flow, ("result", name)})]
        for name in ("stored", "filtered", "dead_lettered")
    }
    assert results == {"stored": 3, "filtered": 2, "dead_lettered": 1}
    assert found["headrace_flow_rows_received_total", frozenset(flow)] == sum(results.values())
    assert found["headrace_pipeline_lag_seconds", frozenset()] == 2.5
    assert found["headrace_journal_records_waiting", frozenset({("journal", "j")})] == 4
    assert found["headrace_process_restarts_total", frozenset({("process", "engine-0")})] == 2


def test_processes_are_joined_and_one_that_is_gone_is_told(tmp_path: Path) -> None:
    first, second = CallCounters(0), CallCounters(1)
    for counters in (first, second):
        counters.answered("dcr-1", "Custom-A", 204)

    async def ask() -> list[Snapshot]:
        gone = numbers_socket(tmp_path, "query-0")
        gone.touch()
        async with (
            giving_numbers(numbers_socket(tmp_path, "gateway-0"), first.snapshot),
            giving_numbers(numbers_socket(tmp_path, "gateway-1"), second.snapshot),
        ):
            return await all_numbers(tmp_path)

    found = samples(render(asyncio.run(ask()))[0])
    calls = [number for (name, _), number in found.items() if name == "headrace_requests_total"]
    assert calls == [1, 1]
    assert found["headrace_process_up", frozenset({("process", "query-0")})] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["numbers-query-0.sock"]


def test_where_the_disk_takes_no_socket_a_process_still_tells_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all others as soon as the disk does."""
    monkeypatch.setattr(exchange, "_PAUSE_SECONDS", 0.01)
    folder = tmp_path / "run"
    counters = CallCounters(0)
    counters.answered("dcr-1", "Custom-A", 204)

    async def ask() -> tuple[list[Snapshot], list[Snapshot]]:
        own = numbers_socket(folder, "gateway-0")
        async with giving_numbers(own, counters.snapshot):
            first = await all_numbers(folder, {"gateway-0": counters.snapshot})
            folder.mkdir()
            while not own.exists():
                await asyncio.sleep(0.01)
            assert len(await all_numbers(folder, {"gateway-0": counters.snapshot})) == 1
            return first, await all_numbers(folder)

    first, second = asyncio.run(ask())
    assert samples(render(first)[0]) == samples(render(second)[0])
    assert not any(folder.iterdir())
