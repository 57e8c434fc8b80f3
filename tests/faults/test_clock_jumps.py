"""The clock is set forward and back while rows flow: each row once, times that never go back, repeats known."""

from __future__ import annotations

from pathlib import Path

from tests.transform_kit import RULE, PipelineBench, by_flow, make_rule, make_table, wait_idle

from headrace.clock import DAY, HOUR, MINUTE, SystemClock


class SetClock(SystemClock):
    """The machine's clocks, of which a test sets the wall clock."""

    def __init__(self) -> None:
        self.off = 0

    def now(self) -> int:
        """See `Clock.now`."""
        return super().now() + self.off


def test_jumps_lose_and_double_nothing(tmp_path: Path) -> None:
    clock = SetClock()
    settings = {"commit_bytes": 1024, "commit_seconds": 0.1, "checkpoint_commits": 3}
    rules = {(RULE, 1): make_rule()}
    with PipelineBench(tmp_path, rules, (make_table(),), clock=clock, store_settings=settings) as bench:
        for place, jump in enumerate((0, 3 * DAY, -2 * HOUR, -400 * DAY, 500 * DAY)):
            clock.off += jump
            bench.send([{"Id": 2 * place}], client=f"call-{place}")
            # The answer was lost while the clock was set: the repeat seems to come later, or before the call.
            clock.off += (-1) ** place * MINUTE
            bench.send([{"Id": 2 * place}], client=f"call-{place}")
            bench.send([{"Id": 2 * place + 1}])
            pipeline = bench.pipeline()
            pipeline.start()
            wait_idle(pipeline)
            assert bench.store is not None
            assert bench.store.maintain(retention=lambda _: 4).failures == ()
            assert pipeline.stop()
            assert by_flow(pipeline.progress())[RULE, 0].duplicate == 1
            bench.close()
            bench.open()
        rows = bench.rows("Id", "epoch_us(_TimeReceived)")
        assert [number for number, _ in rows] == list(range(10))
        received = [int(str(moment)) for _, moment in rows]
        assert received == sorted(received)
