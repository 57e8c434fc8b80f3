"""What `headrace kql` compiles a text against: the standard tables, or a transform's stream read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace.catalog.standard import StandardTables
from headrace.cli.documents import read_text
from headrace.errors import Problem, ProblemError
from headrace.kql.editor import Target
from headrace.kql.model import Functions
from headrace.kql.types import Schema, SchemaColumn, parse_type


def target_for(
    transform: bool, schema: Path | None, stream: str | None, functions: Functions = "extended"
) -> Target:
    """The target that the options ask for. Raises `ProblemError`."""
    if not transform:
        return Target.query(StandardTables())
    if schema is None:
        raise ProblemError(
            Problem("SchemaMissing", "A transform needs its stream's columns.", hint="Give `--schema FILE`.")
        )
    return Target.transform(read_stream(schema, stream), functions)


def read_stream(path: Path, stream: str | None) -> Schema:
    """A stream's columns from a JSON file. Raises `ProblemError`.

    The file is a list of `{"name", "type"}`, an object with such `columns`, or a data collection rule with
    `streamDeclarations`, of which `stream` names one.
    """
    try:
        document = msgspec.json.decode(read_text(str(path)))
    except (msgspec.DecodeError, RecursionError):
        raise ProblemError(Problem("SchemaInvalid", f"{path}: not a JSON document.")) from None
    columns = _columns(document, path, stream)
    made: list[SchemaColumn] = []
    for place, column in enumerate(columns):
        name = column.get("name") if isinstance(column, Mapping) else None
        type = parse_type(str(column.get("type"))) if isinstance(column, Mapping) else None
        if not isinstance(name, str) or type is None:
            raise ProblemError(
                Problem("SchemaInvalid", f"{path}: column {place + 1} needs a `name` and a KQL `type`.")
            )
        made.append(SchemaColumn(name, type))
    if len({column.name for column in made}) < len(made):
        raise ProblemError(Problem("SchemaInvalid", f"{path}: a column is declared twice."))
    return Schema(tuple(made))


def _columns(document: Any, path: Path, stream: str | None) -> list[Any]:
    if isinstance(document, Mapping):
        properties = document.get("properties", document)
        declarations = properties.get("streamDeclarations") if isinstance(properties, Mapping) else None
        if isinstance(declarations, Mapping):
            document = _declaration(declarations, path, stream)
        if isinstance(document, Mapping):
            document = document.get("columns")
    if not isinstance(document, list):
        raise ProblemError(
            Problem(
                "SchemaInvalid",
                f"{path}: no columns.",
                hint="Give a list of columns or a rule with `streamDeclarations`.",
            )
        )
    return document


def _declaration(declarations: Mapping[str, Any], path: Path, stream: str | None) -> Any:
    names = ", ".join(f"`{name}`" for name in declarations)
    if stream is None and len(declarations) == 1:
        return next(iter(declarations.values()))
    if stream is None:
        raise ProblemError(
            Problem(
                "StreamMissing", f"{path}: several streams: {names}.", hint="Choose with `--stream NAME`."
            )
        )
    if stream not in declarations:
        raise ProblemError(Problem("StreamUnknown", f"{path}: no stream `{stream}`; it has {names}."))
    return declarations[stream]
