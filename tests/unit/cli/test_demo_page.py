"""What `demo --console` shows, on the embedded broker."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from halving_bundle import make_bundle_of_samples

from stream_detector.assembly import embedded_broker, open_bundle
from stream_detector.cli import demo, demo_fleet
from stream_detector.datasets.base import BASE_MS
from stream_detector.errors import ConfigError
from stream_detector.recipes import load_recipe, shipped_recipe

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def fleet() -> demo_fleet.LiveFleet:
    return demo_fleet.fleet_around(NOW_MS)


def test_faults_begin_one_after_the_other_soon_after_the_moment(
    fleet: demo_fleet.LiveFleet,
) -> None:
    first = fleet.faults[:9]
    assert [each.start_ms - NOW_MS for each in first] == [15_000 + 30_000 * at for at in range(9)]
    assert len({each.key for each in first}) == 9  # of twelve pumps, three have none
    ranks = [demo_fleet.KIND_ORDER.index(each.kind) for each in first]
    assert ranks == sorted(ranks)
    assert all(each.end_ms > each.start_ms > NOW_MS for each in fleet.faults)


def test_an_hour_before_is_shown_and_more_is_to_come(fleet: demo_fleet.LiveFleet) -> None:
    shown = fleet.shown
    assert (np.diff(shown.times_ms) >= 0).all()
    assert shown.times_ms[0] >= NOW_MS - HOUR_MS
    for number in range(12):
        times_ms = shown.times_ms[shown.series == number]
        assert times_ms[0] < NOW_MS - HOUR_MS + 120_000
        assert times_ms[-1] > NOW_MS + 4 * HOUR_MS
    assert shown.labels is not None
    labelled = shown.labels == 1
    assert shown.times_ms[labelled].min() >= NOW_MS


def test_what_is_trained_on_has_no_fault_and_is_not_shown(fleet: demo_fleet.LiveFleet) -> None:
    trained_on = fleet.trained_on
    assert trained_on.labels is not None
    assert not trained_on.labels.any()
    assert trained_on.times_ms.max() < BASE_MS + 1.5 * HOUR_MS
    own = {tuple(each) for each in trained_on.values[~np.isnan(trained_on.values).any(axis=1)]}
    is_whole = ~np.isnan(fleet.shown.values).any(axis=1)
    assert not own & {tuple(each) for each in fleet.shown.values[is_whole]}


def test_the_fleet_is_on_the_page_until_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("confluent_kafka")
    from console_page import wait_for_picture

    changes = {"TRAIN_HOURS": 0.05, "PAST_HOURS": 0.05, "LIVE_HOURS": 0.5, "UNUSABLE_EVERY": 1}
    for name, value in changes.items():
        monkeypatch.setattr(demo_fleet, name, value)
    make_bundle_of_samples(tmp_path / "pumps", n_features=3)  # to which all is anomalous
    pictures: list[dict[str, Any]] = []

    def look() -> None:
        try:
            wait, printed = threading.Event().wait, ""
            while "console on " not in printed:
                printed += capsys.readouterr().err
                wait(0.05)
            address = printed.split("console on ")[1].split(",")[0]
            first = wait_for_picture(
                address, lambda each: n_with_alert(each) == each["input"]["n_warm"] == 12
            )
            n_first = first["topics"][1]["n_records"]
            pictures.append(first)
            pictures.append(
                wait_for_picture(address, lambda each: each["topics"][1]["n_records"] > n_first)
            )
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def n_with_alert(picture: dict[str, Any]) -> int:
        return len({each["key"] for each in picture["alerts"]["open"]})

    looking = threading.Thread(target=look)
    with embedded_broker() as broker:
        served = open_bundle(tmp_path / "pumps")
        run = demo.Run(served, broker.bootstrap_servers, broker.create_topic)
        looking.start()
        demo_fleet.stream_fleet(run, 0)
        looking.join()
    assert len(pictures) == 2
    assert pictures[0]["topics"][1]["n_records"] > 12 * 170
    assert pictures[1]["input"]["rejected"][0]["reason"] == "RecordDecodeError"


def test_the_recipe_of_the_fleet_has_units() -> None:
    recipe = load_recipe(
        shipped_recipe("telemetry.toml"), demo_fleet.fleet_recipe(Path("pumps.csv"))
    )
    assert recipe.data.units == {"temperature": "°C", "pressure": "bar", "vibration": "mm/s"}


@pytest.mark.parametrize(
    ("dataset", "json_file"), [("ecg5000", None), (None, Path("figures.json"))]
)
def test_the_page_has_no_table(dataset: Any, json_file: Path | None) -> None:
    with pytest.raises(ConfigError, match=r"^--console: expected it alone; --dataset and --json"):
        demo.demo(dataset, json_file, has_page=True)
