"""What a stream's declaration does not take of sample rows: properties that it lacks, values of another type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.catalog.rulemodel import Stream
from headrace.errors import Problem
from headrace.kql.api import sql_text
from headrace.transform.coerce import SourceColumn, source_select
from headrace.transform.compile import BATCH
from headrace.transform.run import Body, RowsError, Session, batch_table
from headrace.transform.undeclared import note, shown

_MOST_NOTES = 20


def review(stream: Stream, rows: Sequence[bytes], session: Session) -> tuple[Problem, ...]:
    """What is lost of `rows` (each the JSON text of an object) before any transform sees them.

    A live server answers 204 to such rows and stores null: so a misspelt property or a wrong type shows nowhere but
    here. At most 20 notes; each counts the rows that it is about and names the first, from 1.
    """
    objects: list[dict[str, Any]] = [msgspec.json.decode(row) for row in rows]
    notes = [*_undeclared(stream, objects), *_unread(stream, rows, objects, session)]
    return tuple(notes[:_MOST_NOTES])


def _undeclared(stream: Stream, objects: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    declared = {column.name for column in stream.columns}
    places: dict[str, list[int]] = {}
    for place, row in enumerate(objects):
        for name in row.keys() - declared:
            places.setdefault(name, []).append(place)
    for name, found in sorted(places.items()):
        yield note(stream, name, _rows(found))


def _unread(
    stream: Stream, rows: Sequence[bytes], objects: Sequence[Mapping[str, Any]], session: Session
) -> Iterator[Problem]:
    """Values that became null, because they are none of their column's type."""
    columns = [SourceColumn(each.name, each.type, f"c{number}") for number, each in enumerate(stream.columns)]
    if not columns or not rows:
        return
    body = Body(0, 0, b"[" + b",".join(rows) + b"]")
    try:
        typed = session.select(sql_text(source_select(BATCH, columns)), batch_table([body]))
    except RowsError:
        # The run of the transform says which row it is.
        return
    typed.sort(key=lambda values: values[-1])
    for number, column in enumerate(columns):
        sent = [row.get(column.name) for row in objects]
        lost = [
            place
            for place, values in enumerate(typed)
            if values[number] is None and sent[place] is not None and sent[place] != ""
        ]
        if lost:
            value = shown(msgspec.json.encode(sent[lost[0]]).decode())
            message = f"{_rows(lost)} {column.name} = {value}, which is no {column.type.value}: it is null."
            yield Problem("ValueNotRead", message, column.name)


def _rows(places: Sequence[int]) -> str:
    if len(places) == 1:
        return f"Row {places[0] + 1} has"
    return f"{len(places)} rows (the first is row {places[0] + 1}) have"
