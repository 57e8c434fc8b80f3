"""Journal records and the two narrow protocols: a gateway writes, the pipeline reads and trims."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """A payload as a gateway accepts it; rule id *and rule version* are fixed here, replays use them."""

    request_id: str
    client_request_id: str
    principal: str
    """Object id of the caller."""
    rule: str
    """immutableId of the data collection rule."""
    rule_version: int
    stream: str
    encoding: str
    """Content-Encoding of `body`: empty or `gzip`."""
    body: bytes
    """The wire bytes as received."""
    length: int
    """Bytes of JSON after inflate."""
    rows: int
    """Members of the JSON array, as the gateway counted them."""
    time_field: str = ""
    """The property that gives the rows' time, where the sender names it beside the body."""
    resource_id: str = ""
    """`_ResourceId` of the rows, where the sender tells it beside the body."""


class Inflated(Protocol):
    """Where compressed bodies may still be found as they are without compression."""

    def find(self, offset: int, length: int, body: bytes) -> bytes | None:
        """The `length` bytes that the gzip `body` of the record `offset` inflates to; None where they are not here."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """An entry in the journal. `offset` counts records from 0; `received` is UTC µs, never falling."""

    journal: str
    offset: int
    received: int
    entry: Entry
    memory: Inflated | None = field(default=None, compare=False, repr=False)

    def inflated(self) -> bytes | None:
        """What the body inflates to, if it is gzip and its writer's memory still has it."""
        if self.memory is None or self.entry.encoding != "gzip":
            return None
        return self.memory.find(self.offset, self.entry.length, self.entry.body)

    def holding(self) -> Record:
        """The record with what its body inflates to, so far as its writer's memory still has it: that soon forgets."""
        text = self.inflated()
        return self if text is None else replace(self, memory=_Held(text))


@dataclass(frozen=True, slots=True)
class _Held:
    """`Inflated` of one record."""

    text: bytes

    def find(self, offset: int, length: int, body: bytes) -> bytes:
        """The text."""
        return self.text


Pending = asyncio.Future[Record]
"""An entry on its way into the journal. Done once it is durable, or with the exception that tells why it is not."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Records that were durable once and cannot be read any more: the medium changed them.

    Covers offsets from `offset` up to, not including, `offset + count`; `segment` and `position` (bytes)
    say where in the journal's folder the first of them stood. The records after them are not affected.
    """

    journal: str
    offset: int
    count: int
    segment: str
    position: int


class JournalFullError(Exception):
    """The journal is at its bound. `retry_after` is a true estimate in seconds."""

    def __init__(self, retry_after: float, message: str | None = None) -> None:
        super().__init__(message or f"the journal is full; room is expected in {retry_after:.0f} s")
        self.retry_after = retry_after


class DiskFullError(JournalFullError):
    """The disk has no room for the journal to grow: 503 where the journal's own bound is 429.

    The journal goes on by itself as soon as there is room.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after, "the disk that holds the journal is full")


class JournalBrokenError(Exception):
    """The disk refused a write or a sync: nothing is acknowledged until a restart repairs the tail."""


class JournalLockedError(Exception):
    """Another writer has this journal open."""


class JournalFormatError(Exception):
    """The journal was written by a newer Headrace, or the folder is not a journal."""


class JournalWriter(Protocol):
    """The gateway's side. One writer per journal."""

    @property
    def journal_id(self) -> str:
        """GUID of this journal; it never changes while the folder lives."""
        ...

    def submit(self, entry: Entry, inflated: bytes | None = None) -> Pending:
        """Take an entry, to be made durable; all entries that wait together share one sync.

        `inflated` is what its body inflates to, where that is at hand: readers may be spared doing it.
        Entries keep the order in which they are submitted. Called in an event loop. Both the call and what it
        returns raise `JournalFullError`, `DiskFullError` or `JournalBrokenError`; after any of them nothing was
        acknowledged.
        """
        ...

    def backlog(self) -> int:
        """Bytes on disk that the pipeline has not yet let go."""
        ...

    async def close(self) -> None:
        """Finish what is waiting and close the files."""
        ...


class JournalReader(Protocol):
    """The pipeline's side, in another process. Sees only records that are durable."""

    @property
    def journal_id(self) -> str:
        """GUID of this journal."""
        ...

    def start(self) -> int:
        """The first offset still kept."""
        ...

    def end(self) -> int:
        """The offset after the last durable record."""
        ...

    def beside(self) -> JournalReader:
        """Another reader of the same journal, with a place of its own; `close` it."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...

    def waiting_bytes(self) -> int:
        """About how many bytes of durable records lie behind what was read last."""
        ...

    def read(self, offset: int, max_bytes: int) -> Sequence[Record]:
        """Records from `offset` on, at least one if there is one, about `max_bytes` of wire bytes at most.

        Records that cannot be read any more are left out and told by `damaged`; those after them follow,
        so the offsets of an answer may have gaps, and its first may be higher than `offset`.
        """
        ...

    def readable(self, offset: int) -> int:
        """`offset`, or where reading goes on if the records from there on are known to be damaged.

        When `read` gives nothing although `end` is higher, the records up to here are lost.
        """
        ...

    def damaged(self) -> Sequence[Damage]:
        """What `read` has had to leave out so far, by offset."""
        ...

    def trim(self, offset: int) -> None:
        """Let go of records below `offset`, whole segments at a time, once they are safe elsewhere."""
        ...
