"""Alembic, run inside the process on a connection that is handed in; no ini file, no logging set up."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from headrace.store.metadata import metadata

FOLDER = Path(__file__).parent / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for the store's migrations."""
    result = Config()
    result.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    result.attributes["connection"] = connection
    result.attributes["metadata"] = metadata
    return result


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())


def head() -> str:
    """The newest revision that this version of Headrace has."""
    newest = _scripts().get_current_head()
    assert newest is not None
    return newest


def is_known(revision: str) -> bool:
    """Whether this version of Headrace has the revision."""
    return any(script.revision == revision for script in _scripts().walk_revisions())


def current(connection: Connection) -> str | None:
    """The revision that the store is at; None when no migration has run."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the missing migrations inside the transaction of `connection`."""
    command.upgrade(config(connection), revision)
