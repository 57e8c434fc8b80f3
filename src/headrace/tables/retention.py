"""Retention: days of a table that are older than its total retention leave the Delta log as a whole.

Their files stay for as long as a running query may read them. Nothing is removed while the machine's clock is not to be
trusted: one that was set wrong for a minute must not cost a year of data.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace.clock import DAY
from headrace.tables.durability import sync_log
from headrace.tables.model import CommitError, TableKey
from headrace.tables.state import TableState, Tools

RetentionOf = Callable[[TableKey], int | None]
"""Days that a table's rows are kept in all; None where that is not known (the table is being deleted)."""


def expire(state: TableState, tools: Tools, now: int, days: int) -> int:
    """Remove the days that lie wholly before `now` less `days`; how many files. Raises as a commit does."""
    first_kept = (now - days * DAY) // DAY
    if first_kept <= state.expired_before or state.manifest.delta_version < 0:
        return 0
    with state.commit_lock:
        state.check()
        log = state.log()
        old = [file for file in log.files() if file.day is not None and file.day < first_kept]
        if old:
            if not log.replace(old, [], now, data_change=True) and {*old} & {*log.files()}:
                raise CommitError("the removal of old days was refused")
            sync_log(state, tools, range(state.manifest.delta_version + 1, log.version + 1))
            state.committed(log.version, (), [file.path for file in old], tools.clock.monotonic())
    state.expired_before = first_kept
    return len(old)
