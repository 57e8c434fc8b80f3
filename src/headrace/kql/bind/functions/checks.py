"""What a constant argument must hold beyond its type: one of some words, a number in a range, a format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType

from headrace.kql.bind.functions.registry import Argument, Check, Mismatch, Value

FORMATS: Mapping[str, Sequence[int]] = MappingProxyType(
    {
        "d": (1, 2),
        "f": range(1, 8),
        "F": range(1, 8),
        "h": (1, 2),
        "H": (1, 2),
        "m": (1, 2),
        "M": (1, 2),
        "s": (1, 2),
        "y": (1, 2, 4),
        "t": (2,),
        "T": (1,),
        "Z": (1,),
    }
)
"""How often each letter of a datetime's format may stand in a row. `T` and `Z` stand for themselves, as in ISO 8601."""
SPAN_FORMATS: Mapping[str, Sequence[int]] = MappingProxyType(
    {
        "d": range(1, 9),
        "f": range(1, 8),
        "F": range(1, 8),
        "h": (1, 2),
        "H": (1, 2),
        "m": (1, 2),
        "s": (1, 2),
    }
)


def _constant(arguments: Sequence[Argument], place: int) -> Value:
    constant = arguments[place].constant if place < len(arguments) else None
    return constant.value if constant is not None else None


def one_of(place: int, what: str, words: Sequence[str]) -> Check:
    """The text of an argument, in any case, is one of `words`."""

    def check(arguments: Sequence[Argument]) -> None:
        word = _constant(arguments, place)
        if not isinstance(word, str) or word.lower() in words:
            return
        close = get_close_matches(word.lower(), words, 1, 0.6)
        listed = ", ".join(f"`{known}`" for known in words)
        cure = f"Did you mean `{close[0]}`?" if close else f"There are {listed}."
        raise Mismatch(f"knows no {what} `{word}`", place, cure)

    return check


def between(place: int, what: str, low: int, high: int) -> Check:
    """The number of an argument lies in a range, both ends included."""

    def check(arguments: Sequence[Argument]) -> None:
        number = _constant(arguments, place)
        if isinstance(number, int) and not low <= number <= high:
            raise Mismatch(f"takes {low} to {high} as `{what}`, not {number}", place)

    return check


def format_of(place: int, letters: Mapping[str, Sequence[int]]) -> Check:
    """The letters of a format are those that exist; all other characters stand for themselves."""

    def check(arguments: Sequence[Argument]) -> None:
        text = _constant(arguments, place)
        if not isinstance(text, str):
            return
        for run in re.finditer(r"([A-Za-z])\1*", text):
            if len(run[0]) not in letters.get(run[1], ()):
                known = ", ".join(
                    f"`{letter * times}`" for letter, counts in letters.items() for times in (max(counts),)
                )
                message = f"cannot format as `{run[0]}`"
                raise Mismatch(message, place, f"The longest of each kind are {known}.")

    return check
