"""New identifiers, in the forms that Azure gives them."""

from __future__ import annotations

import uuid


def new_guid() -> str:
    """A random GUID, lower-case with dashes."""
    return str(uuid.uuid4())


def new_immutable_id(prefix: str) -> str:
    """`dcr-` or `dce-` and 32 lower-case hex digits, as Azure makes them."""
    return f"{prefix}-{uuid.uuid4().hex}"


def guid_of(text: str) -> str | None:
    """A GUID in any of its usual spellings, lower-case with dashes; None for any other text."""
    try:
        return str(uuid.UUID(text)) if len(text) in (32, 36) else None
    except ValueError:
        return None
