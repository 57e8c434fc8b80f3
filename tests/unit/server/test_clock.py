"""Times as text and back."""

from __future__ import annotations

import pytest

from headrace.clock import FIRST, LAST, from_iso, iso


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (FIRST, "0001-01-01T00:00:00.000000Z"),
        (LAST, "9999-12-31T23:59:59.999999Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_a_moments_text_has_all_its_digits_and_is_read_again(moment: int, text: str) -> None:
    assert iso(moment) == text
    assert from_iso(text) == moment
