"""Wire bytes of journal records to JSON text, within the bounds that the gateway recorded."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from isal import igzip_lib, isal_zlib

from headrace.journal.model import Record
from headrace.transform.run import Body

_GZIP = 31
"""zlib's window bits for a gzip header and trailer."""


class BodyError(Exception):
    """A payload that cannot be read; `reason` is the dead letter's code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def inflate(record: Record) -> Body:
    """The record's JSON text. Raises `BodyError` when it is not what the gateway accepted."""
    entry = record.entry
    if not entry.encoding:
        return _body(record, entry.body)
    if entry.encoding.lower() != "gzip":
        raise BodyError("UnknownEncoding", "The payload's Content-Encoding is not known.")
    at_hand = record.inflated()
    if at_hand is not None:
        return _body(record, at_hand)
    try:
        text = _gunzip(entry.body, entry.length)
    except (igzip_lib.IsalError, EOFError) as error:  # type: ignore[misc]  # stubs take it for a value
        raise BodyError("BrokenGzip", "The payload cannot be inflated.") from error
    if len(text) != entry.length:
        raise BodyError("WrongLength", "The payload does not have the length that was recorded for it.")
    return _body(record, text)


def _body(record: Record, text: bytes) -> Body:
    entry = record.entry
    return Body(record.offset, record.received, text, version=entry.rule_version, resource=entry.resource_id)


def _gunzip(data: bytes, length: int) -> bytes:
    """Inflate all members of a gzip stream to at most one byte more than `length`."""
    parts: list[bytes] = []
    room = length + 1
    while data and room > 0:
        stream = isal_zlib.decompressobj(wbits=_GZIP)
        part = stream.decompress(data, room)
        if not stream.eof and len(part) < room:
            raise EOFError
        parts.append(part)
        room -= len(part)
        data = stream.unused_data
        if data.startswith(b"\0"):
            data = data.lstrip(b"\0")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def members(body: Body) -> list[bytes]:
    """The JSON text of each member of the body's array. Raises `BodyError` when it is not an array."""
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body.text, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BodyError("MalformedJson", "The payload is not a JSON array.") from error


def without_rows(body: Body, rows: frozenset[int] | set[int]) -> Body:
    """The body with these members null: they give no row, and the others keep their places."""
    kept = [b"null" if place in rows else text for place, text in enumerate(members(body))]
    return replace(body, text=b"[" + b",".join(kept) + b"]")


def only_rows(body: Body, texts: list[bytes], first: int, last: int) -> Body:
    """The body with only the members from `first` to before `last` (`texts`: all members)."""
    kept = [text if first <= place < last else b"null" for place, text in enumerate(texts)]
    return replace(body, text=b"[" + b",".join(kept) + b"]")


def objects_only(body: Body) -> Body:
    """The body with every member that is not an object null; a body that is no array has no members."""
    texts = members(body) if body.text.lstrip().startswith(b"[") else []
    if texts and all(text.startswith(b"{") for text in texts):
        return body
    kept = [text if text.startswith(b"{") else b"null" for text in texts]
    return replace(body, text=b"[" + b",".join(kept) + b"]")
