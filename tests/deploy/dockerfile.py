"""The Dockerfile as its stages of instructions."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """What stands from one FROM to the next, in order."""

    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.instructions if name == instruction]

    def one(self, instruction: str) -> str:
        (found,) = self.all(instruction)
        return found

    def words(self, instruction: str) -> list[str]:
        """The words of an instruction in its form without a shell."""
        found = json.loads(self.one(instruction))
        assert isinstance(found, list)
        return found

    def pairs(self, instruction: str) -> dict[str, str]:
        """What ENV or LABEL sets."""
        return dict(word.split("=", 1) for text in self.all(instruction) for word in shlex.split(text))


def stages() -> list[Stage]:
    """All of them; the last is the image."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append(Stage(rest.rpartition(" AS ")[2] if " AS " in rest else ""))
        elif name and found:
            found[-1].instructions.append((name, rest.strip()))
    return found
