"""SharedKey signatures of the Data Collector API: HMAC-SHA256 by either of a workspace's keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

_HEADER = re.compile(r"SharedKey\s+([0-9A-Fa-f-]{36}):([A-Za-z0-9+/=]{1,128})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Signature:
    """What an `Authorization: SharedKey` header says: a customerId in lower case, and the HMAC."""

    workspace: str
    value: bytes


def read_signature(header: str) -> Signature | None:
    """The signature in a header, or None when it holds none."""
    found = _HEADER.fullmatch(header.strip())
    if found is None:
        return None
    try:
        return Signature(found[1].lower(), base64.b64decode(found[2], validate=True))
    except binascii.Error:
        return None


def sign(key: str, length: int, content_type: str, date: str) -> bytes:
    """The HMAC of a post with a body of `length` bytes. `key` is base64.

    Source: Azure Monitor, 'HTTP Data Collector API', authorization.
    """
    text = f"POST\n{length}\n{content_type}\nx-ms-date:{date}\n/api/logs"
    return hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()


def is_signed(signature: Signature, keys: Iterable[str], length: int, content_type: str, date: str) -> bool:
    """Whether one of `keys` made the signature; each takes the same time to compare."""
    expected = [sign(key, length, content_type, date) for key in keys]
    return sum(hmac.compare_digest(value, signature.value) for value in expected) > 0
