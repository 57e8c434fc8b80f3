"""Lowerings of declared functions to the engine's SQL, one module a family.

Importing this package registers all of them; `calls` is what the compiler uses.
"""

from __future__ import annotations

from headrace.kql.sql.functions import (  # noqa: F401
    aggregates,
    conditional,
    convert,
    datetimes,
    dynamics,
    matching,
    mathematics,
    network,
    operators,
    python_families,
    sketches,
    special,
    strings,
    windows,
)
