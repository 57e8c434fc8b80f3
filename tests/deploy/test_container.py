"""The image, built and run by a real container engine with everything taken away that it should do without.

It needs docker or podman and a base image, which the engine may fetch. HEADRACE_TEST_CONTAINERS names another engine,
and HEADRACE_TEST_BUILD_OPTIONS what its `build` needs here, such as `--build-arg BASE=...`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.deploy.dockerfile import ROOT

ENGINE = os.environ.get("HEADRACE_TEST_CONTAINERS") or shutil.which("docker") or shutil.which("podman")
BUILD_OPTIONS = shlex.split(os.environ.get("HEADRACE_TEST_BUILD_OPTIONS", ""))
RESTRICTED = (
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=1g",
    "--cpus=1",
)
FORBIDDEN = ("io_setup", "io_submit", "io_uring_setup", "memfd_create", "sched_setaffinity")
"""What some clusters do not let containers do, and Linux lets a server of its own."""


def engine(*arguments: str, seconds: float = 120) -> str:
    """What the engine prints. Fails with its words."""
    assert ENGINE is not None
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def missing() -> str | None:
    """Why there can be no containers here."""
    if ENGINE is None:
        return "there is no docker or podman on PATH, and HEADRACE_TEST_CONTAINERS names none"
    done = subprocess.run([ENGINE, "info"], capture_output=True, text=True, timeout=60, check=False)
    lines = (done.stderr or done.stdout).strip().splitlines() or [""]
    return f"{ENGINE} cannot run containers: {lines[-1]}" if done.returncode else None


MISSING = missing()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(MISSING is not None, reason=MISSING or ""),
]


@pytest.fixture(scope="module")
def image() -> str:
    engine("build", *BUILD_OPTIONS, "--tag", "headrace-test", str(ROOT), seconds=1500)
    return "headrace-test"


@dataclass(frozen=True)
class Container:
    name: str

    def run(self, *command: str, seconds: float = 120) -> str:
        """What a command prints that runs beside the server."""
        return engine("exec", self.name, *command, seconds=seconds)

    def shell(self, script: str) -> str:
        return self.run("sh", "-euc", script)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 170
        while True:
            try:
                self.run("python", "-m", "headrace.probe")
            except AssertionError:
                assert time.monotonic() < deadline, engine("logs", self.name)
                time.sleep(0.5)
            else:
                return

    def stop(self) -> int:
        """SIGTERM, and the exit code; 137 is that of one that took no notice."""
        engine("stop", "-t", "100", self.name)
        return int(engine("inspect", "--format={{.State.ExitCode}}", self.name))


@contextmanager
def started(image: str, *options: str, command: Sequence[str] = ()) -> Iterator[Container]:
    container = Container(f"headrace-test-{uuid.uuid4().hex[:8]}")
    try:
        engine("run", "--detach", f"--name={container.name}", *options, image, *command)
        yield container
    finally:
        engine("rm", "--force", "--volumes", container.name)


@pytest.fixture(scope="module")
def restricted(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A server with next to no rights, in little memory, under a system call filter."""
    profile = tmp_path_factory.mktemp("profile") / "seccomp.json"
    rule = {"names": FORBIDDEN, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    with started(image, *RESTRICTED, f"--security-opt=seccomp={profile}") as container:
        container.wait_until_ready()
        yield container


def test_nothing_that_builds_came_along(restricted: Container) -> None:
    found = restricted.shell("ls /opt/headrace/bin; ls /opt/headrace/lib/python3*/site-packages")
    assert "headrace" in found.split()
    assert not {"pip", "setuptools", "hatchling"} & set(found.split())


def test_the_doctor_finds_nothing_bad(restricted: Container) -> None:
    assert "is ready" in restricted.run("headrace", "doctor")


def test_defaults_are_those_for_its_memory(restricted: Container) -> None:
    settings = {
        one["setting"]: one for one in json.loads(restricted.run("headrace", "settings", "-o", "json"))
    }
    assert settings["query.memory_limit"]["value"] == "250MB"
    assert settings["query.memory_limit"]["from"] == "1.0 GiB of memory"


def test_orphans_are_waited_for(restricted: Container) -> None:
    restricted.shell("(sleep 0.2) & exit 0")
    deadline = time.monotonic() + 30
    while "Z" in (states := restricted.shell("cut -d ' ' -f 3 /proc/[0-9]*/stat 2>&1")):
        assert time.monotonic() < deadline, states
        time.sleep(0.2)


def test_rows_outlive_the_container(image: str, tmp_path: Path) -> None:
    """What was accepted is there after a stop and a start on the same volume."""
    volume = f"headrace-test-{uuid.uuid4().hex[:8]}"
    query = "HeadraceSample_CL | where Message == 'kept' | count"
    try:
        with started(image, *RESTRICTED, f"--volume={volume}:/data") as first:
            first.wait_until_ready()
            first.shell('echo \'{"Message": "kept"}\' | headrace send - --quiet')
            assert first.stop() == 0
        with started(image, *RESTRICTED, f"--volume={volume}:/data") as second:
            second.wait_until_ready()
            deadline = time.monotonic() + 60
            while second.run("headrace", "query", query, "--output", "csv").split() != ["Count", "1"]:
                assert time.monotonic() < deadline
            assert second.stop() == 0
    finally:
        engine("volume", "rm", "--force", volume)


def test_a_restricted_server_takes_and_shows_rows(restricted: Container) -> None:
    restricted.shell('echo \'{"Message": "restricted"}\' | headrace send - --quiet')
    query = "HeadraceSample_CL | where Message == 'restricted' | count"
    deadline = time.monotonic() + 60
    while restricted.run("headrace", "query", query, "--output", "csv").split() != ["Count", "1"]:
        assert time.monotonic() < deadline


def test_a_container_beside_it_has_what_it_needs(image: str, restricted: Container, tmp_path: Path) -> None:
    """The lines of `headrace env` are all that a client in another container is given."""
    lines = restricted.run("headrace", "env", "--url", "https://127.0.0.1:8443", "--certificates", "/tmp/tls")
    (tmp_path / "headrace.env").write_text(lines)
    tmp_path.chmod(0o755)
    asked = engine(
        "run",
        "--rm",
        f"--network=container:{restricted.name}",
        f"--volume={tmp_path}/headrace.env:/headrace.env:ro",
        "--entrypoint=sh",
        image,
        "-euc",
        ". /headrace.env; headrace query 'print Answer = 6 * 7' --output csv",
    )
    assert asked.split() == ["Answer", "42"]


def test_parts_in_containers_of_their_own_share_a_volume(image: str) -> None:
    volume = f"headrace-test-{uuid.uuid4().hex[:8]}"
    try:
        with ExitStack() as stack:
            pipeline, query, gateway = (
                stack.enter_context(
                    started(image, *RESTRICTED, f"--volume={volume}:/data", command=("serve", "--role", role))
                )
                for role in ("pipeline", "query", "gateway")
            )
            gateway.wait_until_ready()
            gateway.shell('echo \'{"Message": "parts"}\' | headrace send - --quiet')
            deadline = time.monotonic() + 60
            ask = ("headrace", "query", "HeadraceSample_CL | count", "--output", "csv")
            while gateway.run(*ask).split() != ["Count", "1"]:
                assert time.monotonic() < deadline
            assert [one.stop() for one in (gateway, query, pipeline)] == [0, 0, 0]
    finally:
        engine("volume", "rm", "--force", volume)


def test_a_stop_at_once_is_heard(image: str) -> None:
    with started(image, *RESTRICTED) as container:
        assert container.stop() != 137


def test_a_volume_of_somebody_elses_is_told_in_one_line(image: str) -> None:
    assert ENGINE is not None
    command = [ENGINE, "run", "--rm", *RESTRICTED, "--user=4321:4321", image]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "/data" in done.stderr
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
