"""The bodies of management calls: strict JSON with an object on top, of a bounded depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.wire.problems import HttpError, http_error

MAX_DEPTH = 64


def parse_object(body: bytes) -> dict[str, Any]:
    """Strict JSON with an object on top, nested at most 64 deep; an empty body is `{}`. Raises `HttpError` 400."""
    if not body.strip():
        return {}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        place = str(error) if isinstance(error, msgspec.DecodeError) else "it has text that is not Unicode"
        raise http_error(
            400,
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: {place[:200]}.",
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise http_error(
            400, "InvalidRequestContent", "The request content was invalid: it is not a JSON object."
        )
    _check_depth(value)
    return value


def _check_depth(value: Mapping[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            below.extend(item.values() if isinstance(item, dict) else item)
        level = [item for item in below if isinstance(item, (dict, list))]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> HttpError:
    return http_error(
        400, "InvalidRequestContent", f"The request content is nested more than {MAX_DEPTH} deep."
    )
