"""A pipeline over real parts in a temporary folder: a journal, table files, dead letters, and one workspace."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import TracebackType

import duckdb

from headrace.catalog.model import Catalog, Column, Table, TableSchema, Workspace
from headrace.catalog.rules import DataFlow, Rule, Stream
from headrace.clock import Clock, SystemClock
from headrace.disk import Disk, RealDisk
from headrace.journal.files import FileJournal
from headrace.journal.model import Entry, Record
from headrace.journal.reader import FileJournalReader
from headrace.kql.types import KustoType, SchemaColumn
from headrace.observe.receipts import Receipts
from headrace.observe.usage import UsageMeter
from headrace.settings import Settings, TransformSettings
from headrace.tables.model import TableKey
from headrace.tables.reader import TableReader
from headrace.tables.writer import TableStore
from headrace.transform.dead_letters import DeadLetters
from headrace.transform.model import Neighbours
from headrace.transform.pipeline import Pipeline
from headrace.transform.progress import FlowCounts, Progress
from headrace.transform.seen import SeenCalls

JOURNAL = "0b5c1f0a-1111-4222-8333-444455556666"
RULE = "dcr-00000000000000000000000000000001"
STREAM = "Custom-Things"
WORKSPACE = "/subscriptions/s/resourcegroups/g/providers/microsoft.operationalinsights/workspaces/w"
CUSTOMER = "9a1de1a5-6a5c-4e51-9a11-000000000001"
COLUMNS = (
    ("TimeGenerated", KustoType.DATETIME),
    ("Id", KustoType.LONG),
    ("Text", KustoType.STRING),
    ("Level", KustoType.INT),
    ("Ratio", KustoType.REAL),
    ("Good", KustoType.BOOL),
    ("Data", KustoType.DYNAMIC),
)


def make_table(
    name: str = "Things_CL",
    columns: Sequence[tuple[str, KustoType]] = COLUMNS,
    incarnation: str = "inc-1",
) -> Table:
    """A table with one version of its columns."""
    own = tuple(Column(place, text, kusto, text) for place, (text, kusto) in enumerate(columns, 1))
    return Table(CUSTOMER, name, incarnation, (TableSchema(1, own),))


def make_flow(
    index: int = 0, transform: str = "source", table: str = "Things_CL", stream: str = STREAM
) -> DataFlow:
    """A data flow to a table of the workspace."""
    return DataFlow(index, (stream,), ("w",), (WORKSPACE,), f"Custom-{table}", table, transform)


def make_rule(
    *flows: DataFlow,
    version: int = 1,
    columns: Sequence[tuple[str, KustoType]] = COLUMNS,
    immutable_id: str = RULE,
) -> Rule:
    """A rule whose streams all have the same columns."""
    flows = flows or (make_flow(),)
    declared = tuple(SchemaColumn(name, kusto) for name, kusto in columns)
    streams = {flow.streams[0]: Stream(flow.streams[0], declared) for flow in flows}
    return Rule(immutable_id, version, "/rules/r", "Direct", streams, flows)


@dataclass
class View:
    """A catalog that a test changes."""

    current: Catalog
    refreshed: int = 0

    def refresh(self) -> bool:
        """Nothing to load: the test puts the newest in."""
        self.refreshed += 1
        return False


def make_catalog(*tables: Table) -> Catalog:
    """A catalog of one workspace."""
    workspace = Workspace(CUSTOMER, WORKSPACE, "w", "eastus", {table.name: table for table in tables})
    return Catalog(1, {CUSTOMER: workspace}, {WORKSPACE: workspace})


@dataclass
class PipelineBench:
    """All that lives in one data folder. `restart` gives what a new process would have."""

    root: Path
    rules: dict[tuple[str, int], Rule]
    tables: tuple[Table, ...]
    disk: Disk = field(default_factory=RealDisk)
    clock: Clock = field(default_factory=SystemClock)
    transform: Mapping[str, object] = field(default_factory=dict)
    mode: str = "headrace"
    store_settings: Mapping[str, object] = field(default_factory=dict)
    writes: bool = True
    knows_repeats: bool = True

    def __post_init__(self) -> None:
        own = TransformSettings.model_validate({"batch_seconds": 0.02, **self.transform})
        self.settings = Settings.model_validate(
            {
                "data_dir": self.root,
                "transform": own,
                "mode": self.mode,
                "tables": dict(self.store_settings),
            }
        )
        self.view = View(make_catalog(*self.tables))
        self.loop = asyncio.new_event_loop()
        self.journal: FileJournal | None = None
        self.reader: FileJournalReader | None = None
        self.store: TableStore | None = None
        self.letters: DeadLetters | None = None
        self.seen: SeenCalls | None = None
        self.usage: UsageMeter | None = None
        self.sql = duckdb.connect()
        self.sql.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> PipelineBench:
        """Everything is open, save the journal's writer when another process has it."""
        if self.writes:
            self.open_journal()
        self.open_engine()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self.sql.close()
        self.loop.close()

    def open(self) -> None:
        """Open everything, as a start of all processes does."""
        self.open_journal()
        self.open_engine()

    def open_journal(self) -> None:
        """The gateway's part."""
        folder = self.root / "journal" / JOURNAL
        self.journal = FileJournal.open(folder, self.settings.journal, self.disk, self.clock)

    def open_engine(self) -> None:
        """The engine's part."""
        self.reader = FileJournalReader(self.root / "journal" / JOURNAL, self.disk)
        self.store = TableStore(self.root / "tables", self.disk, self.settings.tables, self.clock)
        self.store.recover()
        self.letters = DeadLetters(self.root / "dead-letters", self.disk)
        window = self.settings.ingest.repeat_window_seconds
        if self.knows_repeats:
            self.seen = SeenCalls(self.root / "seen", self.disk, self.clock, window)

    def close(self) -> None:
        """Close everything."""
        if self.journal is not None:
            self.loop.run_until_complete(self.journal.close())
        if self.reader is not None:
            self.reader.close()
        if self.store is not None:
            self.store.close()
        if self.letters is not None:
            self.letters.close()
        if self.seen is not None:
            self.seen.close()
        self.journal = self.reader = self.store = self.letters = self.seen = None

    def send(
        self,
        rows: object,
        *,
        stream: str = STREAM,
        rule: str = RULE,
        version: int = 1,
        zipped: bool = False,
        count: int | None = None,
        client: str = "",
        request: str = "request",
    ) -> Record:
        """Append a payload to the journal: rows as objects, or text as it is."""
        assert self.journal is not None
        text = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
        body = gzip.compress(text) if zipped else text
        rows_in = count if count is not None else len(rows) if isinstance(rows, list) else 0
        entry = Entry(
            request,
            client,
            "principal",
            rule,
            version,
            stream,
            "gzip" if zipped else "",
            body,
            len(text),
            rows_in,
        )
        return self.loop.run_until_complete(self.journal.append(entry))

    def pipeline(
        self, step: Callable[[str], None] = lambda _: None, receipts: Receipts | None = None
    ) -> Pipeline:
        """A pipeline over the parts that are open; not started."""
        assert self.store is not None
        assert self.letters is not None
        assert self.reader is not None
        reader = self.reader
        neighbours = Neighbours(
            lambda rule, version: self.rules[rule, version],
            self.view,
            self.store,
            self.letters,
            seen=self.seen,
            receipts=receipts,
            usage=self.usage,
        )
        return Pipeline(
            lambda: {reader.journal_id: reader},
            neighbours,
            self.settings,
            self.clock,
            disk=self.disk,
            step=step,
        )

    def drain(self) -> Pipeline:
        """Run a pipeline until it has stored all that the journal holds, and stop it."""
        pipeline = self.pipeline()
        pipeline.start()
        wait_idle(pipeline)
        assert pipeline.stop()
        return pipeline

    def rows(self, *columns: str, table: Table | None = None) -> list[tuple[object, ...]]:
        """Columns of a table, or SQL calls on them, through a fresh snapshot, by place in the journal."""
        reader = TableReader(self.root / "tables")
        snapshot = reader.pin(table or self.tables[0])
        folder = TableKey.of(table or self.tables[0]).folder(self.root / "tables")
        paths = [str(folder / file.path) for file in snapshot.files]
        if not paths:
            return []
        named = ", ".join(name if "(" in name else f'"{name}"' for name in columns)
        found: list[tuple[object, ...]] = self.sql.execute(
            f'SELECT {named} FROM read_parquet(?) ORDER BY "_Offset", "_Row"', [paths]
        ).fetchall()
        return found


def wait_idle(pipeline: Pipeline, seconds: float = 60.0) -> None:
    """Wait until the pipeline has published all it can see; fail when it stopped by itself."""
    deadline = time.monotonic() + seconds
    while not pipeline.idle():
        failure = pipeline.progress().failure
        assert failure is None, failure
        assert time.monotonic() < deadline, "the pipeline does not come to rest"
        time.sleep(0.005)


def by_flow(progress: Progress) -> dict[tuple[str, int], FlowCounts]:
    """The counts of each flow, by rule and its number, over all its streams."""
    flows: dict[tuple[str, int], FlowCounts] = {}
    for (rule, _, flow), one in progress.streams.items():
        pairs = zip(astuple(flows.get((rule, flow), FlowCounts())), astuple(one), strict=True)
        flows[rule, flow] = FlowCounts(*map(sum, pairs))
    return flows
