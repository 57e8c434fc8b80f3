"""What all of the engine stands on: the store, its feed of changes, and the catalog made of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from headrace.app.control import refreshing
from headrace.arm.kinds.tables import ensure_standard
from headrace.arm.views import CatalogLoader, load_rule
from headrace.catalog.model import Catalog
from headrace.catalog.rules import Rule
from headrace.clock import Clock, SystemClock
from headrace.data_folder import DataFolder
from headrace.disk import Disk, RealDisk
from headrace.process import ProcessConfig
from headrace.settings import Settings
from headrace.store.database import Database, StoreError
from headrace.store.feed import FeedServer
from headrace.store.live import LiveView
from headrace.transform.model import RuleSource
from headrace.transform.own_rule import with_own_rules

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ground:
    """Configuration, time, disk, store and catalog of the engine.

    `rules` gives any kept version of a rule. `make_table` stores the standard table of a workspace, by its customer
    id, that rows are about to go into.
    """

    config: ProcessConfig
    folder: DataFolder
    clock: Clock
    disk: Disk
    database: Database
    feed: FeedServer
    catalog: LiveView[Catalog]
    rules: RuleSource
    make_table: Callable[[str, str], None]

    @property
    def settings(self) -> Settings:
        """All settings."""
        return self.config.settings


async def open_ground(config: ProcessConfig, stack: contextlib.AsyncExitStack) -> Ground:
    """Open the store and its feed, which `stack` closes."""
    folder, clock = DataFolder(config.settings.data_dir), SystemClock()
    database = Database.open(folder.store)
    stack.callback(database.close)
    feed = FeedServer(folder.socket("feed"), database)
    await feed.start()
    stack.push_async_callback(feed.close)
    catalog = LiveView(database, CatalogLoader(), clock=clock)
    database.on_change(refreshing(catalog))
    rules = with_own_rules(_rule_source(database), catalog)
    make_table = _table_maker(database, clock)
    return Ground(config, folder, clock, RealDisk(), database, feed, catalog, rules, make_table)


def _rule_source(database: Database) -> Callable[[str, int], Rule]:
    def load(immutable_id: str, version: int) -> Rule:
        with database.read() as connection:
            return load_rule(connection, immutable_id, version)

    return load


def _table_maker(database: Database, clock: Clock) -> Callable[[str, str], None]:
    """Stores a standard table before the first rows that no rule asked for go into it."""
    made: set[tuple[str, str]] = set()

    def make(customer_id: str, name: str) -> None:
        if (customer_id, name) in made:
            return
        try:
            with database.write() as connection:
                ensure_standard(connection, customer_id, name, clock.now())
        except StoreError as error:
            # Its columns are today's either way; the next rows try again.
            _log.warning("table %s is not stored yet: %s", name, error)
            return
        made.add((customer_id, name))

    return make
