"""Rows of the table `DCRLogErrors`: what a data collection rule could not store, told in its workspace.

The rows name kinds of faults and counts, and never quote data. The gateway's travel through the journal as
entries of an internal stream, the pipeline makes its own from the dead letters.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum

import msgspec

from headrace.clock import HOUR, to_datetime

TABLE = "DCRLogErrors"

STREAM = "Headrace-DCRLogErrors"
"""The journal's internal stream. No rule can declare it: custom streams begin with `Custom-`."""

REPEATS = 5
"""Rows that one kind of error may make in an hour; one more says that the rest of the hour is silent."""

MAX_KINDS = 10_000


class ErrorRow(msgspec.Struct, frozen=True):
    """One row, named as Azure names its columns. Its `TimeGenerated` is the time of the payload's receipt."""

    OperationName: str
    """`Ingestion` for what the gateway refused or left out, `Transformation` for what could not be stored."""
    InputStreamId: str
    Message: str
    ClientRequestId: str
    CorrelationId: str
    """`x-ms-request-id` of the call."""
    resource_id: str = msgspec.field(name="_ResourceId")
    SourceSystem: str = "Azure"


COLUMNS: tuple[str, ...] = ErrorRow.__struct_encode_fields__
"""The text columns that a row gives; `TimeGenerated` comes from the journal."""


def encode_rows(rows: Sequence[ErrorRow]) -> bytes:
    """The rows as a JSON array: a body of the internal stream."""
    return msgspec.json.encode(rows)


def decode_rows(body: bytes) -> list[ErrorRow]:
    """The reverse of `encode_rows`. Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(body, type=list[ErrorRow])


class Verdict(Enum):
    """What becomes of one more error of a kind."""

    LOG = "log"
    LAST = "last"
    MUTE = "mute"


class Repeats:
    """Bounds how often a kind of error is logged in one hour of the clock. Thread-safe."""

    def __init__(self, *, limit: int = REPEATS, most: int = MAX_KINDS) -> None:
        self._limit = limit
        self._most = most
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, ...], tuple[int, int]] = OrderedDict()

    def judge(self, kind: tuple[str, ...], now: int) -> Verdict:
        """Count one more error of `kind` at `now` (UTC microseconds); `LAST` asks for `last_message`."""
        hour = now // HOUR
        with self._lock:
            last, count = self._seen.pop(kind, (hour, 0))
            count = count + 1 if last == hour else 1
            self._seen[kind] = (hour, count)
            while len(self._seen) > self._most:
                self._seen.popitem(last=False)
        if count <= self._limit:
            return Verdict.LOG
        return Verdict.LAST if count == self._limit + 1 else Verdict.MUTE

    def message(self, kind: tuple[str, ...], now: int, text: str) -> str | None:
        """The message to log for one more error of `kind`; None when it is silent until the next hour."""
        verdict = self.judge(kind, now)
        if verdict is Verdict.LOG:
            return text
        if verdict is Verdict.MUTE:
            return None
        until = to_datetime((now // HOUR + 1) * HOUR)
        return (
            f"{text} Such errors came {self._limit} times before in this hour; "
            f"more are not logged until {until:%H:%M} UTC."
        )


def dropped_message(members: int, *, whole: bool) -> str:
    """What mode `compatible` says of what it answered 204 and left out."""
    if whole:
        return "The body is a single object instead of an array of objects; it was not stored."
    what = (
        "1 member of the array is not an object and was"
        if members == 1
        else (f"{members} members of the array are not objects and were")
    )
    return f"{what} not stored; the objects were."


def refused_message(status: int, code: str, message: str) -> str:
    """What is said of a call that was answered with an error."""
    return f"A call was answered {status} {code}, nothing of it was stored: {message}"


def lettered_message(rows: int, table: str, reason: str, message: str) -> str:
    """What is said of rows that became dead letters; `table` is empty where no single one was meant."""
    what = "1 row" if rows == 1 else f"{rows} rows"
    where = f" in {table}" if table else ""
    return (
        f"{what} could not be stored{where} ({reason}): {message.rstrip('.')}. "
        "`headrace dead-letters list` shows them."
    )
