"""CEF, XML, hashes, encodings, URLs, versions."""

from __future__ import annotations

import base64
import re
import uuid
import zlib
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus, urlsplit

from headrace.kql.sql.udf.values import Json, as_int, dump, parse_array
from headrace.kql.sql.udf.xmltree import Element, read_xml
from headrace.kql.sql.udf.xxhash import xxh64

_MOST_INFLATED = 16 * 1024 * 1024

_CEF_HEADER = (
    "Version",
    "DeviceVendor",
    "DeviceProduct",
    "DeviceVersion",
    "DeviceEventClassID",
    "Name",
    "Severity",
)
_CEF_KEY = re.compile(r"(?:^|\s)([A-Za-z0-9_][\w.\-\[\]]{0,1022})=")


def _cef(text: str | None) -> str | None:
    """The header's fields by name, and `Extension` as an object of its keys."""
    start = (text or "").find("CEF:")
    if text is None or start < 0:
        return None
    fields, rest = _cef_header(text[start + 4 :])
    if len(fields) < len(_CEF_HEADER):
        return None
    made: dict[str, Json] = dict(zip(_CEF_HEADER, fields, strict=True))
    made["Extension"] = _cef_extension(rest)
    return dump(made)


def _cef_header(text: str) -> tuple[list[str], str]:
    fields: list[str] = []
    current: list[str] = []
    place = 0
    while place < len(text):
        character = text[place]
        if character == "\\" and text[place + 1 : place + 2] in ("|", "\\"):
            current.append(text[place + 1])
            place += 2
            continue
        place += 1
        if character == "|":
            fields.append("".join(current))
            current = []
            if len(fields) == len(_CEF_HEADER):
                return fields, text[place:]
        else:
            current.append(character)
    return [*fields, "".join(current)], ""


_CEF_ESCAPES = {"\\=": "=", "\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\|": "|"}


def _cef_extension(text: str) -> dict[str, str]:
    matches = list(_CEF_KEY.finditer(text))
    made: dict[str, str] = {}
    for index, match in enumerate(matches):
        end = matches[index + 1].start() if index + 1 < len(matches) else len(text)
        raw = text[match.end() : end].strip()
        made[match[1]] = re.sub(r"\\[=\\nr|]", lambda found: _CEF_ESCAPES[found[0]], raw)
    return made


def _parse_xml(text: str | None) -> str | None:
    """Elements become objects: attributes under `@name`, text under `#text`, repeated names arrays."""
    root = read_xml(text or "")
    return dump({root.name: _xml_value(root)}) if root is not None else None


def _xml_value(element: Element) -> Json:
    text = "".join(element.text).strip()
    if not element.attributes and not element.children:
        return text or None
    made: dict[str, Json] = {f"@{name}": value for name, value in element.attributes.items()}
    for child in element.children:
        value = _xml_value(child)
        if child.name not in made:
            made[child.name] = value
        elif isinstance(made[child.name], list):
            made[child.name].append(value)
        else:
            made[child.name] = [made[child.name], value]
    if text:
        made["#text"] = text
    return made


def _signed(number: int) -> int:
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number


def _hash(kind: str | None, value: str | None, mod: str | None = None) -> str | None:
    if value is None and kind != "string":
        return None
    number = _signed(xxh64(_bytes_of(kind or "", value or "")))
    divisor = as_int(mod)
    if mod is not None:
        return str(number % divisor) if divisor else None
    return str(number)


def _bytes_of(kind: str, value: str) -> bytes:
    """The bytes that stand for a value: text in UTF-8, numbers and times by their eight bytes."""
    if kind in ("long", "int", "datetime", "timespan"):
        number = int(value)
        if kind == "datetime":
            number += 621_355_968_000_000_000
        return number.to_bytes(8 if kind != "int" else 4, "little", signed=True)
    if kind == "bool":
        return b"\x01" if value.lower() == "true" else b"\x00"
    if kind == "guid":
        return uuid.UUID(value).bytes_le
    return value.encode("utf-8", "surrogatepass")


def _hash_combine(*values: str | None) -> str | None:
    made = 0
    for value in values:
        number = (as_int(value) or 0) & (2**64 - 1)
        made ^= (number + 0x9E37_79B9_7F4A_7C15 + (made << 6) + (made >> 2)) & (2**64 - 1)
        made &= 2**64 - 1
    return str(_signed(made))


def _decoded(text: str | None) -> bytes | None:
    try:
        return base64.b64decode(text or "", validate=True)
    except ValueError:
        return None


def _to_array(text: str | None) -> str | None:
    content = _decoded(text)
    return None if content is None else dump(list(content))


def _from_array(array: str | None) -> str | None:
    items = parse_array(array)
    if items is None or not all(isinstance(item, int) and 0 <= item < 256 for item in items):
        return ""
    return base64.b64encode(bytes(items)).decode("ascii")


def _to_guid(text: str | None) -> str | None:
    content = _decoded(text)
    return str(uuid.UUID(bytes_le=content)) if content is not None and len(content) == 16 else None


def _from_guid(text: str | None) -> str | None:
    return "" if text is None else base64.b64encode(uuid.UUID(text).bytes_le).decode("ascii")


def _inflated(text: str | None, bits: int) -> str | None:
    content = _decoded(text)
    if not content:
        return ""
    inflater = zlib.decompressobj(bits)
    try:
        made = inflater.decompress(content, _MOST_INFLATED)
        return made.decode("utf-8")
    except (zlib.error, UnicodeDecodeError):
        return ""


def _gunzip(text: str | None) -> str | None:
    return _inflated(text, zlib.MAX_WBITS | 16)


def _unzlib(text: str | None) -> str | None:
    return _inflated(text, zlib.MAX_WBITS)


_SHORT = 64


def _level(content: bytes) -> int:
    """A short text is stored as it is: compressing it gains nothing."""
    return 0 if len(content) < _SHORT else 6


def _gzip(text: str | None) -> str | None:
    content = (text or "").encode()
    deflater = zlib.compressobj(_level(content), zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflater.compress(content) + deflater.flush()
    # No time, no file name, no word of the system it was made on.
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    tail = zlib.crc32(content).to_bytes(4, "little") + (len(content) & 0xFFFF_FFFF).to_bytes(4, "little")
    return base64.b64encode(head + body + tail).decode("ascii")


def _zlib(text: str | None) -> str | None:
    content = (text or "").encode()
    return base64.b64encode(zlib.compress(content, _level(content))).decode("ascii")


def _small(encoded: str) -> str:
    """Hexadecimal digits in lower case."""
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)


def _url_encode(text: str | None) -> str | None:
    return _small(quote_plus(text or "", safe="-_.!*()"))


def _url_encode_component(text: str | None) -> str | None:
    return _small(quote(text or "", safe="-_.~"))


def _url_decode(text: str | None) -> str | None:
    return unquote_plus(text or "")


def _query_of(query: str) -> dict[str, str]:
    made: dict[str, str] = {}
    for key, value in parse_qsl(query.lstrip("?"), keep_blank_values=True, max_num_fields=10_000):
        made.setdefault(key, value)
    return made


def _parse_url(text: str | None) -> str | None:
    try:
        parts = urlsplit((text or "").strip())
        port = "" if parts.port is None else str(parts.port)
    except ValueError:
        return None
    return dump(
        {
            "Scheme": parts.scheme,
            "Host": (
                parts.netloc.rpartition("@")[2].rsplit(":", 1)[0] if port else parts.netloc.rpartition("@")[2]
            ),
            "Port": port,
            "Path": parts.path,
            "Username": parts.username or "",
            "Password": parts.password or "",
            "Query Parameters": _query_of(parts.query),
            "Fragment": parts.fragment,
        }
    )


def _parse_urlquery(text: str | None) -> str | None:
    return dump({"Query Parameters": _query_of(text or "")})


def _parse_version(text: str | None) -> str | None:
    """Up to four parts; each takes eight digits of the number, the first counts most."""
    parts = (text or "").strip().split(".")
    if not 1 <= len(parts) <= 4 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    if any(len(part) > 8 for part in parts):
        return None
    made = 0
    for part in [*parts, *["0"] * (4 - len(parts))]:
        made = made * 100_000_000 + int(part)
    return str(made)


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "parse_cef_dictionary": _cef,
    "parse_xml": _parse_xml,
    "hash": _hash,
    "hash_combine": _hash_combine,
    "base64_decode_toarray": _to_array,
    "base64_encode_fromarray": _from_array,
    "base64_decode_toguid": _to_guid,
    "base64_encode_fromguid": _from_guid,
    "gzip_decompress_from_base64_string": _gunzip,
    "zlib_decompress_from_base64_string": _unzlib,
    "gzip_compress_to_base64_string": _gzip,
    "zlib_compress_to_base64_string": _zlib,
    "url_encode": _url_encode,
    "url_encode_component": _url_encode_component,
    "url_decode": _url_decode,
    "parse_url": _parse_url,
    "parse_urlquery": _parse_urlquery,
    "parse_version": _parse_version,
}
