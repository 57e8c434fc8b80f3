"""Request targets: paths and query strings as clients really send them."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def path_segments(raw_path: bytes) -> tuple[str, ...]:
    """The percent-decoded segments of a path; empty ones (`//`, a trailing slash) are left out.

    Decoding comes after splitting, so `%2F` stays inside its segment. Bytes that are not UTF-8 become U+FFFD.
    """
    return tuple(decode(segment) for segment in raw_path.split(b"/") if segment)


def query_value(query: bytes, name: str) -> str | None:
    """The value of the first parameter called `name`, in any case and however its key is percent-encoded.

    None when there is no such parameter. `name` is lower-case.
    """
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if decode(key, plus=True).lower() == name:
            return decode(value, plus=True)
    return None


def decode(text: bytes, *, plus: bool = False) -> str:
    """Percent-decoded text; with `plus`, `+` is a blank as in query strings."""
    if plus and b"+" in text:
        text = text.replace(b"+", b" ")
    if b"%" in text:
        text = unquote_to_bytes(text)
    return text.decode("utf-8", "replace")
