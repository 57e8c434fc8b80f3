"""Makes `standard_tables.json` from a list of standard tables: `python -m headrace.catalog.data.make LIST`.

The list has the form `{"tables": {name: {"columns": [[name, type], ...], "logs_ingestion": bool | null}}}`.
The package data has one line a table, so that a change reads well:
`"Syslog": [true, "TimeGenerated datetime,..."]`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("standard_tables.json")


def compact(tables: Mapping[str, Any]) -> str:
    """The package data's text; TimeGenerated is added where a table's list lacks it."""
    lines = []
    for name in sorted(tables):
        table = tables[name]
        columns = [(str(column), str(kind)) for column, kind in table["columns"]]
        if "TimeGenerated" not in {column for column, _ in columns}:
            columns.insert(0, ("TimeGenerated", "datetime"))
        text = ",".join(f"{column} {kind}" for column, kind in columns)
        lines.append(f"{json.dumps(name)}: {json.dumps([table['logs_ingestion'], text])}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(source: str) -> None:
    """Write the package data."""
    document = json.loads(Path(source).read_text(encoding="utf-8"))
    TARGET.write_text(compact(document["tables"]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
