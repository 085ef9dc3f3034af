"""docker-compose.yml and Dockerfile, as far as they can be checked without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from present import present

from stream_detector.cli import app

ROOT = Path(__file__).parents[2]
OWN = ("detector", "producer", "alerts")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_the_services_are_there_and_start_in_order(services: dict[str, Any]) -> None:
    assert set(services) == {"kafka", "topics", *OWN}
    conditions = {
        (name, other): each["condition"]
        for name, service in services.items()
        for other, each in service.get("depends_on", {}).items()
    }
    assert conditions == {
        ("topics", "kafka"): "service_healthy",
        ("detector", "topics"): "service_completed_successfully",
        ("alerts", "topics"): "service_completed_successfully",
        ("producer", "detector"): "service_healthy",
    }


def test_images_are_pinned(services: dict[str, Any], dockerfile: str) -> None:
    images = [service["image"] for service in services.values() if "image" in service]
    assert images == ["apache/kafka:3.9.1"] * 2
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)[0] == "python:3.11-slim"


def test_what_is_waited_for_has_a_healthcheck(services: dict[str, Any]) -> None:
    for name in ("kafka", "detector"):
        check = services[name]["healthcheck"]
        assert check["test"][0] == "CMD"
        assert check["retries"] >= 3


def test_every_topic_the_commands_name_is_made(services: dict[str, Any]) -> None:
    script = services["topics"]["command"][0]
    made = set(present(re.search(r"for topic in (.*);", script))[1].split())
    named = {
        after
        for name in OWN
        for before, after in zip(
            services[name]["command"], services[name]["command"][1:], strict=False
        )
        if before.endswith("topic")
    }
    assert named == made == {"telemetry", "alerts", "dead-letters"}


@pytest.mark.parametrize("name", OWN)
def test_commands_are_real_and_reach_the_inner_listener(
    services: dict[str, Any], name: str
) -> None:
    words = services[name]["command"]
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}

    assert {word for word in words if word.startswith("--")} <= known
    address = words[words.index("--bootstrap-servers") + 1]
    assert f"INSIDE://{address}" in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    # The values fit too: the parser takes the whole line.
    command.make_context(words[0], words[1:], resilient_parsing=True).close()


def test_ports_are_open_to_this_machine_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_our_images_run_as_a_user_without_rights(dockerfile: str) -> None:
    stages = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[1:]
    for stage in stages:
        users = re.findall(r"^USER (\S+)", stage, re.MULTILINE)
        assert not users or users[-1] == "detector"
    assert "USER detector" in stages[0]
    assert dockerfile.count("USER root") == 1


def test_our_image_has_the_online_path_only(dockerfile: str) -> None:
    installs = re.findall(r"pip install (.*)", dockerfile)
    assert len(installs) == 2
    assert not [line for line in installs if "[" in line or "tensorflow" in line]
    assert 'ENTRYPOINT ["stream-detector"]' in dockerfile


def test_the_bundle_is_mounted_and_cannot_be_changed(services: dict[str, Any]) -> None:
    (volume,) = services["detector"]["volumes"]
    assert volume == "./bundles:/bundles:ro"
    assert services["detector"]["command"][1].startswith("/bundles/")
    assert services["detector"]["read_only"] is True


def test_the_build_sees_all_it_copies(dockerfile: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE):
        for name in line.split():
            assert f"!{name}" in ignored
            assert (ROOT / name).exists()
