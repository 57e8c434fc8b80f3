"""Texts, rules, tables and sample rows read from files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.cli.positions import locate
from headrace.cli.sources import Source, SourceFormat, guess_format
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    from headrace.catalog.model import TableSchema

MAX_SAMPLES = 100_000
MAX_TEXT_BYTES = 8 * 1024 * 1024
RULE_TYPE = "microsoft.insights/datacollectionrules"


def read_text(path: str) -> str:
    """The text of a file, or of standard input for `-`. Raises `ProblemError`."""
    return _decoded(sys.stdin.buffer.read(MAX_TEXT_BYTES + 1) if path == "-" else _read(Path(path)), path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise ProblemError(Problem("FileUnreadable", f"{path}: {error.strerror}.")) from None


def _decoded(content: bytes, path: str) -> str:
    if len(content) > MAX_TEXT_BYTES:
        raise ProblemError(Problem("FileTooLarge", f"{path}: more than {MAX_TEXT_BYTES} bytes."))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProblemError(Problem("FileUnreadable", f"{path}: not UTF-8 text.")) from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for `-`. Raises `ProblemError`."""
    return _object(read_text(str(path)), path)


def _object(text: str, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ProblemError(Problem("NotJson", f"{path} is not JSON at {where}: {error.msg}.")) from None
    except RecursionError:
        raise ProblemError(Problem("NotJson", f"{path} is nested too deep.")) from None
    if not isinstance(document, dict):
        raise ProblemError(Problem("NotAnObject", f"{path} does not hold a JSON object."))
    return document


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A data collection rule with the file that it was read from.

    `document` is the ARM document of the rule; `text` is the whole file, and `root` is where the document stands in it:
    `resources[1].` in a template, nothing where the file is the document. A file of bare properties has `bare`.
    """

    path: Path
    text: str
    document: dict[str, Any]
    root: str = ""
    bare: bool = False

    def place(self, target: str) -> int:
        """The offset in `text` of what is called `target` in the document."""
        return locate(self.text, self.root + (target.removeprefix("properties.") if self.bare else target))


def read_rule(path: Path) -> dict[str, Any]:
    """A data collection rule's ARM document. See `read_rule_file`. Raises `ProblemError`."""
    return read_rule_file(path).document


def read_rule_file(path: Path) -> RuleFile:
    """A data collection rule: the resource, its bare properties, or the one rule of a template.

    Raises `ProblemError`.
    """
    text = read_text(str(path))
    document, root = _object(text, path), ""
    resources = document.get("resources")
    if isinstance(resources, list):
        rules = [place for place, one in enumerate(resources) if isinstance(one, dict) and _is_rule(one)]
        if len(rules) != 1:
            message = f"{path} is a template with {len(rules)} data collection rules; one is needed."
            raise ProblemError(Problem("NotARule", message))
        document, root = resources[rules[0]], f"resources[{rules[0]}]."
    bare = "properties" not in document
    if bare:
        document = {"properties": document}
    properties = document["properties"]
    if not isinstance(properties, dict) or "dataFlows" not in properties:
        hint = "A rule is an object with `properties`, which has `streamDeclarations` and `dataFlows`."
        raise ProblemError(Problem("NotARule", f"{path} is no data collection rule.", hint=hint))
    return RuleFile(path, text, document, root, bare)


def read_table(path: Path) -> tuple[str, TableSchema]:
    """A table's name and columns from its ARM document or its bare schema. Raises `ProblemError`."""
    from headrace.catalog.schema import first_schema, is_custom_column, parse_columns

    name, columns = read_table_schema(path)
    if name is None:
        raise ProblemError(_no_table(path))
    own = [column for column in columns if is_custom_column(name, str(column.get("name")))]
    return name, first_schema(name, parse_columns(own, name))


def read_table_schema(path: Path) -> tuple[str | None, list[dict[str, Any]]]:
    """A table's name, if it is there, and its columns as they stand in the file. Raises `ProblemError`."""
    document = read_json(path)
    properties = document.get("properties", document)
    schema = properties.get("schema", properties) if isinstance(properties, dict) else None
    columns = schema.get("columns") if isinstance(schema, dict) else None
    if not isinstance(columns, list) or not all(isinstance(column, dict) for column in columns):
        raise ProblemError(_no_table(path))
    name = schema.get("name", document.get("name")) if isinstance(schema, dict) else None
    return name if isinstance(name, str) else None, columns


def _no_table(path: Path) -> Problem:
    hint = "A table is an object with `properties.schema`, which has `name` and `columns`."
    return Problem("NotATable", f"{path} is no table.", hint=hint)


def read_rows(path: Path, form: SourceFormat | None = None) -> Sequence[bytes]:
    """The JSON texts of the objects in a file: NDJSON, a JSON array or CSV. Raises `ProblemError`."""
    rows: list[bytes] = []
    with Source(path) as source:
        for chunk in source.chunks(form or guess_format(path), 0):
            rows += [bytes(row) for row in msgspec.json.decode(chunk.body, type=list[msgspec.Raw])]
            if len(rows) > MAX_SAMPLES:
                raise ProblemError(Problem("TooManyRows", f"{path} has more than {MAX_SAMPLES} rows."))
    return rows


def _is_rule(resource: Mapping[str, Any]) -> bool:
    return str(resource.get("type")).lower() == RULE_TYPE
