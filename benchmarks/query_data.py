"""A table of web requests over seven days, made through the table store: most of it committed, the end published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from headrace.catalog.model import Catalog, Column, Table, TableSchema, Workspace
from headrace.clock import DAY, SystemClock
from headrace.disk import RealDisk
from headrace.kql.types import KustoType
from headrace.settings import TableSettings
from headrace.tables.writer import TableStore

NAME = "Requests_CL"
HOSTS = "Hosts_CL"
DAYS = 7
FIRST_DAY = 20_600
"""The first day with rows, counted from 1970-01-01: 2026-05-27."""
_APP = "benchmark/rule/0"
_REQUESTS = (
    ("TimeGenerated", KustoType.DATETIME),
    ("Host", KustoType.STRING),
    ("Level", KustoType.STRING),
    ("Method", KustoType.STRING),
    ("Url", KustoType.STRING),
    ("Status", KustoType.INT),
    ("Bytes", KustoType.LONG),
    ("DurationMs", KustoType.REAL),
    ("Message", KustoType.STRING),
    ("Properties", KustoType.DYNAMIC),
)
_HOSTS = (
    ("TimeGenerated", KustoType.DATETIME),
    ("Host", KustoType.STRING),
    ("Site", KustoType.STRING),
)
_REQUEST_ROWS = """
    SELECT make_timestamp($start + (row * $length) // $rows)::TIMESTAMPTZ AS "TimeGenerated",
        'web-' || lpad((h % 250)::VARCHAR, 3, '0') AS "Host",
        ['Information', 'Information', 'Information', 'Warning', 'Error'][1 + h // 7 % 5] AS "Level",
        ['GET', 'GET', 'GET', 'POST', 'PUT', 'DELETE'][1 + h // 11 % 6] AS "Method",
        '/api/v' || (1 + h // 13 % 3) || '/' || ['orders', 'users', 'carts', 'search'][1 + h // 17 % 4]
            || '/' || (h // 19 % 5000) AS "Url",
        [200, 200, 200, 201, 304, 404, 500][1 + h // 23 % 7]::INTEGER AS "Status",
        (h // 29 % 100000)::BIGINT AS "Bytes",
        (h // 31 % 1000000) / 1000.0::DOUBLE AS "DurationMs",
        'Request ' || h || ' from 10.' || (h // 3 % 256) || '.' || (h // 5 % 256) || '.' || (h // 9 % 256)
            || ' for user u-' || (h // 37 % 20000) || ' took ' || (h // 31 % 1000) || ' ms; '
            || CASE WHEN (row + $day) % 200003 = 17 THEN 'Failed over to Replica-Zwei after timeout'
               ELSE 'Completed normally in pool ' || (h // 41 % 16) END AS "Message",
        '{"region":"' || ['north', 'south', 'east', 'west'][1 + h // 43 % 4] || '","attempt":' || (h // 47 % 4)
            || '}' AS "Properties",
        $system
    FROM (SELECT row, (hash(row + $day * 100000000::BIGINT) >> 8)::BIGINT AS h FROM range($rows) r(row))
"""
_HOST_ROWS = """
    SELECT make_timestamp($start + row)::TIMESTAMPTZ AS "TimeGenerated",
        'web-' || lpad((row % 250)::VARCHAR, 3, '0') AS "Host",
        ['ams', 'dub', 'osl', 'vie', 'zrh'][1 + row % 5] AS "Site",
        $system
    FROM range($rows) r(row)
"""
_SYSTEM = """make_timestamp($start)::TIMESTAMPTZ AS "_TimeReceived", '' AS "_ResourceId", 1::INTEGER AS "_RuleVersion",
        'benchmark/rule/0' AS "_Source", $offset::BIGINT AS "_Offset", row::INTEGER AS "_Row" """


@dataclass(frozen=True, slots=True)
class Data:
    """Where the tables are, and the catalog that has them."""

    root: Path
    catalog: Catalog
    workspace: Workspace
    bytes: int
    files: int


def make_data(root: Path, rows: int, files_a_day: int, published: int) -> Data:
    """Write the tables under `root`. `published` files of the last day are left uncommitted, none are put together."""
    requests, hosts = _table(NAME, _REQUESTS), _table(HOSTS, _HOSTS)
    store = TableStore(root, RealDisk(), TableSettings(small_file_bytes=0), SystemClock())
    engine = duckdb.connect(config={"threads": 2})
    engine.execute("SET TimeZone = 'UTC'")
    total = files = 0
    try:
        pieces = [(day, piece) for day in range(DAYS) for piece in range(files_a_day)]
        for offset, (day, piece) in enumerate(pieces):
            start = (FIRST_DAY + day) * DAY + piece * (DAY // files_a_day)
            parts = published if published and (day, piece) == pieces[-1] else 1
            for part in range(parts):
                length = DAY // files_a_day // parts
                total += _write(
                    store,
                    engine,
                    requests,
                    _REQUEST_ROWS,
                    rows // len(pieces) // parts,
                    start + part * length,
                    length,
                    offset + part,
                )
                files += 1
            if offset == len(pieces) - (2 if published else 1):
                store.commit(requests)
        _write(store, engine, hosts, _HOST_ROWS, 2_000, FIRST_DAY * DAY, DAY, 0)
        store.commit(hosts)
    finally:
        engine.close()
        store.close()
    workspace = Workspace(
        requests.workspace, "/benchmark", "benchmark", "here", {NAME: requests, HOSTS: hosts}
    )
    return Data(root, Catalog(1, {workspace.customer_id: workspace}, {}), workspace, total, files)


def _table(name: str, columns: tuple[tuple[str, KustoType], ...]) -> Table:
    schema = TableSchema(1, tuple(Column(i + 1, c, kind, c) for i, (c, kind) in enumerate(columns)))
    return Table(
        "5b1c5f0e-6f7e-4f5c-9a35-3f3d1c0f6a10",
        name,
        "0d9f8a52-6c54-4b57-8a1c-2f7f7f0f9b21",
        (schema,),
        retention_days=FIRST_DAY,
        total_retention_days=FIRST_DAY,
    )


def _write(
    store: TableStore,
    engine: duckdb.DuckDBPyConnection,
    table: Table,
    template: str,
    rows: int,
    start: int,
    length: int,
    offset: int,
) -> int:
    """One file as the pipeline writes them."""
    path = store.new_file(table)
    query = template.replace("$system", _SYSTEM)
    numbers = {"start": start, "length": length, "rows": rows, "day": start // DAY, "offset": offset}
    for name, value in numbers.items():
        query = query.replace(f"${name}", str(value))
    engine.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION snappy)")
    file = store.data_file(table, path, {_APP: offset})
    store.publish(table, file)
    return file.bytes
