"""Several devices share the windows of a batch, in a process whose CPU poses as two."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "support" / "train_on_devices.py"

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the program printed."""
    out = tmp_path_factory.mktemp("devices")
    done = subprocess.run(
        [sys.executable, PROGRAM, out], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_two_devices_give_a_network_close_to_that_of_one(found: dict[str, Any]) -> None:
    """The weights are apart by the rounding of sums only: these are of the order of 1."""
    assert 0 < found["apart"] < 1e-6
    one, two = (found["manifests"][name] for name in ("alone", "both"))
    assert two["history"]["loss"] == pytest.approx(one["history"]["loss"], rel=1e-5)
    assert two["threshold"]["value"] == pytest.approx(one["threshold"]["value"], rel=1e-5)


def test_the_same_seed_and_devices_give_the_same_bits(found: dict[str, Any]) -> None:
    every, both = (found["manifests"][name] for name in ("every", "both"))
    assert every["files"] == both["files"]
    assert every["threshold"] == both["threshold"]
    assert every["history"] == both["history"]


def test_the_manifest_has_the_number_of_devices_where_there_are_several(
    found: dict[str, Any],
) -> None:
    manifests = found["manifests"]
    assert "n_devices" not in manifests["alone"]
    assert "devices" not in manifests["alone"]["recipe"]["training"]
    assert [manifests[name]["n_devices"] for name in ("both", "every")] == [2, 2]
    assert manifests["every"]["recipe"]["training"]["devices"] == "all"


def test_what_a_kind_of_network_adds_to_the_loss_is_finite_with_one_window_over(
    found: dict[str, Any],
) -> None:
    history = found["manifests"]["drawn"]["history"]
    assert history["loss"][-1] < history["loss"][0]
    assert len(history["validation_loss"]) == 2


def test_more_devices_than_there_are_and_batches_they_cannot_share_are_refused(
    found: dict[str, Any],
) -> None:
    assert found["refused"]["training.devices"] == (
        "training.devices: expected at most 2, the devices that Keras has here (cpu:0, cpu:1), "
        "received 4; set training.devices = 'all'"
    )
    assert found["refused"]["training.batch_size"] == (
        "training.batch_size: expected a multiple of the 2 devices that training.devices = 'all' "
        "means here, received 15"
    )
