"""What `demo --console` shows, on the embedded broker."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from halving_bundle import make_bundle_of_samples

from stream_detector.assembly import embedded_broker, open_bundle
from stream_detector.cli import demo, demo_fleet, demo_run
from stream_detector.datasets import live_pumps
from stream_detector.errors import ConfigError
from stream_detector.recipes import load_recipe, shipped_recipe


def test_the_fleet_is_on_the_page_until_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("confluent_kafka")
    from console_page import wait_for_picture

    for name, value in {"TRAIN_HOURS": 0.05, "LIVE_HOURS": 0.5}.items():
        monkeypatch.setattr(live_pumps, name, value)
    monkeypatch.setattr(demo_fleet, "PAST_HOURS", 0.05)
    monkeypatch.setattr(demo_fleet, "UNUSABLE_EVERY", 1)
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
                address,
                lambda each: (
                    n_with_alert(each) == each["input"]["n_warm"] == 12
                    and each["topics"][1]["n_records"] > 12 * 170
                ),
            )
            n_first = first["topics"][1]["n_records"]
            pictures.append(first)
            pictures.append(
                wait_for_picture(address, lambda each: each["topics"][1]["n_records"] > n_first)
            )
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def n_with_alert(picture: dict[str, Any]) -> int:
        rows = picture["alerts"]["open"]
        return len({each["key"] for row in rows for each in (row, *row["others"])})

    looking = threading.Thread(target=look)
    with embedded_broker() as broker:
        served = open_bundle(tmp_path / "pumps")
        run = demo_run.Run(served, broker.bootstrap_servers, broker.create_topic)
        looking.start()
        demo_fleet.stream_fleet(run, 0)
        looking.join()
    assert len(pictures) == 2
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
