"""Rows of the table `Operation`: what happened to the server, for those whose workspaces it serves."""

from __future__ import annotations

from typing import Literal

import msgspec

from headrace.clock import HOUR, iso

Status = Literal["Succeeded", "Warning", "Error"]


class OperationRow(msgspec.Struct, frozen=True):
    """One row, named as Azure names its columns. `OperationKey` is a word for queries, `Detail` a sentence."""

    TimeGenerated: str
    OperationCategory: str
    OperationKey: str
    OperationStatus: Status
    Detail: str
    Computer: str = "headrace"
    Solution: str = "LogManagement"
    SourceSystem: str = "Headrace"


class Events:
    """Makes rows of what happens, and says each lasting trouble once an hour."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def row(self, now: int, category: str, key: str, status: Status, detail: str) -> OperationRow:
        """Something happened at `now`, UTC microseconds."""
        return OperationRow(iso(now), category, key, status, detail)

    def trouble(self, now: int, category: str, key: str, status: Status, detail: str) -> OperationRow | None:
        """Something is wrong at `now`; None when that was said in this hour of the clock."""
        if self._said.get(key) == now // HOUR:
            return None
        self._said[key] = now // HOUR
        return self.row(now, category, key, status, detail)
