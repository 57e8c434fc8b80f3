"""Any file of the data folder is damaged while nothing runs: the next start goes on, each row once, and no silence.

A few of the damages by default, all of them with `HEADRACE_CUTS=all` (in `make soak`).
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.transform_kit import RULE, PipelineBench, make_flow, make_rule, make_table, wait_idle

from headrace.tables.model import TableKey
from headrace.tables.reader import TableReader
from headrace.transform.dead_letters import read_letters

THINGS, OTHERS = make_table(), make_table("Others_CL", incarnation="inc-2")
RULES = {(RULE, 1): make_rule(make_flow(0), make_flow(1, table="Others_CL"))}
LETTERS = {(4, 0, 0), (4, 0, 1)}
_DAMAGES = int(os.environ.get("HEADRACE_CUTS", "10").replace("all", "10000"))
_UNIMPORTANT = ("/lock", "/inflated", "/end")
_BROKEN = b'{"Id": 1, "Text": "\xff"}'


def _flip(content: bytes) -> bytes:
    place = random.Random(len(content)).randrange(len(content))
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


DAMAGES: Mapping[str, Callable[[bytes], bytes]] = {
    "a bit flipped": _flip,
    "not utf-8": lambda content: content[: len(content) // 2] + b"\xff" + content[len(content) // 2 + 1 :],
    "half of it": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "nothing": lambda _: b"",
}


def parts(root: Path) -> PipelineBench:
    settings = {"commit_bytes": 1 << 40, "commit_seconds": 3600.0, "checkpoint_commits": 2}
    return PipelineBench(root, RULES, (THINGS, OTHERS), store_settings=settings)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a kill leaves: rows that are committed, published and only accepted, and dead letters."""
    root, image = tmp_path_factory.mktemp("whole") / "data", tmp_path_factory.mktemp("crashed") / "data"
    with parts(root) as bench:
        assert bench.store is not None
        pipeline = bench.pipeline()
        pipeline.start()
        for number in range(4):
            bench.send([{"Id": number}], client=f"call-{number}")
            if number == 3:
                bench.send(b"[" + _BROKEN + b"]", count=1)
            wait_idle(pipeline)
            bench.store.commit_due(everything=True)
        assert bench.store.maintain().failures == ()
        while not [*(root / "checkpoints").glob("*.json")]:
            time.sleep(0.05)
        for number in (5, 6):
            bench.send([{"Id": number}], client=f"call-{number}")
            wait_idle(pipeline)
        shutil.copytree(root, image)
        assert pipeline.stop()
    return image


def files(root: Path) -> list[str]:
    """All of which there is a second copy, or which can be done without: not the files that Delta's log has."""
    reader = TableReader(root / "tables")
    committed: set[Path] = set()
    for table in (THINGS, OTHERS):
        snapshot = reader.pin(table)
        folder = TableKey.of(table).folder(root / "tables")
        committed |= {folder / file.path for file in {*snapshot.files} - {*snapshot.published}}
    found = (path for path in root.rglob("*") if path.is_file() and path not in committed)
    names = sorted(path.relative_to(root).as_posix() for path in found if path.stat().st_size)
    return [name for name in names if not name.endswith(_UNIMPORTANT)]


@pytest.mark.slow
def test_a_damaged_file_costs_no_row_and_is_told(
    crashed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cases = [(name, damage) for name in files(crashed) for damage in DAMAGES]
    random.Random(7).shuffle(cases)
    for number, (name, damage) in enumerate(cases[:_DAMAGES]):
        root = tmp_path / str(number) / "data"
        shutil.copytree(crashed, root)
        path = root / name
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
        caplog.clear()
        with parts(root) as bench:
            bench.send([{"Id": 8}], client="call-8")
            # Sent again, as a client does that lost the answer: of this one there is another in the journal.
            bench.send([{"Id": 6}], client="call-6")
            pipeline = bench.drain()
            for table in (THINGS, OTHERS):
                found = sorted(int(str(row[0])) for row in bench.rows("Id", table=table))
                assert found == [0, 1, 2, 3, 5, 6, 8], (name, damage)
            letters = {(one.offset, one.row, one.flow) for one in read_letters(root / "dead-letters")}
            assert letters <= LETTERS, (name, damage)
            lost = letters != LETTERS and path.stat().st_size and not damage.startswith(("half", "nothing"))
            assert not lost or str(path) in caplog.text, (name, damage)
            damaged = sum(one.damaged for one in pipeline.progress().journals.values())
            assert not damaged or "cannot be read any more" in caplog.text, (name, damage)
