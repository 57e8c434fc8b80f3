"""Files that are being made: whole at the end, or gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def fresh_files() -> Iterator[list[Path]]:
    """Files that are made within the context, to be put into the list before they are begun.

    When it fails they are removed: on a full disk they would take the room that the next try needs.
    """
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.unlink()
        raise
