"""The resource store: SQLite in WAL mode, one writer at a time, a change number that moves with every write.

Any number of processes may read it; one process writes it. A transaction that was committed is on disk
(`synchronous=FULL`). Everything that a write changes becomes visible together with its change number.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, select, update
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool

from headrace.disk import RealDisk
from headrace.store import migrate
from headrace.store.metadata import store_change

BUSY_SECONDS = 10.0
_IMMEDIATE = "headrace_immediate"
_NEXT_CHANGE = update(store_change).values(number=store_change.c.number + 1)

Listener = Callable[[int], None]


class StoreError(Exception):
    """The store cannot be used as asked; the message says why, for an operator."""


class StoreNotReadyError(StoreError):
    """There is no store yet, or its tables have not been brought up to this version yet: try again soon."""


class StoreTooNewError(StoreError):
    """The store was written by a newer version of Headrace."""


def change_number(connection: Connection) -> int:
    """The change number that belongs to what `connection`'s transaction sees.

    Inside `Database.write` it is the number that the write will have once committed.
    """
    return int(connection.execute(select(store_change.c.number)).scalar_one())


class Database:
    """The store's file. Thread-safe. Make one with `Database.open` and end it with `close`."""

    def __init__(self, path: Path, engine: Engine, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._engine = engine
        self._writer = threading.Lock()
        self._owner: int | None = None
        self._listeners: tuple[Listener, ...] = ()

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, wait_seconds: float = 0.0) -> Database:
        """Open the store at `path`.

        For writing, the file is made if absent (mode 0600); call `migrate` before anything else.
        With `read_only` the store must exist and be migrated: it is waited for up to `wait_seconds`.

        Raises `StoreNotReadyError`, `StoreTooNewError`, or `StoreError` when SQLite refuses the file.
        """
        if not read_only:
            return cls._open_writer(path)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return cls._open_reader(path)
            except StoreNotReadyError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.05)

    @classmethod
    def _open_writer(cls, path: Path) -> Database:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            RealDisk().sync_dir(path.parent, "store.create")
        path.chmod(0o600)
        database = cls(path, _engine(path, "rwc"), read_only=False)
        try:
            with database._engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                mode = driver.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except (DatabaseError, sqlite3.Error) as error:
            database.close()
            raise StoreError(f"the store {path} cannot be opened: {_reason(error)}") from error
        if mode != "wal":
            database.close()
            raise StoreError(f"the file system of {path} does not support SQLite's write-ahead log")
        return database

    @classmethod
    def _open_reader(cls, path: Path) -> Database:
        if not path.exists():
            raise StoreNotReadyError(f"there is no store at {path} yet")
        database = cls(path, _engine(path, "ro"), read_only=True)
        try:
            database.require_ready()
        except BaseException:
            database.close()
            raise
        return database

    def migrate(self) -> None:
        """Bring the tables up to this version, in one transaction. Idempotent.

        Raises `StoreTooNewError` when a newer version of Headrace wrote them, `StoreError` when SQLite refuses.
        """
        self._require_writable()
        try:
            with self._writer, self._connect(immediate=True) as connection, connection.begin():
                self._require_known(connection)
                migrate.upgrade(connection)
        except DatabaseError as error:
            raise StoreError(
                f"the store {self.path} cannot be brought up to this version: {_reason(error)}"
            ) from error

    def require_ready(self) -> None:
        """Raise `StoreNotReadyError` or `StoreTooNewError` unless the tables are exactly this version's."""
        try:
            with self._connect(immediate=False) as connection, connection.begin():
                self._require_known(connection)
                current = migrate.current(connection)
        except OperationalError as error:
            raise StoreNotReadyError(f"the store {self.path} cannot be read yet: {_reason(error)}") from error
        except DatabaseError as error:
            raise StoreError(f"the store {self.path} cannot be read: {_reason(error)}") from error
        if current != migrate.head():
            raise StoreNotReadyError(f"the store {self.path} has not been brought up to this version yet")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose reads all see one committed state; what it might write is rolled back."""
        with self._connect(immediate=False) as connection:
            transaction = connection.begin()
            try:
                yield connection
            finally:
                transaction.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection for one write transaction, committed and on disk when the block ends well.

        The change number is raised in the same transaction and listeners are told after the commit. An
        exception from the block rolls everything back. Blocks do not nest (`RuntimeError`). Raises
        `StoreError` when another process keeps the store locked, or the disk is full or broken.
        """
        with self._exclusive() as connection, connection.begin():
            connection.execute(_NEXT_CHANGE)
            number = change_number(connection)
            yield connection
        for listener in self._listeners:
            listener(number)

    @contextmanager
    def rehearsal(self) -> Iterator[Connection]:
        """A connection for a write transaction that is always rolled back: to see what it would do.

        It keeps other writers out as long as the block runs. Blocks do not nest. Raises as `write` does.
        """
        with self._exclusive() as connection:
            transaction = connection.begin()
            try:
                connection.execute(_NEXT_CHANGE)
                yield connection
            finally:
                transaction.rollback()

    @contextmanager
    def _exclusive(self) -> Iterator[Connection]:
        """A connection that may begin a write; all other writers wait. Raises as `write` does."""
        self._require_writable()
        if self._owner == threading.get_ident():
            raise RuntimeError("a write transaction is already open in this thread")
        with self._writer:
            self._owner = threading.get_ident()
            try:
                with self._connect(immediate=True) as connection:
                    yield connection
            except OperationalError as error:
                raise StoreError(f"the store cannot be written now: {_reason(error)}") from error
            finally:
                self._owner = None

    def change(self) -> int:
        """The number of the newest committed change."""
        with self.read() as connection:
            return change_number(connection)

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called with the change number after each commit of this process.

        It is called in the writing thread, must be quick and must not raise; numbers of writes that end
        together may arrive out of order. Returns a function that ends it.
        """
        self._listeners = (*self._listeners, listener)

        def remove() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

        return remove

    def close(self) -> None:
        """Give up all connections."""
        self._engine.dispose()

    def _connect(self, *, immediate: bool) -> Connection:
        return self._engine.connect().execution_options(**{_IMMEDIATE: immediate})

    def _require_writable(self) -> None:
        if self.read_only:
            raise RuntimeError("this store was opened for reading")

    def _require_known(self, connection: Connection) -> None:
        current = migrate.current(connection)
        if current is not None and not migrate.is_known(current):
            raise StoreTooNewError(
                f"the store {self.path} has revision {current[:40]}, which this version of Headrace does not"
                " know: start the newer version that wrote it"
            )


def _engine(path: Path, mode: str) -> Engine:
    address = f"file:{quote(str(path.absolute()))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in ("synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF"):
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = create_engine(
        "sqlite+pysqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=24,
        hide_parameters=True,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)
