"""Rules of alerts that a run changes: from settings and options to scores and alerts."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from halving_bundle import make_bundle
from input_forms import NAMES, write_bundle
from sample_streams import FLOAT32, Sent, batch_of

from stream_detector import cli
from stream_detector.assembly import open_bundle
from stream_detector.core.detector import Detector
from stream_detector.core.results import Step
from stream_detector.errors import ConfigError
from stream_detector.recipes.alerting import AlertingSection
from stream_detector.settings import DetectSettings, load_settings

START_MS = 1_767_225_600_000
N_STEPS = 140
FIRST = NAMES[0]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Whole windows; what is expected is half of what is seen."""
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


WINDOWS = np.repeat(np.array([0.5, 2.0, -2.0, 4.0], np.float32), N_STEPS).reshape(4, N_STEPS, 1)


def step_of(detector: Detector) -> Step:
    sent = [
        Sent(0, b"pump", START_MS + number, each.astype("<f4").tobytes(), FLOAT32, N_STEPS)
        for number, each in enumerate(WINDOWS)
    ]
    return detector.step(detector.initial_state(), batch_of(sent))


def changed(path: Path, **alerting: Any) -> Detector:
    return open_bundle(path, changes={"alerting": alerting}).detector


def test_the_digest_is_there_where_rules_are_not_the_bundle_s_own(bundle: Path) -> None:
    own = step_of(open_bundle(bundle).detector)
    assert [each.alert.rules_digest for each in own.alerts] == [None] * 3
    digests = set()
    for alerting in (
        {"features": {"feature_0": {"direction": "above"}}},
        {"features": {"feature_0": {"direction": "below"}}},
        {"open_after": 1, "open_within": 3},
        {"severity": {"critical": 3.0}},
    ):
        found = {each.alert.rules_digest for each in step_of(changed(bundle, **alerting)).alerts}
        assert len(found) == 1
        digests |= found
    assert len(digests) == 4
    assert None not in digests
    same = changed(bundle, open_after=1)  # what the bundle says
    assert same.rules_digest is None
    assert same.bundle == open_bundle(bundle).detector.bundle


def test_a_table_says_what_it_says_in_any_words() -> None:
    said = [
        {"features": {"p": {"direction": "both", "ignore": True}}},
        {"features": {"p": {"ignore": True}}, "cooldown_ms": 0},
    ]
    assert len({AlertingSection.model_validate(each).digest for each in said}) == 1


def test_a_rule_decides_which_windows_alert(bundle: Path) -> None:
    rule: dict[str, Any] = {"direction": "above"}
    step = step_of(changed(bundle, features={"feature_0": rule}))
    assert [each.record for each in step.alerts] == [1, 3]
    assert step.scores.is_anomalous.tolist() == [False, True, False, True]
    assert step.counts.windows == {"normal": 2, "anomalous": 2}
    rule |= {"valid_max": 2.0}
    step = step_of(changed(bundle, features={"feature_0": rule}))
    assert [each.record for each in step.alerts] == [3]


@pytest.mark.parametrize(
    ("alerting", "message"),
    [
        (
            {"features": {"feature_1": {"ignore": True}}},
            r"alerting\.features: expected the features feature_0, received feature_1",
        ),
        ({"features": {"feature_0": {"deviation_min": -1}}}, r"deviation_min: expected greater"),
        ({"opens": 1}, r"alerting\.opens: expected one of the keys severity, open_after"),
        ({"open_after": 3}, r"alerting\.open_after: expected at most open_within = 1"),
        ({"no_data_after_ms": 5}, r"no_data_after_ms: expected only what a run may change"),
    ],
)
def test_what_does_not_fit_is_refused(bundle: Path, alerting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(bundle, **alerting)


def test_pixels_have_no_rules(tmp_path: Path) -> None:
    make_bundle(tmp_path / "images", "fashion-denoise")
    with pytest.raises(ConfigError, match=r"alerting\.features: expected only where records are"):
        changed(tmp_path / "images", features={"feature_0": {"ignore": True}})


def test_a_run_adds_to_the_rules_of_the_bundle_and_takes_some_away(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", {})
    both = changed(path, features={FIRST: {"deviation_min": 1.0, "direction": "above"}})
    assert both.rules_digest
    nothing = changed(path, features={FIRST: {"direction": ""}})
    assert nothing.rules_digest  # a rule that says nothing is a rule


def test_settings_take_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[alerting.features.pressure]\ndirection = "below"\nvalid_min = 2.0\n')
    table = {"features": {"pressure": {"direction": "below", "valid_min": 2.0}}}
    settings = load_settings(DetectSettings, file)
    assert settings.changes == {"input": {}, "alerting": table}
    monkeypatch.setenv("STREAM_DETECTOR_ALERTING", orjson.dumps(table).decode())
    assert load_settings(DetectSettings).alerting == table


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a runner of the command line in this process; gives what it wrote."""

    def run_here(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    return run_here


def test_a_file_is_scored_as_the_stream_is(
    bundle: Path, tmp_path: Path, run: Callable[..., str]
) -> None:
    file = tmp_path / "windows.csv"
    np.savetxt(file, WINDOWS[:, :, 0], delimiter=",", fmt="%.9g")
    rule = "alerting.features.feature_0.direction=above"
    rows = list(csv.DictReader(run("score", bundle, file, "--set", rule).splitlines()))
    scores = step_of(changed(bundle, features={"feature_0": {"direction": "above"}})).scores
    assert [float(each["reconstruction_error"]) for each in rows] == scores.scores.tolist()
    assert [each["is_anomalous"] for each in rows] == ["false", "true", "false", "true"]
