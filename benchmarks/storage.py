"""Bytes on disk for each row: as JSON, as gzip, as the pipeline publishes it, and after compaction.

    python -m benchmarks.storage --megabytes 24

Every row is distinct, unlike those of `benchmarks.ingest`, whose bodies repeat most of their rows. A batch is what one
run of a transform takes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from isal import isal_zlib
from rich.console import Console
from rich.table import Table
from tests.transform_kit import make_flow, make_rule, make_table

from benchmarks.bodies import SHAPES, BodyMaker
from benchmarks.pipeline import kinds
from headrace.settings import TransformSettings
from headrace.tables.concat import concatenate
from headrace.tables.rewrite import Rewriter
from headrace.transform.compile import LiveFlow, compile_flow
from headrace.transform.run import Body, Engine, batch_table

_BODY = 64 * 1024
_BATCH = 12 * 1024 * 1024


def run(shape_name: str, megabytes: float) -> dict[str, float]:
    """Bytes for each stored row, by form."""
    shape = SHAPES[shape_name]
    rule = make_rule(make_flow(transform=shape.transform), columns=kinds(shape.columns))
    live = compile_flow(rule, rule.flows[0], make_table(columns=kinds(shape.output)), TransformSettings())
    now = datetime.now(UTC)
    rows = raw = zipped = 0
    bodies: list[Body] = []
    for seed in range(round(megabytes * 1e6 / _BODY)):
        maker = BodyMaker(shape_name, _BODY, now.isoformat(), seed)
        packed = maker.make(seed)
        received = int(now.timestamp() * 1e6) + seed * 1000
        bodies.append(Body(seed, received, isal_zlib.decompress(packed, 31), "journal/rule/0", 1))
        rows += maker.kept_rows
        raw += maker.json_bytes
        zipped += len(packed)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        files = _publish(live, bodies, folder)
        (copied,) = concatenate(files, folder)
        rewriter = Rewriter(folder)
        dense, ordered = (rewriter.join([copied], folder, in_order=in_order) for in_order in (True, False))
        rewriter.close()
        sizes = {
            "raw_json": raw,
            "gzip": zipped,
            "published": sum(file.stat().st_size for file in files),
            "committed": copied.stat().st_size,
            "compacted": dense.stat().st_size,
            "compacted_and_sorted": ordered.stat().st_size,
        }
    return {"rows": rows, **{form: round(size / rows, 1) for form, size in sizes.items()}}


def _publish(live: LiveFlow, bodies: list[Body], folder: Path) -> list[Path]:
    engine = Engine(folder, "512MB")
    files: list[Path] = []
    with engine.session() as session:
        step = _BATCH // _BODY
        for first in range(0, len(bodies), step):
            files.append(folder / f"{first}.parquet")
            session.run(live, batch_table(bodies[first : first + step]), files[-1])
    engine.close()
    return files


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=24)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    figures = {shape: run(shape, options.megabytes) for shape in SHAPES}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    table = Table("bytes a row", *figures)
    for name in next(iter(figures.values())):
        table.add_row(name, *(str(one[name]) for one in figures.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
