"""api-version: any well-formed one is taken, a missing or malformed one is refused."""

from __future__ import annotations

import re

from headrace.wire.problems import http_error

_FORM = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(-preview|-alpha|-beta|-privatepreview)?", re.I
)


def is_well_formed(version: str) -> bool:
    """Whether the text has the form `YYYY-MM-DD` or `YYYY-MM-DD-preview`."""
    return _FORM.fullmatch(version) is not None


def require_arm_version(version: str | None) -> str:
    """The api-version of a management call. Raises `HttpError` 400 when it is missing or malformed."""
    if not version:
        raise http_error(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not is_well_formed(version):
        raise http_error(
            400,
            "InvalidApiVersionParameter",
            f"The api-version '{version[:40]}' is invalid: it has the form YYYY-MM-DD or YYYY-MM-DD-preview.",
        )
    return version.lower()
