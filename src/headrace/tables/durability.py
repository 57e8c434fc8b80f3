"""Which syncs make a commit survive a power cut, and in which order. Every sync has a site name.

First the data files and their folder, then the log entry and its folder; a new folder's own entry, and
its parents', with either. Only when all of it returned do positions become durable.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headrace.tables.delta import LOG, log_file
from headrace.tables.model import TableBrokenError
from headrace.tables.state import TableState, Tools


def sync_data(state: TableState, tools: Tools, paths: Iterable[str]) -> None:
    """Make data files durable before a log entry names them. Raises `TableBrokenError`."""
    folders: dict[Path, None] = {}
    try:
        for path in paths:
            tools.disk.sync_file(state.folder / path, "tables.data.file")
            folders.setdefault((state.folder / path).parent)
        for folder in folders:
            tools.disk.sync_dir(folder, "tables.data.dir")
            sync_entry(state, tools, folder, "tables.data.folder")
    except OSError as error:
        raise _broken(state) from error


def sync_log(state: TableState, tools: Tools, versions: Iterable[int], site: str = "tables.log") -> None:
    """Make the log's entries of `versions` durable. Raises `TableBrokenError`."""
    try:
        for version in versions:
            tools.disk.sync_file(log_file(state.folder, version), f"{site}.file")
        tools.disk.sync_dir(state.folder / LOG, f"{site}.dir")
        sync_entry(state, tools, state.folder / LOG, f"{site}.folder")
    except OSError as error:
        raise _broken(state) from error


def sync_checkpoint(state: TableState, tools: Tools, checkpoint: Path) -> None:
    """Make a checkpoint durable before log entries that it covers go. Raises `TableBrokenError`."""
    try:
        tools.disk.sync_file(checkpoint, "tables.checkpoint.file")
        tools.disk.sync_dir(checkpoint.parent, "tables.checkpoint.dir")
    except OSError as error:
        raise _broken(state) from error


def sync_entry(state: TableState, tools: Tools, path: Path, site: str) -> None:
    """Make a folder findable: its entry in the table's folder, and all entries from there to the root."""
    if path in state.synced:
        return
    tools.disk.sync_dir(path.parent, site)
    state.synced.add(path)
    folder = state.folder
    while folder != tools.root and folder not in state.synced:
        tools.disk.sync_dir(folder.parent, "tables.parent")
        state.synced.add(folder)
        folder = folder.parent


def _broken(state: TableState) -> TableBrokenError:
    state.break_off()
    return TableBrokenError(f"the disk refused to make table {state.key.name} durable")
