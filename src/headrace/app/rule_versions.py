"""Forgets versions of rules that nothing needs any more.

A record in a journal keeps the version that it was accepted under until its rows are durable. So a version goes once
it was replaced long ago, and every journal has settled all that it held after that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from headrace.arm.store import prune_rule_versions, superseded_rule_versions
from headrace.clock import HOUR, Clock
from headrace.journal.model import JournalReader
from headrace.store.database import Database, StoreError
from headrace.transform.checkpoint import Checkpoints

_log = logging.getLogger(__name__)

GRACE = HOUR
"""How long ago a version must have been replaced, in microseconds.

A gateway may accept records under it for some seconds more, and a slow client's come to the journal later still.
"""


class RuleVersionPruner:
    """`readers` gives the journals of the moment by id; they must be used by nobody else."""

    def __init__(
        self,
        database: Database,
        checkpoints: Checkpoints,
        readers: Callable[[], Mapping[str, JournalReader]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._checkpoints = checkpoints
        self._readers = readers
        self._clock = clock
        self._due: Sequence[tuple[str, int]] = ()
        self._ends: Mapping[str, int] = {}

    def look(self) -> int:
        """Forget what can be forgotten; answers how many versions. Call it now and then."""
        if not self._due:
            with self._database.read() as connection:
                self._due = superseded_rule_versions(connection, self._clock.now() - GRACE)
            if not self._due:
                return 0
            # No record that comes after these ends was accepted under what is due.
            self._ends = {key: reader.end() for key, reader in self._readers().items()}
        if any(self._checkpoints.load(key).watermark < end for key, end in self._ends.items()):
            return 0
        due, self._due = self._due, ()
        try:
            with self._database.write() as connection:
                return sum(prune_rule_versions(connection, rule, below) for rule, below in due)
        except StoreError as error:
            _log.warning("old versions of rules are not forgotten yet: %s", error)
            return 0
