"""Table schemas from and to ARM's JSON, and the rules of changing them.

A schema change never touches what was there: a version is added, column ids count on, and a physical name
that was ever used in the table's life is not used again, so old data never shows under a new column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.catalog import standard
from headrace.catalog.model import Column, TableSchema
from headrace.catalog.names import MAX_COLUMNS, assign_physical, column_fault, custom_table_fault
from headrace.errors import Problem, ProblemError
from headrace.kql.types import KustoType, parse_type

TIME_GENERATED = "TimeGenerated"
CUSTOM_SUFFIX = "_CL"
CUSTOM_FIELD_SUFFIX = "_CF"
INVALID = "InvalidParameter"
FATAL = "SchemaUpdateFatalError"

TABLE_TYPES: Mapping[KustoType, str] = {
    KustoType.STRING: "string",
    KustoType.INT: "int",
    KustoType.LONG: "long",
    KustoType.REAL: "real",
    KustoType.BOOL: "boolean",
    KustoType.DATETIME: "dateTime",
    KustoType.GUID: "guid",
    KustoType.DYNAMIC: "dynamic",
}
"""The types that a table's column can have, as the tables API writes them."""

TYPE_HINTS = ("uri", "guid", "armPath", "ip")
"""What a column of texts may be said to hold."""

_MAX_PROBLEMS = 50
_MAX_TEXT = 4096
_COLUMNS = "properties.schema.columns"


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column as a request asks for it."""

    name: str
    type: KustoType
    description: str = ""


def is_custom(table: str) -> bool:
    """Whether the name is a custom table's."""
    return table.endswith(CUSTOM_SUFFIX)


def is_custom_column(table: str, column: str) -> bool:
    """Whether a column of this table is a user's own, and not Microsoft's."""
    return is_custom(table) or column.endswith(CUSTOM_FIELD_SUFFIX)


def check_table_name(name: str, schema_name: object) -> None:
    """Raises `ProblemError` when no table can have the name, or `properties.schema.name` is another one."""
    if schema_name is not None and schema_name != name:
        raise ProblemError(
            Problem(
                INVALID,
                f"The table name in the address is '{name}' and in properties.schema.name it is another.",
                target="properties.schema.name",
                hint="Table names are case-sensitive; give the same one in both places.",
            )
        )
    if standard.is_standard(name):
        return
    fault = custom_table_fault(name)
    if fault:
        hint = f"There is no standard table '{name}'; name a custom table like 'MyTable_CL'."
        raise ProblemError(
            Problem(INVALID, f"Table name '{name[:128]}' is not valid. {fault}", "name", hint=hint)
        )


def parse_columns(value: object, table: str) -> tuple[ColumnSpec, ...]:
    """The columns in a request's JSON list. Raises `ProblemError` with everything that is wrong with them."""
    if not isinstance(value, list):
        raise ProblemError(Problem(INVALID, "'columns' is a list of {name, type}.", _COLUMNS))
    problems: list[Problem] = []
    specs: dict[str, ColumnSpec] = {}
    for place, item in enumerate(value):
        where = f"{_COLUMNS}[{place}]"
        spec = _parse_column(item, table, where, problems)
        if spec is None:
            continue
        if spec.name in specs:
            problems.append(Problem(INVALID, f"Column '{spec.name}' is there twice.", f"{where}.name"))
        specs[spec.name] = spec
        if len(problems) >= _MAX_PROBLEMS:
            break
    if problems:
        raise ProblemError(problems)
    return tuple(specs.values())


def _parse_column(item: object, table: str, where: str, problems: list[Problem]) -> ColumnSpec | None:
    if not isinstance(item, dict):
        problems.append(Problem(INVALID, "A column is an object with 'name' and 'type'.", where))
        return None
    name, type_name, description = item.get("name"), item.get("type"), item.get("description") or ""
    if not isinstance(name, str):
        problems.append(Problem(INVALID, "A column needs a 'name'.", f"{where}.name"))
        return None
    fault = _name_fault(name, table)
    if fault:
        problems.append(
            Problem(INVALID, f"Column name '{name[:128]}' is not valid. {fault}", f"{where}.name")
        )
        return None
    kusto = parse_type(type_name) if isinstance(type_name, str) else None
    if kusto is None or kusto not in TABLE_TYPES:
        shown = f"'{type_name[:40]}' is not one" if isinstance(type_name, str) else "it is missing"
        allowed = ", ".join(TABLE_TYPES.values())
        problems.append(
            Problem(INVALID, f"Column '{name}' needs a type: {shown}. Types: {allowed}.", f"{where}.type")
        )
        return None
    if not isinstance(description, str) or len(description) > _MAX_TEXT:
        problems.append(
            Problem(
                INVALID, f"A description is a text of at most {_MAX_TEXT} characters.", f"{where}.description"
            )
        )
        return None
    type_hint = item.get("dataTypeHint")
    if type_hint is not None and type_hint not in TYPE_HINTS:
        problems.append(
            Problem(INVALID, f"A dataTypeHint is one of {', '.join(TYPE_HINTS)}.", f"{where}.dataTypeHint")
        )
        return None
    if name == TIME_GENERATED and kusto is not KustoType.DATETIME:
        problems.append(
            Problem(
                FATAL,
                "Table validation failed with following errors: field type/display name not matching system "
                "configuration - Name: TimeGenerated, Display name: TimeGenerated, Type: DateTime.",
                f"{where}.type",
            )
        )
        return None
    return ColumnSpec(name, kusto, description)


def _name_fault(name: str, table: str) -> str | None:
    fault = column_fault(name)
    if fault is None and not is_custom_column(table, name):
        return f"A column added to the standard table '{table}' has a name that ends in '_CF'."
    return fault


def first_schema(table: str, specs: Sequence[ColumnSpec]) -> TableSchema:
    """Version 1 of a table's columns: a standard table's own come first. Raises `ProblemError`."""
    known = standard.find(table)
    base = known.schema().columns if known else ()
    return _next_version((), base, specs, table, 1)


def replace_columns(table: str, history: Sequence[TableSchema], specs: Sequence[ColumnSpec]) -> TableSchema:
    """PUT: the custom columns become exactly `specs`; Microsoft's stay. Raises `ProblemError`.

    `history` holds every version since the incarnation began, oldest first. Answers the current version
    itself when nothing changes.
    """
    current = history[-1]
    wanted = {spec.name for spec in specs}
    kept = [c for c in current.columns if c.name in wanted or not is_custom_column(table, c.name)]
    return _changed(table, history, kept, specs)


def add_columns(table: str, history: Sequence[TableSchema], specs: Sequence[ColumnSpec]) -> TableSchema:
    """PATCH: `specs` are added to the columns that are there, none goes. See `replace_columns`."""
    return _changed(table, history, history[-1].columns, specs)


def _changed(
    table: str, history: Sequence[TableSchema], kept: Sequence[Column], specs: Sequence[ColumnSpec]
) -> TableSchema:
    current = history[-1]
    made = _next_version(history, kept, specs, table, current.version + 1)
    return current if made.columns == current.columns else made


def _next_version(
    history: Sequence[TableSchema],
    kept: Sequence[Column],
    specs: Sequence[ColumnSpec],
    table: str,
    version: int,
) -> TableSchema:
    problems: list[Problem] = []
    past = {column.name: column for schema in history for column in schema.columns}
    everything = [*(c for schema in history for c in schema.columns), *kept]
    taken = {column.physical.lower() for column in everything}
    number = max((column.id for column in everything), default=0)
    columns = {column.name: column for column in kept}
    for spec in specs:
        before = past.get(spec.name)
        if before is not None and before.type is not spec.type:
            problems.append(_retyped(spec, before))
            continue
        present = columns.get(spec.name)
        if present is not None:
            columns[spec.name] = Column(
                present.id, present.name, present.type, present.physical, spec.description, present.hidden
            )
            continue
        number += 1
        physical = assign_physical(spec.name, taken)
        columns[spec.name] = Column(number, spec.name, spec.type, physical, spec.description)
    problems.extend(_whole_faults(table, columns.values()))
    if problems:
        raise ProblemError(problems[:_MAX_PROBLEMS])
    return TableSchema(version, _ordered(columns, specs))


def _ordered(columns: Mapping[str, Column], specs: Sequence[ColumnSpec]) -> tuple[Column, ...]:
    """Kept columns that the request does not name come first, then the request's own order."""
    named = {spec.name for spec in specs}
    rest = [column for column in columns.values() if column.name not in named]
    return (*rest, *(columns[spec.name] for spec in specs))


def _retyped(spec: ColumnSpec, before: Column) -> Problem:
    return Problem(
        INVALID,
        f"Column '{spec.name}' is of type {TABLE_TYPES[before.type]} in this table and cannot become "
        f"{TABLE_TYPES[spec.type]}: a column name keeps its type, after its deletion too.",
        _COLUMNS,
        hint="Add a column with another name.",
    )


def _whole_faults(table: str, columns: Iterable[Column]) -> list[Problem]:
    listed = list(columns)
    problems = []
    if TIME_GENERATED not in {column.name for column in listed}:
        problems.append(
            Problem(
                FATAL,
                "Table validation failed with following errors: MSG 1005: Table missing mandatory "
                "'TimeGenerated' column.",
                _COLUMNS,
                hint="Add a column {name: TimeGenerated, type: dateTime}.",
            )
        )
    custom = sum(1 for column in listed if is_custom_column(table, column.name))
    if custom > MAX_COLUMNS:
        problems.append(
            Problem(
                INVALID,
                f"Table '{table}' would have {custom} columns; {MAX_COLUMNS} is the most.",
                _COLUMNS,
            )
        )
    return problems


_STANDARD_COLUMNS: tuple[tuple[str, str, bool], ...] = (
    ("TenantId", "guid", False),
    ("Type", "string", False),
    ("_ResourceId", "string", False),
    ("_SubscriptionId", "string", True),
    ("_TimeReceived", "dateTime", True),
    ("_ItemId", "string", True),
    ("_IsBillable", "string", True),
    ("_BilledSize", "real", True),
)


def column_lists(
    table: str, schema: TableSchema, documents: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """ARM's `columns` (the user's) and `standardColumns` (Microsoft's) of a table.

    `documents` are the column objects as they were last sent: what a request said beyond name and type is
    kept, the spelling of the type too where it is one of Azure's.
    """
    sent = {item["name"]: item for item in documents if isinstance(item.get("name"), str)}
    custom: list[dict[str, Any]] = []
    built_in: list[dict[str, Any]] = []
    for column in schema.columns:
        entry = _column_json(column, sent.get(column.name, {}))
        (custom if is_custom_column(table, column.name) else built_in).append(entry)
    for name, type_name, hidden in _STANDARD_COLUMNS:
        built_in.append({"name": name, "type": type_name, "isDefaultDisplay": False, "isHidden": hidden})
    return custom, built_in


def _column_json(column: Column, sent: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {**sent, "name": column.name, "type": _type_text(column, sent.get("type"))}
    if column.description:
        entry["description"] = column.description
    return {**entry, "isDefaultDisplay": False, "isHidden": column.hidden}


def _type_text(column: Column, sent: object) -> str:
    return "datetime" if sent == "datetime" else TABLE_TYPES[column.type]
