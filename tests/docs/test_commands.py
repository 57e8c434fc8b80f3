"""Every command and every program of the documentation is run, in order, as a reader would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import ServerProcess, running_server

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
AZ = os.environ.get("HEADRACE_TEST_AZ") or shutil.which("az")
FLUENT_BIT = os.environ.get("HEADRACE_TEST_FLUENT_BIT") or shutil.which("fluent-bit")
NODE_MODULES = os.environ.get("HEADRACE_TEST_NODE_MODULES") if shutil.which("node") else None
NO_AZ = "there is no az on PATH, and HEADRACE_TEST_AZ names none"
NEEDS: dict[str, tuple[str | None, str]] = {
    "azure-cli.md": (AZ, NO_AZ),
    "templates.md": (AZ, NO_AZ),
    "certificate.md": (shutil.which("curl"), "there is no curl here"),
    "certificates.md": (shutil.which("openssl"), "there is no openssl here"),
    "fluent-bit.md": (FLUENT_BIT, "there is no fluent-bit on PATH, and HEADRACE_TEST_FLUENT_BIT names none"),
    "javascript.md": (
        NODE_MODULES,
        "there is no node on PATH, or HEADRACE_TEST_NODE_MODULES names no folder with Azure's packages",
    ),
    "other-senders.md": (shutil.which("curl"), "there is no curl here"),
    "syslog-ng.md": (shutil.which("syslog-ng"), "there is no syslog-ng here"),
}
"""What pages need beside Headrace, and what is said where it is missing."""
PAGES = [
    "README.md",
    "docs/tutorial.md",
    *sorted(
        f"docs/how-to/{path.name}"
        for path in ROOT.glob("docs/how-to/*.md")
        if re.search(r"^```(bash|python)$", path.read_text("utf-8"), re.MULTILINE)
    ),
]
"""Pages that have something to run."""
_BLOCK = re.compile(
    r"(?:`(?P<file>[\w.-]+)`:\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
# What has been done before the documentation's commands run: the server is up and the clients are installed.
_DONE_BEFORE = (
    "make up",
    "make test",
    "pip install",
    "npm install",
    "apt install",
    'eval "$(.venv/bin/headrace env)"',
)


def program(path: Path) -> str:
    """A page as one program: its Python as it is, its shell commands run, its files written, all in order."""
    parts = ["import pathlib as _pathlib, subprocess as _subprocess"]
    for block in _BLOCK.finditer(path.read_text("utf-8")):
        if block["file"]:
            parts.append(f"_pathlib.Path({block['file']!r}).write_text({block['text']!r})")
        elif block["language"] == "python":
            parts.append(block["text"])
        elif block["language"] == "bash":
            lines = block["text"].replace("\\\n", " ").splitlines()
            script = "\n".join(line for line in lines if not line.startswith(_DONE_BEFORE))
            if script.strip():
                script = script.replace(".venv/bin/", "")
                parts.append(f"_subprocess.run(['bash', '-euc', {script!r}], check=True)")
    return "\n".join(parts)


def run(command: list[str], env: dict[str, str], folder: Path = ROOT, text: str | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=env, input=text, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(server: ServerProcess) -> dict[str, str]:
    folders = [str(Path(tool).parent) for tool in (sys.executable, AZ, FLUENT_BIT) if tool]
    return {
        "PATH": ":".join([*folders, os.environ["PATH"]]),
        "HOME": os.environ["HOME"],
        **server.env,
    }


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server that a reader of the pages has; it commits sooner than after a minute.

    Its token endpoint is served over plain HTTP too, as one page asks for.
    """
    folder = tmp_path_factory.mktemp("reader")
    variables = {"HEADRACE_TABLES_COMMIT_SECONDS": "1", "HEADRACE_SERVER_HTTP_AUTHORITY": "0"}
    with running_server(folder, "--ephemeral", "--port", "0", "--quiet", variables=variables) as running:
        env = environment(running)
        run(
            ["headrace", "send", "-", "--quiet"],
            env,
            text='{"Computer": "web-9", "Message": "before the pages"}',
        )
        yield running


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(reader: ServerProcess, page: str, tmp_path: Path) -> None:
    tool, missing = NEEDS.get(Path(page).name, ("", ""))
    if tool is None:
        pytest.skip(missing)
    if NODE_MODULES is not None:
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    text = program(ROOT / page)
    assert "\n" in text
    run([sys.executable, "-c", text], environment(reader) | azure_cli(tmp_path), tmp_path)


def azure_cli(folder: Path) -> dict[str, str]:
    """What a page exports for `az` in its first block, for the later ones too."""
    return {
        "AZURE_CONFIG_DIR": str(folder / "az"),
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
    }


def test_the_readmes_row_comes_back(reader: ServerProcess) -> None:
    env = environment(reader)
    run([sys.executable, "-c", program(ROOT / "README.md")], env)
    query = "HeadraceSample_CL | where Message == 'hello' and Computer == 'web-1' | take 1"
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


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for path in (ROOT / "docs").rglob("*.md"):
        name = str(path.relative_to(ROOT / "docs"))
        assert f"]({name})" in index or name in ("index.md", "performance.md"), f"docs/index.md lacks {name}"
