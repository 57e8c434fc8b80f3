"""Functions whose result follows from their arguments alone: the same as Azure's."""

from __future__ import annotations

import uuid
from typing import Any

from headrace.arm.templates.evaluate import Evaluator, Function
from headrace.arm.templates.values import need_text

_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_WORD = 0xFFFFFFFF
_FIRST, _SECOND = 0x239B961B, 0xAB0E9789


def guid(_run: Evaluator, arguments: list[Any]) -> str:
    """The documented one: UUID version 5 of the arguments joined by dashes."""
    return str(uuid.uuid5(_NAMESPACE, "-".join(need_text("guid", item) for item in arguments)))


def unique_string(run: Evaluator, arguments: list[Any]) -> str:
    """Thirteen letters and digits: a 64-bit Murmur hash of the arguments joined by dashes, in base 32."""
    content = "-".join(need_text("uniqueString", item) for item in arguments).encode()
    run.budget.look(len(content) // 4)
    number = murmur64(content)
    return "".join(_LETTERS[number << 5 * place >> 59 & 31] for place in range(13))


def murmur64(data: bytes) -> int:
    """The 64-bit hash of two 32-bit halves that `uniqueString` is made of."""
    first = second = 0
    whole = len(data) // 8 * 8
    for start in range(0, whole, 8):
        first = _rotated(first ^ _mixed(data[start : start + 4], _FIRST, 15, _SECOND), 19) + second
        first = first * 5 + 0x561CCD1B & _WORD
        second = _rotated(second ^ _mixed(data[start + 4 : start + 8], _SECOND, 17, _FIRST), 13) + first
        second = second * 5 + 0x0BCAA747 & _WORD
    first ^= _mixed(data[whole : whole + 4], _FIRST, 15, _SECOND)
    second ^= _mixed(data[whole + 4 :], _SECOND, 17, _FIRST)
    first, second = first ^ len(data), second ^ len(data)
    first = first + second & _WORD
    second = second + first & _WORD
    first, second = _finished(first), _finished(second)
    first = first + second & _WORD
    second = second + first & _WORD
    return second << 32 | first


def _mixed(piece: bytes, before: int, turn: int, after: int) -> int:
    word = int.from_bytes(piece, "little")
    return _rotated(word * before & _WORD, turn) * after & _WORD


def _rotated(word: int, turn: int) -> int:
    return (word << turn | word >> 32 - turn) & _WORD


def _finished(word: int) -> int:
    word = (word ^ word >> 16) * 0x85EBCA6B & _WORD
    word = (word ^ word >> 13) * 0xC2B2AE35 & _WORD
    return word ^ word >> 16


FUNCTIONS = (
    Function("guid", 1, None, guid),
    Function("uniqueString", 1, None, unique_string),
)
