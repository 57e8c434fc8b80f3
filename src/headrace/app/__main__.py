"""A child of the supervisor. Each role loads only its own parts: it starts sooner and stays smaller.

The arguments only tell a reader of the process list which is which; standard input holds the configuration.
"""

from __future__ import annotations

import sys

from headrace.journal.model import JournalFormatError
from headrace.process import ProcessConfig, RoleMain, run_child
from headrace.store.database import StoreError


def load(config: ProcessConfig) -> RoleMain:
    """The role's main function."""
    if config.role == "gateway":
        from headrace.app.gateway import run_gateway

        return run_gateway
    if config.role == "query":
        from headrace.app.query import run_query

        return run_query
    from headrace.app.engine import run_engine

    return run_engine


if __name__ == "__main__":
    sys.exit(run_child(load, (OSError, StoreError, JournalFormatError)))
