"""The Dockerfile, the compose file and the Kubernetes manifests agree with the settings, the command and each other."""

from __future__ import annotations

import json
import re
import ssl
import tomllib
import urllib.request
from typing import Any

import pytest
import yaml
from tests.deploy.dockerfile import ROOT, Stage, stages
from tests.servers import ServerProcess
from typer.main import get_command

from headrace.cli.main import app
from headrace.cli.variables import unknown_variables
from headrace.settings import load_settings
from headrace.supervisor import STOP_ORDER, STOP_SECONDS

COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SERVICE = COMPOSE["services"]["headrace"]
MANIFESTS = {
    one["kind"]: one for one in yaml.safe_load_all((ROOT / "deploy/kubernetes/headrace.yaml").read_text())
}
POD = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]
LONGEST_STOP = len(STOP_ORDER) * STOP_SECONDS


def image() -> Stage:
    return stages()[-1]


def environment() -> dict[str, str]:
    """Headrace's variables in the image."""
    return {name: text for name, text in image().pairs("ENV").items() if name.startswith("HEADRACE_")}


def pod_environment() -> dict[str, str]:
    (container,) = POD["containers"]
    given = {
        one["name"]: one["value"].replace("$(NAMESPACE)", "logs")
        for one in container["env"]
        if "value" in one
    }
    return {**environment(), **MANIFESTS["ConfigMap"]["data"], **given}


def test_the_image_is_made_of_what_is_locked() -> None:
    build = stages()[0]
    (lock, source) = build.all("RUN")[1:]
    assert "--require-hashes" in lock
    assert "--requirement requirements/runtime.lock" in re.sub(r"\s+", " ", lock)
    assert "--no-deps --no-build-isolation ." in source


def test_what_the_image_is_built_from_is_sent_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = [text.split()[:-1] for text in stages()[0].all("COPY")]
    assert "*" in lines
    assert {name for names in copied for name in names} == sent
    assert all((ROOT / name).exists() for name in sent)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["readme"] in sent


def test_nothing_that_builds_is_in_the_image() -> None:
    assert len(stages()) == 2
    assert not re.search(r"pip|apt|gcc|make\b", " ".join(image().all("RUN")))
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    removed = stages()[0].all("RUN")[-1].rpartition("uninstall --yes ")[2].split()
    assert {*groups["build"], "pip", "setuptools"} == set(removed)


def test_the_image_runs_the_command_as_nobody_else() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (command,) = image().words("ENTRYPOINT")
    assert command in scripts
    assert image().words("CMD")[0] in getattr(get_command(app), "commands")  # noqa: B009
    user, _, group = image().one("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    (accounts,) = image().all("RUN")
    assert f"--uid {user}" in accounts
    assert f"--gid {group}" in accounts


def test_the_images_port_folder_and_signal_are_the_servers() -> None:
    settings = load_settings({}, environment()).settings
    assert image().one("EXPOSE") == str(settings.server.port)
    assert image().one("VOLUME") == str(settings.data_dir)
    assert settings.server.host == "0.0.0.0"
    assert image().one("STOPSIGNAL") == "SIGTERM"
    assert list(unknown_variables(environment())) == []


def test_the_health_checks_are_the_probe() -> None:
    check = image().one("HEALTHCHECK").partition(" CMD ")[2]
    assert json.loads(check) == ["python", "-m", "headrace.probe"]
    assert SERVICE["healthcheck"]["test"] == ["CMD", *json.loads(check)]


def test_the_compose_file_serves_this_machine_alone() -> None:
    port = load_settings({}, environment()).settings.server.port
    assert SERVICE["ports"] == [f"127.0.0.1:{port}:{port}"]
    variables = {**environment(), **SERVICE["environment"]}
    assert list(unknown_variables(variables)) == []
    assert load_settings({}, variables).settings.server.names == ("headrace",)
    (volume,) = SERVICE["volumes"]
    name, _, folder = volume.partition(":")
    assert name in COMPOSE["volumes"]
    assert folder == image().one("VOLUME")
    assert (ROOT / "deploy" / SERVICE["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"


def test_a_stop_is_waited_for() -> None:
    minutes = re.fullmatch(r"(\d+)m", SERVICE["stop_grace_period"])
    assert minutes is not None
    assert int(minutes[1]) * 60 > LONGEST_STOP
    (container,) = POD["containers"]
    first = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > first + LONGEST_STOP


def test_the_pods_variables_are_settings() -> None:
    assert list(unknown_variables(pod_environment())) == []
    names = load_settings({}, pod_environment()).settings.server.names
    assert names == ("headrace", "headrace.logs", "headrace.logs.svc", "headrace.logs.svc.cluster.local")
    assert {name.partition(".")[0] for name in names} == {MANIFESTS["Service"]["metadata"]["name"]}


def test_the_service_reaches_the_pods_port() -> None:
    (container,) = POD["containers"]
    (port,) = container["ports"]
    (published,) = MANIFESTS["Service"]["spec"]["ports"]
    assert port["containerPort"] == published["port"] == load_settings({}, environment()).settings.server.port
    assert published["targetPort"] == port["name"]
    labels = MANIFESTS["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    assert MANIFESTS["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["StatefulSet"]["spec"]["serviceName"] == MANIFESTS["Service"]["metadata"]["name"]


def test_the_pod_may_do_no_more_than_it_must() -> None:
    user, _, group = image().one("USER").partition(":")
    pod: dict[str, Any] = POD["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert (pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]) == (int(user), int(group), int(group))
    (container,) = POD["containers"]
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    (claim,) = MANIFESTS["StatefulSet"]["spec"]["volumeClaimTemplates"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == claim["metadata"]["name"]
    assert mount["mountPath"] == image().one("VOLUME")
    assert MANIFESTS["StatefulSet"]["spec"]["replicas"] == 1


@pytest.mark.server
@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_the_probes_ask_what_the_server_answers(server: ServerProcess, probe: str) -> None:
    (container,) = POD["containers"]
    asked = container[probe]["httpGet"]
    assert asked["scheme"] == "HTTPS"
    assert asked["port"] == container["ports"][0]["name"]
    # The kubelet asks by the pod's address, and does not look at the certificate.
    context = ssl.create_default_context(cafile=server.env["HEADRACE_CA_FILE"])
    request = urllib.request.Request(
        server.env["HEADRACE_ARM_URL"] + asked["path"], headers={"Host": "10.1.2.3:8443"}
    )
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        assert answer.status == 200
