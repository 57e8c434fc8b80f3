"""Files to SQL: one select over a table's Parquet files that gives the columns a plan asked for.

Files of one schema version are read together; columns are matched by their catalog id, so a column that
was renamed keeps its data and one that was deleted and made again does not show the old data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from headrace.catalog.model import Column, Table
from headrace.catalog.system import OFFSET, RESOURCE_ID, ROW, RULE_VERSION, SOURCE, TIME_RECEIVED
from headrace.clock import FIRST, LAST, to_datetime
from headrace.kql.types import KustoType
from headrace.tables.counts import RowCount, count_files
from headrace.tables.model import TIME, StoredFile

SQL_TYPES = {
    KustoType.STRING: "VARCHAR",
    KustoType.INT: "INTEGER",
    KustoType.LONG: "BIGINT",
    KustoType.REAL: "DOUBLE",
    KustoType.BOOL: "BOOLEAN",
    KustoType.DATETIME: "TIMESTAMPTZ",
    KustoType.DYNAMIC: "VARCHAR",
    KustoType.GUID: "VARCHAR",
}
"""SQL types of a scan's columns, by Kusto type."""

_ROWS = "_Rows"

_GUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What a plan wants of a table: (SQL name, column name) pairs and bounds of `TimeGenerated`.

    The bounds are UTC microseconds, both included; no row outside them comes. With `rows` a row may stand for many.
    """

    columns: Sequence[tuple[str, str]]
    low: int | None = None
    high: int | None = None
    rows: RowCount | None = None


def build_scan(
    root: Path,
    table: Table,
    files: Iterable[StoredFile],
    request: ScanRequest,
    footer_columns: Callable[[Path], frozenset[str]],
) -> exp.Query:
    """A select that yields exactly the requested columns, in order, under their SQL names; `rows` is the last.

    `root` is the table's folder. `footer_columns` tells the physical columns of a file, for files of a
    schema version that `table` does not know yet. Raises `KeyError` for an unknown column name.
    """
    groups: dict[int, list[StoredFile]] = {}
    # Newest first: a search for the newest rows then skips the files behind those that it has found.
    for file in sorted(files, key=_newest, reverse=True):
        if file.rows and file.overlaps(request.low, request.high):
            groups.setdefault(file.schema_version, []).append(file)
    selects: list[exp.Select] = []
    for version, group in sorted(groups.items(), reverse=True):
        physical = _physical_columns(root, table, version, group, footer_columns)
        selects += _selects(root, group, request, _outputs(table, request, physical))
    if not selects:
        return _empty(table, request)
    query: exp.Query = selects[0]
    for select in selects[1:]:
        query = exp.union(query, select, distinct=False, copy=False)
    return query


def _newest(file: StoredFile) -> int:
    return FIRST if file.max_time is None else file.max_time


def _physical_columns(
    root: Path,
    table: Table,
    version: int,
    group: Sequence[StoredFile],
    footer_columns: Callable[[Path], frozenset[str]],
) -> Mapping[int, str]:
    """Physical names in files of `version` by column id."""
    try:
        schema = table.schema_version(version)
    except KeyError:
        present = footer_columns(root / group[0].path)
        return {column.id: column.physical for column in table.schema.columns if column.physical in present}
    return {column.id: column.physical for column in schema.columns}


def _outputs(table: Table, request: ScanRequest, physical: Mapping[int, str]) -> list[exp.Alias]:
    return [_named(_expression(table, name, physical), sql_name) for sql_name, name in request.columns]


def _selects(
    root: Path, group: Sequence[StoredFile], request: ScanRequest, outputs: Sequence[exp.Alias]
) -> Iterator[exp.Select]:
    """The rows of files that have the same columns: those that are counted without being read, and those read."""
    rows = request.rows
    read = group
    if rows is not None and all(map(_follows_from_time, outputs)):
        counted = count_files(group, request.low, request.high, rows.step)
        read = counted.read
        if counted.times:
            values = [
                *(output.copy() for output in outputs),
                _named(exp.column(_ROWS, quoted=True), rows.name),
            ]
            yield exp.Select(expressions=values, from_=exp.From(this=_literal_rows(counted.times)))
    if not read:
        return
    values = [*outputs]
    if rows is not None:
        values.append(_named(_long(1), rows.name))
    # As text, because joining paths takes five times as long: that shows at a thousand files.
    source = read_parquet([f"{root}/{file.path}" for file in read])
    select = exp.Select(expressions=values or [_nothing()], from_=exp.From(this=source))
    conditions = _time_conditions(read, request)
    if conditions:
        select.set("where", exp.Where(this=exp.and_(*conditions, copy=False)))
    yield select


def _follows_from_time(output: exp.Alias) -> bool:
    """Whether rows of a file differ in a value by nothing but `TimeGenerated`, as the stored column is called."""
    return all(column.name == TIME for column in output.find_all(exp.Column))


def _literal_rows(times: Iterable[tuple[int, int]]) -> exp.Values:
    """Times and how many rows each stands for, in columns that are named as the files' own."""
    rows = [exp.Tuple(expressions=[moment(time), _long(count)]) for time, count in times]
    names = [exp.Identifier(this=name, quoted=True) for name in (TIME, _ROWS)]
    alias = exp.TableAlias(this=exp.Identifier(this="known", quoted=True), columns=names)
    return exp.Values(expressions=rows, alias=alias)


def _long(number: int) -> exp.Cast:
    return exp.Cast(this=exp.Literal.number(number), to=exp.DataType(this=exp.DataType.Type.BIGINT))


def _named(value: exp.Expr, name: str) -> exp.Alias:
    return exp.Alias(this=value, alias=exp.Identifier(this=name, quoted=True))


def read_parquet(paths: Iterable[Path | str]) -> exp.Table:
    """The rows of Parquet files that have the same columns; folder names are not read as columns."""
    files = exp.Array(expressions=[exp.Literal.string(str(path)) for path in paths])
    option = exp.EQ(this=exp.column("hive_partitioning"), expression=exp.false())
    return exp.Table(this=exp.Anonymous(this="read_parquet", expressions=[files, option]))


def _time_conditions(group: Sequence[StoredFile], request: ScanRequest) -> list[exp.Expr]:
    """Comparisons on the raw column, so that the engine skips row groups; none where all files are inside."""
    time = exp.column(TIME, quoted=True)
    conditions: list[exp.Expr] = []
    low, high = request.low, request.high
    if low is not None and low > FIRST and any(f.min_time is None or f.min_time < low for f in group):
        conditions.append(exp.GTE(this=time.copy(), expression=moment(low)))
    if high is not None and high < LAST and any(f.max_time is None or f.max_time > high for f in group):
        conditions.append(exp.LTE(this=time.copy(), expression=moment(high)))
    return conditions


def moment(microseconds: int) -> exp.Expr:
    """A TIMESTAMPTZ constant."""
    text = to_datetime(min(max(microseconds, FIRST), LAST)).isoformat(sep=" ")
    # Built by hand: a type given as text is parsed each time.
    kind = exp.DataType(this=exp.DataType.Type.TIMESTAMPTZ)
    return exp.Cast(this=exp.Literal.string(text), to=kind)


def _expression(table: Table, name: str, physical: Mapping[int, str]) -> exp.Expr:
    if name in _SYSTEM:
        return _SYSTEM[name][1](table, physical)
    column = _own(table, name)
    stored = physical.get(column.id)
    if stored is None:
        return _fill(column.type)
    value = exp.column(stored, quoted=True)
    # Queries read guids as strings, and strings are never null.
    return exp.func("coalesce", value, exp.Literal.string("")) if column.type is KustoType.GUID else value


def _own(table: Table, name: str) -> Column:
    for column in table.schema.columns:
        if column.name == name:
            return column
    raise KeyError(name)


def _fill(type: KustoType) -> exp.Expr:
    """What rows have in a column that came after them: strings are never null."""
    return exp.Literal.string("") if type in (KustoType.STRING, KustoType.GUID) else _null(type)


def _null(type: KustoType) -> exp.Expr:
    return exp.cast(exp.null(), SQL_TYPES[type])


def _empty(table: Table, request: ScanRequest) -> exp.Query:
    outputs = [
        exp.alias_(_null(_type(table, name)), sql_name, quoted=True) for sql_name, name in request.columns
    ]
    if request.rows is not None:
        outputs.append(exp.alias_(_null(KustoType.LONG), request.rows.name, quoted=True))
    return exp.select(*(outputs or [_nothing()]), copy=False).where(exp.false(), copy=False)


def _nothing() -> exp.Expr:
    """A select needs a column even when none is asked for."""
    return exp.alias_(exp.true(), "_", quoted=True)


def _type(table: Table, name: str) -> KustoType:
    return _SYSTEM[name][0] if name in _SYSTEM else _own(table, name).type


_Maker = Callable[[Table, Mapping[int, str]], exp.Expr]
"""Makes a system column of a table's files; the physical names of the columns that they have, by column id."""


def _stored(physical: str) -> _Maker:
    return lambda _table, _physical: exp.column(physical, quoted=True)


def _constant(value: Callable[[Table], str]) -> _Maker:
    return lambda table, _: exp.Literal.string(value(table))


def _billed_size(table: Table, physical: Mapping[int, str]) -> exp.Expr:
    """Bytes of the row's own columns as text. Source: Azure Monitor, 'Data size calculation'."""
    sizes: list[exp.Expr] = []
    for column in table.schema.columns:
        if column.id in physical:
            text = exp.cast(exp.column(physical[column.id], quoted=True), "VARCHAR")
            size = exp.Anonymous(this="strlen", expressions=[text])
            sizes.append(exp.Coalesce(this=size, expressions=[exp.Literal.number(0)]))
    listed = exp.Anonymous(this="list_sum", expressions=[exp.Array(expressions=sizes)])
    return exp.cast(listed if sizes else exp.Literal.number(0), "DOUBLE")


def _item_id(_table: Table, _physical: Mapping[int, str]) -> exp.Expr:
    """A GUID made of the row's place in the journal: the same row has the same id after any replay."""
    place = exp.func(
        "concat_ws",
        exp.Literal.string("/"),
        *(exp.column(column.physical, quoted=True) for column in (SOURCE, OFFSET, ROW)),
    )
    digest = exp.func("md5", place)
    parts = [
        exp.Anonymous(
            this="substr", expressions=[digest.copy(), exp.Literal.number(start), exp.Literal.number(length)]
        )
        for start, length in _GUID_PARTS
    ]
    return exp.func("concat_ws", exp.Literal.string("-"), *parts)


def _subscription_id(_table: Table, _physical: Mapping[int, str]) -> exp.Expr:
    resource = exp.column(RESOURCE_ID.physical, quoted=True)
    is_arm = exp.func("starts_with", exp.func("lower", resource), exp.Literal.string("/subscriptions/"))
    part = exp.func("split_part", resource.copy(), exp.Literal.string("/"), exp.Literal.number(3))
    return exp.Case(ifs=[exp.If(this=is_arm, true=part)], default=exp.Literal.string(""))


_SYSTEM: Mapping[str, tuple[KustoType, _Maker]] = {
    "TenantId": (KustoType.STRING, _constant(lambda table: table.workspace)),
    "Type": (KustoType.STRING, _constant(lambda table: table.name)),
    "_ResourceId": (KustoType.STRING, _stored(RESOURCE_ID.physical)),
    "_TimeReceived": (KustoType.DATETIME, _stored(TIME_RECEIVED.physical)),
    "_ItemId": (KustoType.STRING, _item_id),
    "_SubscriptionId": (KustoType.STRING, _subscription_id),
    "_IsBillable": (KustoType.STRING, _constant(lambda _: "true")),
    "_BilledSize": (KustoType.REAL, _billed_size),
    "_RuleVersion": (KustoType.INT, _stored(RULE_VERSION.physical)),
}
