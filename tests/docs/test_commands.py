"""Every command and every program of the documentation is run, in order, as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.servers import ServerProcess

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# What has been done before the documentation's commands run: the server is up and the clients are installed.
_DONE_BEFORE = ("make up", "make test", "pip install", 'eval "$(.venv/bin/headrace env)"')


@dataclass(frozen=True)
class Page:
    programs: str
    commands: list[str]


def read(path: Path) -> Page:
    """A page's Python blocks as one program, and its shell commands one by one."""
    programs: list[str] = []
    commands: list[str] = []
    for block in _BLOCK.finditer(path.read_text("utf-8")):
        if block["language"] == "python":
            programs.append(block["text"])
        elif block["language"] == "bash":
            joined = block["text"].replace("\\\n", " ")
            commands += [line for line in joined.splitlines() if line and not line.startswith(_DONE_BEFORE)]
    return Page("\n".join(programs), commands)


def run(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(server: ServerProcess) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        **server.env,
    }


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_a_page_does_what_it_says(server: ServerProcess, page: str) -> None:
    found = read(ROOT / page)
    env = environment(server)
    assert found.programs and found.commands
    run([sys.executable, "-c", found.programs], env)
    for command in found.commands:
        run(["bash", "-ec", command.replace(".venv/bin/", "")], env)


def test_the_readmes_row_comes_back(server: ServerProcess) -> None:
    env = environment(server)
    run([sys.executable, "-c", read(ROOT / "README.md").programs], env)
    query = "HeadraceSample_CL | where Message == 'hello' | project Computer, Message | take 1"
    deadline = time.monotonic() + 30
    while '"Computer": "web-1"' not in run(["headrace", "query", query, "--output", "json"], env):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_links_of_the_documentation_lead_somewhere() -> None:
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


def test_make_up_is_ready_with_the_env_file(tmp_path: Path) -> None:
    """The README's first command, as the Makefile has it."""
    env_file = tmp_path / "headrace.env"
    arguments = f"--ephemeral --port 0 --env-file {env_file}"
    process = subprocess.Popen(
        ["make", "up", f"ARGS={arguments}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not env_file.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert env_file.exists(), output
    assert "Headrace is ready" in output and "LogsIngestionClient" in output
