"""Manifests for Kubernetes and the unit of systemd: valid, and in agreement with the program."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from stream_detector.cli import app
from stream_detector.cli.workers import PERMANENT
from stream_detector.settings import DetectSettings, load_settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
UNIT = ROOT / "deploy" / "systemd" / "stream-detector.service"
LABELS = {"app.kubernetes.io/name": "stream-detector"}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    """Return all manifests by their kind."""
    found = {}
    for folder in ("base", "keda", "fill"):
        names = read(KUBERNETES / folder / "kustomization.yaml")["resources"]
        for each in (read(KUBERNETES / folder / name) for name in names if name.endswith(".yaml")):
            found[each["kind"]] = each
    return found


@pytest.fixture
def container(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (found,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.fixture(scope="module")
def settings() -> DetectSettings:
    """Return what the pods are told, by the file and by their environment."""
    lines = (KUBERNETES / "base" / "kafka.env").read_text().splitlines()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (line.split("=", 1) for line in lines):
            patch.setenv(name, value)
        return load_settings(DetectSettings, KUBERNETES / "base" / "detect.toml")


def requires_command(words: list[str]) -> None:
    """Check that a command takes these words."""
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:], resilient_parsing=True).close()
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_manifests_fit_the_published_schemas(manifests: dict[str, dict[str, Any]]) -> None:
    expected = {
        "Deployment",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Pod",
    }
    assert set(manifests) == {*expected, "ScaledObject"}  # whose schema is KEDA's
    for kind in expected:
        kubernetes_validate.validate(manifests[kind], "1.34", strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl on PATH")
@pytest.mark.parametrize(("folder", "n_manifests"), [("base", 6), ("keda", 7)])
def test_kustomize_renders_them(folder: str, n_manifests: int) -> None:
    found = render(folder)
    assert len(found) == n_manifests
    rendered = {each["kind"]: each for each in found}
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    names = {each["name"]: each for each in pod["volumes"]}
    (of_kafka, *_), read_from = pod["containers"][0]["envFrom"], names["settings"]["configMap"]
    made = {each["metadata"]["name"] for each in found if each["kind"] == "ConfigMap"}
    assert made == {read_from["name"], of_kafka["configMapRef"]["name"]}
    assert made.isdisjoint({"stream-detector", "stream-detector-kafka"})  # new with each change
    assert pod["containers"][0]["image"].endswith("/stream-detector:0.1.0")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl on PATH")
def test_keda_looks_at_what_the_pods_read(settings: DetectSettings) -> None:
    (scaled,) = (each for each in render("keda") if each["kind"] == "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    facts = trigger["metadata"]
    assert facts["bootstrapServers"] == settings.bootstrap_servers
    assert (facts["consumerGroup"], facts["topic"]) == (settings.group, settings.input_topic)
    assert all(isinstance(value, str) for value in facts.values())


def render(folder: str) -> list[dict[str, Any]]:
    """Return the manifests that kustomize makes of a folder."""
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def test_a_pod_fills_the_claim_that_the_others_read(
    manifests: dict[str, dict[str, Any]], container: dict[str, Any]
) -> None:
    pod = manifests["Pod"]["spec"]
    reader = manifests["Deployment"]["spec"]["template"]["spec"]
    claims = [
        [each["persistentVolumeClaim"] for each in spec["volumes"] if each["name"] == "bundles"]
        for spec in (pod, reader)
    ]
    name = manifests["PersistentVolumeClaim"]["metadata"]["name"]
    assert claims == [[{"claimName": name}], [{"claimName": name, "readOnly": True}]]
    (filling,) = pod["containers"]
    assert filling["securityContext"] == container["securityContext"]
    assert filling["volumeMounts"] == [{"name": "bundles", "mountPath": "/bundles"}]
    assert container["args"][1].startswith("/bundles/")
    assert pod["securityContext"]["runAsUser"] == reader["securityContext"]["runAsUser"]
    images = [
        read(KUBERNETES / folder / "kustomization.yaml")["images"] for folder in ("base", "fill")
    ]
    assert images[0] == images[1]


def test_all_are_about_the_same_pods(manifests: dict[str, dict[str, Any]]) -> None:
    deployment = manifests["Deployment"]
    assert deployment["spec"]["template"]["metadata"]["labels"] == LABELS
    assert deployment["spec"]["selector"]["matchLabels"] == LABELS
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABELS
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == LABELS
    scaled = manifests["ScaledObject"]["spec"]["scaleTargetRef"]["name"]
    assert scaled == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]


def test_probes_ask_what_they_are_for(container: dict[str, Any], settings: DetectSettings) -> None:
    paths = {
        name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")
    }
    assert paths == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    (port,) = container["ports"]
    assert (port["name"], port["containerPort"]) == ("metrics", settings.metrics_port)
    assert {container[name]["httpGet"]["port"] for name in paths} == {"metrics"}
    assert settings.metrics_host == "0.0.0.0"  # noqa: S104  (a probe comes from outside the pod)


def test_the_policy_opens_what_the_settings_use(
    manifests: dict[str, dict[str, Any]], settings: DetectSettings
) -> None:
    policy = manifests["NetworkPolicy"]["spec"]
    (inward,) = policy["ingress"]
    assert [each["port"] for each in inward["ports"]] == [settings.metrics_port]
    outward = {each["port"] for rule in policy["egress"] for each in rule["ports"]}
    assert int(settings.bootstrap_servers.rpartition(":")[2]) in outward


def test_the_pod_has_no_rights_and_a_command_that_is_real(
    manifests: dict[str, dict[str, Any]], container: dict[str, Any]
) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (
        True,
        10001,
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert mounts["/bundles"]["readOnly"]
    requires_command(container["args"])


def test_scaling_waits_for_restores(manifests: dict[str, dict[str, Any]]) -> None:
    scaled = manifests["ScaledObject"]["spec"]
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "kafka"
    assert trigger["metadata"]["allowIdleConsumers"] == "false"  # no more pods than partitions
    assert scaled["minReplicaCount"] == 1
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 600
    assert [rule["value"] for each in behavior.values() for rule in each["policies"]] == [1, 25, 1]


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_the_unit_starts_a_command_that_is_real(unit: configparser.ConfigParser) -> None:
    program, *words = unit["Service"]["ExecStart"].split()
    assert program.endswith("/bin/stream-detector")
    requires_command(words)


def test_the_unit_starts_again_where_that_can_help(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    final = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert final == set(PERMANENT) - {4}  # Kafka may be back after the next start


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_knows_every_word_of_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "stream-detector"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = re.sub(r"ExecStart=\S+", f"ExecStart={program}", UNIT.read_text())
    path = tmp_path / UNIT.name
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []
