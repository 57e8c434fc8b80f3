"""xxHash64, as its published specification describes it."""

from __future__ import annotations

_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_M = 2**64 - 1


def _rotate(value: int, count: int) -> int:
    return ((value << count) | (value >> (64 - count))) & _M


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _M, 31) * _P1 & _M


def xxh64(content: bytes, seed: int = 0) -> int:
    """The unsigned 64-bit hash of bytes."""
    size, place = len(content), 0
    if size >= 32:
        lanes = [(seed + _P1 + _P2) & _M, (seed + _P2) & _M, seed, (seed - _P1) & _M]
        while place <= size - 32:
            for index in range(4):
                word = int.from_bytes(content[place : place + 8], "little")
                lanes[index] = _round(lanes[index], word)
                place += 8
        made = sum(_rotate(lane, count) for lane, count in zip(lanes, (1, 7, 12, 18), strict=True)) & _M
        for lane in lanes:
            made = ((made ^ _round(0, lane)) * _P1 + _P4) & _M
    else:
        made = (seed + _P5) & _M
    made = (made + size) & _M
    while place <= size - 8:
        word = int.from_bytes(content[place : place + 8], "little")
        made = (_rotate(made ^ _round(0, word), 27) * _P1 + _P4) & _M
        place += 8
    if place <= size - 4:
        word = int.from_bytes(content[place : place + 4], "little")
        made = (_rotate(made ^ (word * _P1 & _M), 23) * _P2 + _P3) & _M
        place += 4
    for byte in content[place:]:
        made = _rotate(made ^ (byte * _P5 & _M), 11) * _P1 & _M
    made = (made ^ (made >> 33)) * _P2 & _M
    made = (made ^ (made >> 29)) * _P3 & _M
    return made ^ (made >> 32)
