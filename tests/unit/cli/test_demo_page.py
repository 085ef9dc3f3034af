"""The page at the end of the demo, on the embedded broker."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle

from stream_detector.assembly import embedded_broker, open_bundle
from stream_detector.cli import demo
from stream_detector.cli.sources import Feed


def test_patients_are_on_the_page_until_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("confluent_kafka")
    from console_page import wait_for_picture

    monkeypatch.setattr(demo, "BEATS_EVERY_S", 0.2)
    make_bundle(tmp_path / "beats")
    windows = np.repeat(np.array([0.5, 3.0], np.float32), 140).reshape(2, 140, 1)
    feed = Feed("beats", windows, ["a", "b"], np.array([0, 1], np.int8))
    pictures = []

    def look() -> None:
        try:
            wait = threading.Event().wait
            while "console on " not in (printed := capsys.readouterr().err):
                wait(0.05)
            address = printed.split("console on ")[1].split(",")[0]
            pictures.append(
                wait_for_picture(address, lambda each: each["input"]["n_warm"] == demo.N_PATIENTS)
            )
            pictures.append(wait_for_picture(address, lambda each: each["alerts"]["n_open"] > 3))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with embedded_broker() as broker:
        run = demo._Run(
            open_bundle(tmp_path / "beats"), broker.bootstrap_servers, broker.create_topic
        )
        looking = threading.Thread(target=look)
        looking.start()
        demo.show_page(run, feed, 0)
        looking.join()
    assert len(pictures) == 2
    keys = {each["key"] for each in pictures[1]["alerts"]["open"]}
    assert keys <= {f"patient-{number:02d}" for number in range(demo.N_ILL)}
