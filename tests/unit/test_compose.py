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
OWN = ("detector", "producer", "alerts", "console")
WATCHING = ("console", "prometheus", "grafana")
PYTHON = "python:3.11-slim-bookworm"
KAFKA = "apache/kafka:3.9.1"


def read(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_the_services_are_there_and_start_in_order(services: dict[str, Any]) -> None:
    assert set(services) == {"kafka", "topics", *OWN, *WATCHING}
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
        ("console", "topics"): "service_completed_successfully",
        ("grafana", "prometheus"): "service_healthy",
    }
    assert {name for name, each in services.items() if each.get("profiles")} == set(WATCHING)


def test_images_are_pinned(services: dict[str, Any], dockerfile: str) -> None:
    images = [service["image"] for service in services.values() if "image" in service]
    digest = "@sha256:[0-9a-f]{64}"
    assert [re.sub(digest, "", image) for image in images[:2]] == [KAFKA, KAFKA]
    assert all(re.search(f"{digest}$", image) for image in images[:2])
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images[2:])
    first, second = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert re.fullmatch(PYTHON + digest, first)
    assert second == first


def test_what_is_waited_for_has_a_healthcheck(services: dict[str, Any]) -> None:
    for name in ("kafka", "detector", *WATCHING):
        check = services[name]["healthcheck"]
        assert check["test"][0] == "CMD"
        assert check["retries"] >= 3


def test_health_is_asked_where_it_means_something(
    services: dict[str, Any], dockerfile: str
) -> None:
    assert "127.0.0.1:9100/readyz" in services["detector"]["healthcheck"]["test"][-1]
    assert "127.0.0.1:9100/readyz" in dockerfile
    compile(services["console"]["healthcheck"]["test"][-1], "check", "exec")
    for name in ("producer", "alerts"):  # they serve nothing that the image's check could ask
        assert services[name]["healthcheck"] == {"disable": True}


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


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    folder = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert source == "./bundles" or (ROOT / source).exists()
            else:
                assert source in folder["volumes"]


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
    last = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[-1]
    # A number, since Kubernetes cannot tell whether a name is root.
    assert re.findall(r"^USER (\S+)", last, re.MULTILINE) == ["10001:10001"]
    assert "useradd --uid 10001 " in last


def test_our_image_has_the_online_path_only(dockerfile: str) -> None:
    of_lock, own = re.findall(r"pip install (.*)", dockerfile)
    assert of_lock.endswith("--require-hashes --requirement image.lock")
    assert "--no-deps" in own
    assert 'ENTRYPOINT ["stream-detector"]' in dockerfile
    locked = set(re.findall(r"^([a-z0-9.-]+)==", read("deploy/image.lock"), re.MULTILINE))
    assert {"kafka-python", "confluent-kafka", "onnxruntime", "bokeh", "pooch"} <= locked
    assert not {"tensorflow", "keras", "pandas", "pytest", "scikit-learn"} & locked


def pins(text: str) -> dict[str, str]:
    """Return all of a lock by name and version: its hashes, and for which machines it counts."""
    return {
        found[1]: found[2] for found in re.finditer(r"^(\S+==\S+)((?:.*\\\n)*.*\n)", text, re.M)
    }


def test_the_image_has_the_versions_and_hashes_that_are_tested() -> None:
    image, tested = pins(read("deploy/image.lock")), pins(read("requirements.lock"))
    assert len(image) > 50
    for name, rest in image.items():
        hashes = set(re.findall(r"sha256:[0-9a-f]{64}", rest))
        assert hashes
        assert hashes == set(re.findall(r"sha256:[0-9a-f]{64}", tested[name]))


def test_the_bundle_is_mounted_and_cannot_be_changed(services: dict[str, Any]) -> None:
    (volume,) = services["detector"]["volumes"]
    assert volume == "./bundles:/bundles:ro"
    assert services["detector"]["command"][1].startswith("/bundles/")
    assert services["detector"]["read_only"] is True


def test_the_build_sees_all_it_copies(dockerfile: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE):
        for name in line.split():
            assert f"!{name}" in ignored
            assert (ROOT / name).exists()
