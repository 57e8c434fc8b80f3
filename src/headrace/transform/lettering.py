"""Rows that cannot be stored become dead letters, and are counted as such once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.journal.model import Record
from headrace.transform.bisect import Bad
from headrace.transform.bodies import members
from headrace.transform.dead_letters import WHOLE, DeadLetter, DeadLetters, Decided
from headrace.transform.progress import Counters
from headrace.transform.run import Body


class Lettering:
    """Writes dead letters; shared by all workers."""

    def __init__(self, letters: DeadLetters, counters: Counters, step: Callable[[str], None]) -> None:
        self._letters = letters
        self._counters = counters
        self._step = step

    def give_up(self, records: Sequence[Record], flow: int, reason: str, message: str) -> None:
        """Keep whole payloads. Raises `OSError`."""
        self._add([_letter(record, flow, WHOLE, reason, message) for record in records])

    def keep(self, records: Sequence[Record], bodies: Sequence[Body], flow: int, bad: Sequence[Bad]) -> None:
        """Keep the rows that a flow cannot be run on. Raises `OSError`."""
        record_at = {record.offset: record for record in records}
        parted = {one.offset for one in bad if one.row is not None}
        texts = {body.offset: members(body) for body in bodies if body.offset in parted}
        message = "The transform cannot be run on these rows."
        letters = []
        for one in bad:
            record = record_at[one.offset]
            if one.row is None:
                letters.append(_letter(record, flow, WHOLE, one.reason, message))
            else:
                text = texts[one.offset][one.row]
                letters.append(_letter(record, flow, one.row, one.reason, message, text))
        self._add(letters)

    def decided(self, record: Record, flow: int) -> Decided:
        """What was given up of a payload on its way through a flow."""
        return self._letters.decided(record.journal, record.offset, flow)

    def _add(self, letters: Sequence[DeadLetter]) -> None:
        self._step("letters")
        for letter in self._letters.add(letters):
            self._counters.add(
                letter.rule, letter.stream, letter.flow, received=letter.rows, dead=letter.rows
            )
            self._counters.failed(letter.rule, letter.stream, letter.reason, letter.rows)
        self._step("lettered")


def _letter(
    record: Record, flow: int, row: int, reason: str, message: str, text: bytes | None = None
) -> DeadLetter:
    entry = record.entry
    return DeadLetter(
        journal=record.journal,
        offset=record.offset,
        flow=flow,
        row=row,
        received=record.received,
        rule=entry.rule,
        rule_version=entry.rule_version,
        stream=entry.stream,
        request_id=entry.request_id,
        client_request_id=entry.client_request_id,
        reason=reason,
        message=message,
        encoding="" if text is not None else entry.encoding,
        rows=1 if text is not None else entry.rows,
        body=text if text is not None else entry.body,
    )
