"""Correlation ids: one made for every request, and the client's own."""

from __future__ import annotations

import os
import re

REQUEST_ID = b"x-ms-request-id"
CLIENT_REQUEST_ID = b"x-ms-client-request-id"
RETURN_CLIENT_REQUEST_ID = b"x-ms-return-client-request-id"

_BARE_GUID = re.compile(r"[0-9A-Fa-f]{32}")
_TOKEN = re.compile(r"[!-~]{1,128}")


def new_request_id() -> str:
    """A random GUID of version 4, lower-case with dashes."""
    digits = bytearray(os.urandom(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    return dashed(digits.hex())


def dashed(digits: str) -> str:
    """32 hex digits in the dashed form of a GUID."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def client_request_id(header: bytes | None) -> str:
    """The client's id as it is kept and given back; empty when there is none that is fit to keep.

    A GUID of 32 bare digits is given its dashes, as Azure does. Visible ASCII of at most 128 characters is
    kept as it came, anything else is left out.
    """
    if not header:
        return ""
    text = header.decode("latin-1").strip()
    if len(text) == 32 and _BARE_GUID.fullmatch(text):
        return dashed(text.lower())
    return text if _TOKEN.fullmatch(text) else ""


def wants_client_request_id(header: bytes | None) -> bool:
    """Whether `x-ms-return-client-request-id` asks for the client's id in the answer."""
    return header is not None and header.strip().lower() == b"true"
