"""Sketches: few distinct values and small distributions are kept exactly, more of them in bounded space."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable

from headrace.kql.sql.udf.dates import moment_text, timespan_text
from headrace.kql.sql.udf.values import Json, as_float, as_int, dump, parse, parse_array

_BITS = {0: 12, 1: 14, 2: 16, 3: 17, 4: 18}
_EXACT = 2048
_CENTROIDS = 2048


def _hll(hashes: str | None, accuracy: str | None) -> str | None:
    if hashes == "[]":
        return None
    bits = _BITS.get(as_int(accuracy) or 1, 14)
    found = sorted({int(item) for item in parse_array(hashes) or [] if item is not None})
    return dump(_sketch(bits, found))


def _sketch(bits: int, hashes: list[int]) -> list[Json]:
    if len(hashes) <= _EXACT:
        return ["hll", bits, hashes]
    registers = bytearray(1 << bits)
    for item in hashes:
        _note(registers, bits, item)
    return ["hll", bits, base64.b64encode(registers).decode("ascii")]


def _note(registers: bytearray, bits: int, item: int) -> None:
    place, rest = item >> (64 - bits), item & ((1 << (64 - bits)) - 1)
    registers[place] = max(registers[place], 64 - bits - rest.bit_length() + 1)


def _registers(content: Json, bits: int) -> bytearray:
    if isinstance(content, str):
        return bytearray(base64.b64decode(content))
    registers = bytearray(1 << bits)
    for item in content:
        _note(registers, bits, int(item))
    return registers


def _read_hll(value: Json) -> tuple[int, Json] | None:
    if isinstance(value, list) and len(value) == 3 and value[0] == "hll" and value[1] in _BITS.values():
        return int(value[1]), value[2]
    return None


def _hll_merge(sketches: str | None) -> str | None:
    found = [sketch for sketch in map(_read_hll, parse_array(sketches) or []) if sketch is not None]
    if not found:
        return None
    bits = min(sketch[0] for sketch in found)
    if all(isinstance(content, list) for _, content in found):
        return dump(_sketch(bits, sorted({int(item) for _, content in found for item in content})))
    merged = bytearray(1 << bits)
    for own, content in found:
        if own != bits and isinstance(content, str):
            return None
        for place, value in enumerate(_registers(content, bits)):
            merged[place] = max(merged[place], value)
    return dump(["hll", bits, base64.b64encode(merged).decode("ascii")])


def _dcount_hll(sketch: str | None) -> str | None:
    found = _read_hll(parse(sketch))
    if found is None:
        return None
    bits, content = found
    if isinstance(content, list):
        return str(len(content))
    registers = _registers(content, bits)
    size = 1 << bits
    estimate = 0.7213 / (1 + 1.079 / size) * size * size / math.fsum(2.0**-value for value in registers)
    zeros = registers.count(0)
    if estimate <= 2.5 * size and zeros:
        estimate = size * math.log(size / zeros)
    return str(round(estimate))


def _tdigest(kind: str | None, pairs: str | None) -> str | None:
    centroids = [
        (float(value), float(weight)) if kind in ("real", "decimal") else (value, weight)
        for value, weight in parse_array(pairs) or []
        if weight > 0
    ]
    if not centroids:
        return None
    return dump(["tdigest", kind, _gathered(centroids)])


def _gathered(centroids: Iterable[tuple[float, float]]) -> list[list[float]]:
    """Equal values joined, then neighbours until there are few enough; the ends stay fine."""
    ordered = sorted(centroids)
    joined: list[list[float]] = []
    for value, weight in ordered:
        if joined and joined[-1][0] == value:
            joined[-1][1] += weight
        else:
            joined.append([value, weight])
    if len(joined) <= _CENTROIDS:
        return joined
    total = math.fsum(weight for _, weight in joined)
    made: list[list[float]] = []
    before = 0.0
    for value, weight in joined:
        share = (before + weight / 2) / total
        limit = 4 * total * share * (1 - share) / _CENTROIDS * 2
        if made and made[-1][1] + weight <= limit:
            last = made[-1]
            last[0] += (value - last[0]) * weight / (last[1] + weight)
            last[1] += weight
        else:
            made.append([value, weight])
        before += weight
    return made


def _read_digest(value: Json) -> tuple[str, list[list[float]]] | None:
    if isinstance(value, list) and len(value) == 3 and value[0] == "tdigest" and isinstance(value[2], list):
        return str(value[1]), value[2]
    return None


def _tdigest_merge(sketches: str | None) -> str | None:
    found = [sketch for sketch in map(_read_digest, parse_array(sketches) or []) if sketch is not None]
    if not found:
        return None
    pairs = [(value, weight) for _, centroids in found for value, weight in centroids]
    return dump(["tdigest", found[0][0], _gathered(pairs)])


def _at(centroids: list[list[float]], percentage: float) -> float | None:
    total = math.fsum(weight for _, weight in centroids)
    reached = 0.0
    for value, weight in centroids:
        reached += weight
        if reached >= total * percentage / 100:
            return value
    return centroids[-1][0] if centroids else None


def _shaped(kind: str, value: float | None) -> Json:
    if value is None or kind in ("real", "decimal"):
        return value
    if kind == "datetime":
        return moment_text(round(value))
    if kind == "timespan":
        return timespan_text(round(value))
    return round(value)


def _percentile(sketch: str | None, percentage: str | None) -> str | None:
    found, share = _read_digest(parse(sketch)), as_float(percentage)
    if found is None or share is None:
        return None
    return dump(_shaped(found[0], _at(found[1], share)))


def _percentiles(sketch: str | None, *percentages: str | None) -> str | None:
    found = _read_digest(parse(sketch))
    if found is None:
        return None
    shares: list[Json] = []
    for text in percentages:
        value = parse(text)
        shares.extend(value if isinstance(value, list) else [value])
    return dump([_shaped(found[0], _at(found[1], float(share))) for share in shares])


def _rank_of(sketch: str | None, value: str | None) -> tuple[float, float] | None:
    found, wanted = _read_digest(parse(sketch)), as_float(value)
    if found is None or wanted is None:
        return None
    total = math.fsum(weight for _, weight in found[1])
    return math.fsum(weight for item, weight in found[1] if item <= wanted), total


def _rank(sketch: str | None, value: str | None) -> str | None:
    found = _rank_of(sketch, value)
    return None if found is None else repr(found[0])


def _percentrank(sketch: str | None, value: str | None) -> str | None:
    found = _rank_of(sketch, value)
    return None if found is None or not found[1] else repr(found[0] / found[1] * 100)


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "hll": _hll,
    "hll_merge": _hll_merge,
    "dcount_hll": _dcount_hll,
    "tdigest": _tdigest,
    "tdigest_merge": _tdigest_merge,
    "percentile_tdigest": _percentile,
    "percentiles_tdigest": _percentiles,
    "rank_tdigest": _rank,
    "percentrank_tdigest": _percentrank,
}
