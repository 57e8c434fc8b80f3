"""A table store on a temporary folder, a journal made of numbers, and disks that stop when told."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

import duckdb

from headrace.catalog.model import Column, Table, TableSchema
from headrace.clock import DAY, SECOND, ManualClock, to_datetime
from headrace.disk import Disk, RealDisk
from headrace.kql.types import KustoType
from headrace.settings import TableSettings
from headrace.tables.maintenance import Compaction
from headrace.tables.model import DataFile
from headrace.tables.reader import TableReader
from headrace.tables.writer import TableStore

DAY_ONE = 20_000 * DAY
KEPT = 20_000
"""Days: the made-up rows are old."""
APP = "journal/dcr-1/0"
COLUMNS = (
    Column(1, "TimeGenerated", KustoType.DATETIME, "TimeGenerated"),
    Column(2, "Message", KustoType.STRING, "Message"),
    Column(3, "Count", KustoType.LONG, "Count"),
    Column(4, "Level", KustoType.INT, "Level"),
    Column(5, "Ratio", KustoType.REAL, "Ratio"),
    Column(6, "Good", KustoType.BOOL, "Good"),
    Column(7, "Data", KustoType.DYNAMIC, "Data"),
    Column(8, "Key", KustoType.GUID, "Key"),
)
LATER = (
    Column(9, "Extra", KustoType.STRING, "Extra"),
    Column(10, "More", KustoType.DYNAMIC, "More"),
    Column(11, "Seen", KustoType.DATETIME, "Seen"),
)
FIRST_SCHEMA = TableSchema(1, COLUMNS)
SECOND_SCHEMA = TableSchema(2, (*COLUMNS, *LATER))
_VALUES = {
    KustoType.STRING: "'m' || row",
    KustoType.LONG: "row::BIGINT",
    KustoType.INT: "(row % 7)::INTEGER",
    KustoType.REAL: "row::DOUBLE / 2",
    KustoType.BOOL: "row % 2 = 0",
    KustoType.DYNAMIC: """'{"row":' || row || '}'""",
    KustoType.GUID: "NULL::VARCHAR",
}


def make_table(
    schemas: Sequence[TableSchema] = (FIRST_SCHEMA,),
    *,
    name: str = "Things_CL",
    workspace: str | None = None,
    incarnation: str | None = None,
    retention: tuple[int, int] = (KEPT, KEPT),
    plan: str = "Analytics",
) -> Table:
    """A table with made-up ids; `retention` in days, interactive and total."""
    return Table(
        workspace or str(uuid.uuid4()),
        name,
        incarnation or str(uuid.uuid4()),
        tuple(schemas),
        *retention,
        plan,
    )


class Bench:
    """A store, a reader and an engine over one folder."""

    def __init__(
        self,
        root: Path,
        *,
        disk: Disk | None = None,
        table: Table | None = None,
        settings: TableSettings | None = None,
        compaction: Compaction | None = None,
        clock: ManualClock | None = None,
        store: TableStore | None = None,
    ) -> None:
        """`store` shares another bench's, which then closes it."""
        self.root = root
        self.table = table or make_table()
        self.clock = clock or ManualClock()
        self.settings = settings or TableSettings()
        self._shared = store is not None
        self.store = store or TableStore(root, disk or RealDisk(), self.settings, self.clock, compaction)
        self.reader = TableReader(root)
        self.engine = duckdb.connect()
        self.engine.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of both engines."""
        self.engine.close()
        if not self._shared:
            self.store.close()

    @property
    def folder(self) -> Path:
        """The table's folder."""
        return self.root / self.table.workspace / self.table.name / self.table.incarnation

    def write(
        self,
        offset: int,
        rows: int = 3,
        *,
        start: int = DAY_ONE,
        step: int = SECOND,
        app_id: str = APP,
        table: Table | None = None,
    ) -> DataFile:
        """Write the Parquet file of one journal offset; it is not published yet."""
        table = table or self.table
        path = self.store.new_file(table)
        own = [
            f'{_time(start, step) if column.id == 1 else _value(column)} AS "{column.physical}"'
            for column in table.schema.columns
        ]
        self.engine.execute(
            f"""COPY (SELECT {", ".join(own)},
                to_timestamp(1700000000) AS "_TimeReceived",
                '/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/g' AS "_ResourceId",
                1::INTEGER AS "_RuleVersion", '{app_id}' AS "_Source", {offset}::BIGINT AS "_Offset",
                row::INTEGER AS "_Row" FROM range({rows}) r(row)) TO '{path}' (FORMAT parquet)"""
        )
        return self.store.data_file(table, path, {app_id: offset})

    def publish(self, offset: int, rows: int = 3, **options: object) -> DataFile:
        """Write and publish one journal offset."""
        table = options.get("table")
        file = self.write(offset, rows, **options)  # type: ignore[arg-type]
        self.store.publish(table if isinstance(table, Table) else self.table, file)
        return file

    def replay(self, end: int, rows: int = 3, app_id: str = APP) -> None:
        """What the pipeline does after a restart: publish from the position on, up to `end`."""
        for offset in range(self.store.position(self.table, app_id) + 1, end):
            self.publish(offset, rows, app_id=app_id)

    def query(
        self, columns: Sequence[str], table: Table | None = None, **options: object
    ) -> list[tuple[object, ...]]:
        """Rows of a scan, read through a fresh snapshot."""
        snapshot = self.reader.pin(table or self.table)
        pairs = [(f"c{place}", name) for place, name in enumerate(columns)]
        sql = snapshot.scan(pairs, **options).sql("duckdb")  # type: ignore[arg-type]
        found: list[tuple[object, ...]] = self.engine.execute(sql).fetchall()
        return found

    def places(self) -> Counter[tuple[str, int, int]]:
        """How often each row's place in the journal is in the files of a fresh snapshot."""
        snapshot = self.reader.pin(self.table)
        paths = [str(self.folder / file.path) for file in snapshot.files]
        return read_places(self.engine, paths)


def _time(start: int, step: int) -> str:
    return f"TIMESTAMPTZ '{to_datetime(start).isoformat()}' + to_microseconds(row * {step})"


def _value(column: Column) -> str:
    return "NULL::TIMESTAMPTZ" if column.type is KustoType.DATETIME else _VALUES[column.type]


def read_places(engine: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> Counter[tuple[str, int, int]]:
    """The journal places of all rows in these files."""
    if not paths:
        return Counter()
    rows = engine.execute(
        'SELECT "_Source", "_Offset", "_Row" FROM read_parquet(?, hive_partitioning = false)', [list(paths)]
    ).fetchall()
    return Counter((str(source), int(offset), int(row)) for source, offset, row in rows)


def expected(end: int, rows: int = 3, app_ids: Iterable[str] = (APP,)) -> Counter[tuple[str, int, int]]:
    """Each row of the offsets below `end` once."""
    return Counter(
        {(app_id, offset, row): 1 for app_id in app_ids for offset in range(end) for row in range(rows)}
    )


class ProcessKilledError(BaseException):
    """Stands for the end of the process: nothing of ours may catch it."""


class StoppingDisk:
    """Calls through to another disk and dies at the n-th sync, before or after it."""

    def __init__(self, stop_at: int | None = None, inner: Disk | None = None, *, after: bool = False) -> None:
        self.sites: list[str] = []
        self._stop_at = stop_at
        self._inner = inner or RealDisk()
        self._after = after
        self._stop_site: str | None = None

    def stop_at_site(self, site: str) -> None:
        """Die at the next sync of `site`."""
        self._stop_site = site

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        """See `Disk.sync_file`."""
        self._step(site, lambda: self._inner.sync_file(path, site, fd))

    def sync_dir(self, path: Path, site: str) -> None:
        """See `Disk.sync_dir`."""
        self._step(site, lambda: self._inner.sync_dir(path, site))

    def _step(self, site: str, sync: Callable[[], None]) -> None:
        last = len(self.sites) == self._stop_at or site == self._stop_site
        self.sites.append(site)
        if last and not self._after:
            raise ProcessKilledError(site)
        sync()
        if last:
            raise ProcessKilledError(site)


class FailingDisk:
    """A disk that refuses the syncs of one site while `failing`."""

    def __init__(self, site: str) -> None:
        self.failing = True
        self._site = site
        self._inner = RealDisk()

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        """See `Disk.sync_file`."""
        self._refuse(site)
        self._inner.sync_file(path, site, fd)

    def sync_dir(self, path: Path, site: str) -> None:
        """See `Disk.sync_dir`."""
        self._refuse(site)
        self._inner.sync_dir(path, site)

    def _refuse(self, site: str) -> None:
        if self.failing and site == self._site:
            raise OSError(5, "Input/output error")
