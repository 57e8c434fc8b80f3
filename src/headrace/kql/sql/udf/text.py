"""String functions that the engine has no words for."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import re2

from headrace.kql.sql.udf.values import (
    Json,
    as_bool,
    as_float,
    as_int,
    dump,
    parse,
    parse_array,
    text_of,
)

_MOST_MATCHES = 100_000
_PATTERN_BYTES = 4 << 20


@functools.lru_cache(maxsize=32)
def compiled(pattern: str) -> Any | None:
    """A pattern ready to search, in time linear in the text; None if it is none."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError):
        return None


def _matches(expression: Any, source: str, *window: int) -> Iterator[Any]:
    """The matches in order; an empty one at the end of a text that is not ASCII comes only once."""
    last: tuple[int, int] | None = None
    for match in expression.finditer(source, *window):
        if match.span() != last:
            last = match.span()
            yield match


def term(source: str | None, search: str | None, sides: str | None) -> str | None:
    """Whether the text holds the search with borders on the sides marked by `1` (before, after)."""
    if source is None or search is None or sides is None:
        return None
    return as_bool(_holds(source, search, sides[0] == "1", sides[1] == "1"))


def _holds(source: str, search: str, before: bool = True, after: bool = True) -> bool:
    if not search:
        return True
    before = before and search[0].isalnum()
    after = after and search[-1].isalnum()
    place = source.find(search)
    while place >= 0:
        end = place + len(search)
        left = not before or place == 0 or not source[place - 1].isalnum()
        right = not after or end == len(source) or not source[end].isalnum()
        if left and right:
            return True
        place = source.find(search, place + 1)
    return False


def _terms(terms: str | None) -> list[str]:
    value = parse(terms)
    items = value if isinstance(value, list) else [value]
    return [text_of(item).lower() for item in items if item is not None]


def _has_any(source: str | None, terms: str | None) -> str | None:
    lowered = (source or "").lower()
    return as_bool(any(_holds(lowered, item) for item in _terms(terms)))


def _has_all(source: str | None, terms: str | None) -> str | None:
    lowered = (source or "").lower()
    return as_bool(all(_holds(lowered, item) for item in _terms(terms)))


def _has_any_index(source: str | None, terms: str | None) -> str | None:
    lowered = (source or "").lower()
    for index, item in enumerate(_terms(terms)):
        if _holds(lowered, item):
            return str(index)
    return "-1"


def _window(source: str, start: str | None, length: str | None) -> tuple[int, int] | None:
    """The part to search in, None if it lies outside the text."""
    first = as_int(start) or 0
    size = as_int(length)
    size = -1 if size is None else size
    if first < 0:
        first = max(len(source) + first, 0)
    if first > len(source) or size < -1:
        return None
    return first, len(source) if size == -1 else min(first + size, len(source))


def _indexof(
    source: str | None,
    search: str | None,
    start: str | None = None,
    length: str | None = None,
    occurrence: str | None = None,
) -> str | None:
    if source is None or search is None:
        return None
    count = as_int(occurrence) or 1
    if count < 1 or (as_int(length) or 0) < -1:
        return None
    window = _window(source, start, length)
    if window is None:
        return "-1"
    first, size = window[0], window[1] - window[0]
    for _ in range(count):
        # The length counts anew after each occurrence.
        place = source.find(search, first, first + size if as_int(length) not in (None, -1) else None)
        if place < 0:
            return "-1"
        first = place + 1
    return str(place)


def _indexof_regex(
    source: str | None,
    pattern: str | None,
    start: str | None = None,
    length: str | None = None,
    occurrence: str | None = None,
) -> str | None:
    expression = compiled(pattern or "")
    if source is None or expression is None:
        return None
    count = as_int(occurrence) or 1
    if (as_int(start) or 0) < 0 or (as_int(length) or 0) < -1 or count < 1:
        return None
    window = _window(source, start, length)
    if window is None:
        return "-1"
    for number, match in enumerate(_matches(expression, source, *window), 1):
        if number == count:
            return str(match.start())
    return "-1"


def _countof(source: str | None, search: str | None) -> str | None:
    if not source or not search:
        return "0"
    count, place = 0, source.find(search)
    while place >= 0:
        count += 1
        place = source.find(search, place + 1)
    return str(count)


def _extract(pattern: str | None, group: str | None, source: str | None) -> str | None:
    expression, place = compiled(pattern or ""), as_int(group)
    if expression is None or place is None or not 0 <= place <= expression.groups:
        return None
    match = expression.search(source or "")
    return match[place] if match is not None else None


def _extract_all(pattern: str | None, groups: str | None, source: str | None) -> str | None:
    expression = compiled(pattern or "")
    if expression is None or source is None:
        return None
    asked = parse_array(groups)
    wanted: list[int | str] = list(range(1, expression.groups + 1)) or [0]
    if asked is not None:
        wanted = [
            item
            for item in asked
            if (isinstance(item, int) and 0 <= item <= expression.groups)
            or (isinstance(item, str) and item in expression.groupindex)
        ]
    found: list[Any] = []
    for match in _matches(expression, source):
        values = [match[item] or "" for item in wanted]
        found.append(values[0] if len(values) == 1 else values)
        if len(found) >= _MOST_MATCHES:
            break
    return dump(found) if found else None


_STEP = re.compile(r"\.([^.\[\]]+)|\[(-?\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


def path_steps(path: str) -> list[str | int] | None:
    """The steps of a path such as `$.a['b c'][0]`, None if it is none."""
    if not path.startswith("$"):
        return None
    steps: list[str | int] = []
    place = 1
    while place < len(path):
        match = _STEP.match(path, place)
        if match is None:
            return None
        steps.append(
            int(match[2])
            if match[2] is not None
            else next(item for item in match.groups() if item is not None)
        )
        place = match.end()
    return steps


def step_into(value: Json, step: str | int) -> tuple[bool, Json]:
    """Whether the value has that member, and the member (None without one)."""
    if isinstance(step, str):
        return (True, value[step]) if isinstance(value, dict) and step in value else (False, None)
    if isinstance(value, list) and -len(value) <= step < len(value):
        return True, value[step]
    return False, None


def _extract_json(path: str | None, source: str | None) -> str | None:
    steps, value = path_steps(path or ""), parse(source)
    if steps is None:
        return None
    for step in steps:
        found, value = step_into(value, step)
        if not found:
            return None
    return dump(value)


def _replace_strings(source: str | None, searches: str | None, rewrites: str | None) -> str | None:
    """One search after the other, each in what those before it left; what is no text replaces nothing."""
    lookup, rewrite = parse_array(searches), parse_array(rewrites)
    if source is None or lookup is None or rewrite is None or len(lookup) != len(rewrite):
        return source
    left: list[str] = [source]  # texts still to be searched, at even places, between what was put in
    for search, replacement in zip(lookup, rewrite, strict=True):
        if not isinstance(search, str) or not search:
            continue
        partner = replacement if isinstance(replacement, str) else search
        made: list[str] = []
        for place, piece in enumerate(left):
            if place % 2:
                made.append(piece)
                continue
            for number, part in enumerate(piece.split(search)):
                made.extend([partner, part] if number else [part])
        left = made
    return "".join(left)


def _strcat_array(array: str | None, delimiter: str | None) -> str | None:
    listed = parse_array(array)
    return None if listed is None else (delimiter or "").join(text_of(item) for item in listed)


def _translate(search: str | None, replacement: str | None, source: str | None) -> str | None:
    if not search or source is None:
        return source
    table: dict[int, str] = {}
    for index, character in enumerate(search):
        partner = replacement[min(index, len(replacement) - 1)] if replacement else ""
        table.setdefault(ord(character), partner)
    return source.translate(table)


def _regex_quote(source: str | None) -> str | None:
    return re.sub(r"[\\.^$|?*+()\[\]{}]", lambda match: "\\" + match[0], source or "")


def _codepoints_from(source: str | None) -> str | None:
    return dump([ord(character) for character in source or ""])


def _codepoints_to(*values: str | None) -> str | None:
    made: list[str] = []
    for value in values:
        parsed = parse(value)
        for item in parsed if isinstance(parsed, list) else [parsed]:
            if isinstance(item, int) and 0 <= item < 0x110000 and not 0xD800 <= item < 0xE000:
                made.append(chr(item))
    return "".join(made)


def _puny(coded: Callable[[str], str], source: str | None) -> str | None:
    try:
        return coded(source or "")
    except (UnicodeError, ValueError):
        return ""


def _encode_label(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


def _decode_label(label: str) -> str:
    if label.lower().startswith("xn--"):
        return label[4:].encode("ascii").decode("punycode")
    return label


_DOTS = re.compile("[.\u3002\uff0e\uff61]")


def _by_labels(coded: Callable[[str], str]) -> Callable[[str], str]:
    return lambda name: ".".join(coded(label) for label in _DOTS.split(name))


_UNITS = ("Bytes", "KB", "MB", "GB", "TB", "PB", "EB")


def _format_bytes(size: str | None, precision: str | None = None, unit: str | None = None) -> str | None:
    value = as_float(size)
    if value is None:
        return None
    names = [name.lower() for name in _UNITS]
    wanted = (unit or "").lower()
    power = names.index(wanted) if wanted in names else 0
    if not wanted:
        while abs(value) / 1024**power >= 1024 and power < len(_UNITS) - 1:
            power += 1
    digits = min(max(as_int(precision) or 0, 0), 15)
    scaled = f"{value / 1024**power:.{digits}f}"
    if "." in scaled:
        scaled = scaled.rstrip("0").rstrip(".")
    return f"{scaled} {_UNITS[power]}"


def _parse_csv(source: str | None) -> str | None:
    if source is None:
        return None
    try:
        row = next(csv.reader(io.StringIO(source.split("\n", 1)[0] if '"' not in source else source)), [])
    except csv.Error:
        return None
    return dump(row)


def _parse_command_line(source: str | None, parser: str | None) -> str | None:
    """Windows' rules: quotes group, backslashes before a quote escape."""
    if source is None or (parser or "").lower() != "windows":
        return None
    if not source.strip():
        return None
    arguments: list[str] = []
    current, inside, started, backslashes = "", False, False, 0
    for character in source:
        if character == "\\":
            backslashes += 1
            continue
        if character == '"':
            current += "\\" * (backslashes // 2)
            if backslashes % 2:
                current += '"'
            else:
                inside = not inside
            started, backslashes = True, 0
            continue
        current += "\\" * backslashes
        started = started or backslashes > 0
        backslashes = 0
        if character in " \t" and not inside:
            if started:
                arguments.append(current)
            current, started = "", False
        else:
            current += character
            started = True
    current += "\\" * backslashes
    if started or current:
        arguments.append(current)
    return dump(arguments)


def _parse_path(path: str | None) -> str | None:
    if path is None:
        return None
    scheme, rest = "", path
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    if match is not None:
        scheme, rest = match[1], path[match.end() :]
    stream = ""
    rest = rest.lstrip("/") if re.match(r"/[A-Za-z]:", rest) else rest
    root = re.match(r"[A-Za-z]:", rest)
    tail = rest[root.end() :] if root is not None else rest
    if root is not None and ":" in tail:
        tail, _, stream = tail.partition(":")
        rest = rest[: root.end()] + tail
    cut = max(rest.rfind("/"), rest.rfind("\\"))
    directory, name = rest[:cut], rest[cut + 1 :]
    extension = name.rpartition(".")[2] if "." in name else ""
    return dump(
        {
            "Scheme": scheme,
            "RootPath": root[0] if root is not None else "",
            "DirectoryPath": directory if cut >= 0 else "",
            "DirectoryName": re.split(r"[\\/]", directory)[-1] if cut >= 0 else "",
            "Filename": name,
            "Extension": extension,
            "AlternateDataStreamName": stream,
        }
    )


def _first_bytes(text: str | None, most: str | None) -> str | None:
    """As much of a text's beginning as fits into so many bytes of UTF-8."""
    if text is None or most is None:
        return None
    return text.encode()[: int(most)].decode(errors="ignore")


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "term": term,
    "has_any": _has_any,
    "has_all": _has_all,
    "has_any_index": _has_any_index,
    "indexof": _indexof,
    "indexof_regex": _indexof_regex,
    "countof": _countof,
    "extract": _extract,
    "extract_all": _extract_all,
    "extract_json": _extract_json,
    "replace_strings": _replace_strings,
    "strcat_array": _strcat_array,
    "translate": _translate,
    "regex_quote": _regex_quote,
    "unicode_codepoints_from_string": _codepoints_from,
    "unicode_codepoints_to_string": _codepoints_to,
    "punycode_from_string": functools.partial(_puny, lambda text: text.encode("punycode").decode("ascii")),
    "punycode_to_string": functools.partial(_puny, lambda text: text.encode("ascii").decode("punycode")),
    "punycode_domain_from_string": functools.partial(_puny, _by_labels(_decode_label)),
    "punycode_domain_to_string": functools.partial(_puny, _by_labels(_encode_label)),
    "first_bytes": _first_bytes,
    "format_bytes": _format_bytes,
    "parse_csv": _parse_csv,
    "parse_command_line": _parse_command_line,
    "parse_path": _parse_path,
}
