"""The command line: help that teaches, one line an error, the right exit code."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pytest
from alerts import make_alert
from present import present

import stream_detector
from stream_detector import cli
from stream_detector.cli.alerts import describe
from stream_detector.cli.console import read_password
from stream_detector.cli.options import count_or_names
from stream_detector.cli.terminal import parse_duration_s, to_json
from stream_detector.core.alerting.alert import Alert, encode_alert
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.explanation import (
    Explanation,
    FeatureExplanation,
    UnreliableFeature,
)
from stream_detector.errors import BrokerError, ConfigError, StreamDetectorError
from stream_detector.outputs.alerts import parse_alert

COMMANDS = (
    *("train", "evaluate", "score", "reconstruct", "encode", "generate"),
    *("broker", "detect", "replay", "alerts", "demo"),
)
GROUPS = ("dead-letters",)


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a runner of the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    for name in list(os.environ):
        if name.startswith("STREAM_DETECTOR_"):
            monkeypatch.delenv(name)

    def run_here(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return Ended(code, *capsys.readouterr())

    return run_here


def test_help_names_every_command_and_every_exit_code(run: Run) -> None:
    ended = run("--help")
    assert ended.code == 0
    for name in COMMANDS + GROUPS:
        assert f" {name} " in ended.out
    assert "0 done, 1 unexpected, 2 wrong setting or recipe, 3 bundle, 4 broker" in ended.out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_s_help_teaches(run: Run, name: str) -> None:
    ended = run(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f" {name} [OPTIONS]" in ended.out
    assert len(ended.out.split()) > 40


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("train", "--out --seed --epochs --set --overwrite"),
        ("evaluate", "--dataset --split --part --floors --point-adjusted --json --report"),
        ("score", "--out --points"),
        ("reconstruct", "--out --engine"),
        ("encode", "--out"),
        ("generate", "--n --seed --out"),
        ("broker", "--port"),
        (
            "detect",
            "--bootstrap-servers --input-topic --alerts-topic --dead-letter-topic --group --client "
            "--engine --settings --stop-when-idle --metrics-port --broker-timeout",
        ),
        ("replay", "--bootstrap-servers --topic --rate --format --split --samples --speed --chunk"),
        ("alerts", "--bootstrap-servers --topic --json --from-beginning"),
        ("demo", "--dataset --json"),
    ],
)
def test_the_documented_options_are_there(run: Run, name: str, options: str) -> None:
    text = run(name, "--help").out
    assert [option for option in options.split() if option not in text] == []


def test_no_command_shows_the_help(run: Run) -> None:
    ended = run()
    assert "[OPTIONS] COMMAND" in ended.out + ended.err


def test_version_prints_the_version(run: Run) -> None:
    assert run("--version") == (0, stream_detector.__version__ + "\n", "")


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("guess", 2, "No such command 'guess'. See stream-detector --help."),
        ("detect", 2, "bundle"),
        ("detect b --guess", 2, "No such option: --guess. See stream-detector detect --help."),
        ("detect b --client kafka", 2, "--client"),
        ("detect b --metrics-port many", 2, "--metrics-port"),
        ("detect b --metrics-port 70000", 2, "metrics_port: "),
        ("detect b --stop-when-idle soon", 2, "--stop-when-idle: expected a time above zero"),
        ("detect b --broker-timeout 0", 2, "--broker-timeout: expected a time above zero"),
        ("detect b --input-topic alerts", 2, "three different topics"),
        ("detect b --settings absent.toml", 2, "settings file absent.toml cannot be read"),
        ("detect absent", 3, "absent"),
        ("score absent windows.csv", 3, "absent"),
        ("evaluate absent", 3, "absent"),
        ("encode absent windows.csv", 3, "absent"),
        ("reconstruct absent windows.csv", 3, "absent"),
        ("generate absent", 3, "absent"),
        ("generate absent --n 0", 2, "--n"),
        ("train absent.toml", 2, "absent.toml"),
        ("replay absent", 2, "absent"),
        ("replay absent.csv", 6, "absent.csv"),
        ("replay synthetic-ecg --rate 0", 2, "rate"),
        ("replay synthetic-ecg --rate nan", 2, "rate"),
        ("replay ecg5000 --split half", 2, "tutorial, official, received 'half'"),
        ("alerts --stop-when-idle -1s", 2, "--stop-when-idle: expected a time above zero"),
        ("alerts --client kafka", 2, "--client"),
        ("broker --topics telemetry", 2, "expected NAME:PARTITIONS,..., received 'telemetry'"),
        ("broker --topics telemetry:0", 2, "received 'telemetry:0'"),
        ("broker --topics telemetry:²", 2, "received 'telemetry:²'"),
        ("broker --port 70000", 2, "port"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(run: Run, line: str, code: int, words: str) -> None:
    ended = run(*line.split())
    assert ended.code == code
    assert words in ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert ended.out == ""


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BrokerError("no answer;\n  start it"), 4, "error: no answer;   start it\n"),
        (StreamDetectorError("odd"), 1, "error: odd\n"),
        (
            ZeroDivisionError("by zero"),
            1,
            "error: unexpected ZeroDivisionError: by zero; run it again as "
            "`stream-detector --debug ...` for the traceback\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_command_raises_becomes_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    monkeypatch.setattr("stream_detector.cli.options.load_settings", raising(error))
    assert run("alerts") == (code, "", line)


@pytest.mark.parametrize("error", [BrokerError("no answer"), ZeroDivisionError("by zero")])
def test_debug_lets_the_traceback_through(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("stream_detector.cli.options.load_settings", raising(error))
    with pytest.raises(type(error), match=str(error)):
        run("--debug", "alerts")


def test_a_closed_pipe_is_not_an_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "stream_detector", "--help"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("2m", 120), ("1h", 3600), ("7", 7), ("0.5", 0.5), (" 1.5s ", 1.5)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration_s(text, "--x") == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "0s", "-1s", "nan", "inf", "5d", "5 s s", "1e999s"])
def test_any_other_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--x: expected a time above zero"):
        parse_duration_s(text, "--x")


def test_a_password_has_at_least_8_characters(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("pässwort\n", encoding="utf-8")
    assert read_password(path) == "pässwort"
    path.write_text("pässwor\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected at least 8 characters, received 7"):
        read_password(path)


def test_features_are_a_number_of_at_least_1_or_names() -> None:
    assert [count_or_names(text) for text in ("1", "a,b")] == [(1, None), (None, "a,b")]
    with pytest.raises(ConfigError, match="expected a number of at least 1, or names, received 0"):
        count_or_names("0")


def test_json_for_scripts_has_null_for_nan_and_takes_numpy() -> None:
    assert to_json({"a": float("nan"), "b": np.float64(0.5)}) == '{"a":null,"b":0.5}'


def alert_of(start_ms: int = 1_700_000_000_000) -> Alert:
    metadata = RecordMetadata("telemetry", 3, 41, 0, b"pump-7", ())
    explanation = Explanation(
        start_ms + 20,
        start_ms + 1_520,
        (FeatureExplanation(2, 0.75, (0.5, 0.5), (2.5, None), "flow"),),
        (0.125, 0.125, 0.75),
        (start_ms + 20, start_ms + 1_520),
        0.25,
        0,
    )
    score, bundle = (0.5, 0.2, "high"), BundleReference("pumps", "v1")
    return make_alert(metadata, (start_ms, start_ms + 2_139), score, bundle, explanation)


def test_an_alert_is_read_back_as_written() -> None:
    alert = alert_of()
    assert parse_alert(encode_alert(alert, "alerts", b"k", 0).value or b"") == alert


def test_an_event_is_described_on_one_line() -> None:
    alert = alert_of()
    line = (
        "2023-11-14T22:13:22.139+00:00  open   anomalous     high      score   2.50  key pump-7  "
        "worst 22:13:20.020 +1.5 s  flow (75%)  telemetry[3]@41  "
    )
    assert describe(alert) == line + alert.alert_id[:8]
    summary = replace(alert, event="close", reason="recovered", is_summary=True, n_alerts=7)
    assert describe(summary) == (
        line.replace("open   anomalous", "close  recovered").replace("%)", "%)  for 7 alerts")
        + alert.alert_id[:8]
    )


def test_the_time_is_where_all_windows_of_the_alert_see_the_fault() -> None:
    start_ms = alert_of().window_start_ms
    later = replace(alert_of(), span_start_ms=start_ms + 1_000, span_end_ms=start_ms + 61_000)
    assert "  worst 22:13:21.000 +60 s  flow (75%)  " in describe(later)
    older = replace(later, span_start_ms=None, span_end_ms=None)
    assert describe(older) == describe(alert_of())


def test_an_older_alert_has_the_number_of_the_feature() -> None:
    value = orjson.loads(encode_alert(alert_of(), "alerts", b"k", 0).value or b"")
    del value["explanation"]["features"][0]["name"]
    assert "+1.5 s  feature 2 (75%)" in describe(parse_alert(orjson.dumps(value)))


def test_an_alert_of_before_there_were_checks_is_read() -> None:
    value = orjson.loads(encode_alert(alert_of(), "alerts", b"k", 0).value or b"")
    added = ("score", "score_kind", "check", "false_alarms_per_day", "p_value")
    for name in added:
        del value[name]
    older = parse_alert(orjson.dumps(value))
    assert [getattr(older, name) for name in added] == [None] * 5
    assert describe(older) == describe(alert_of())


def test_the_check_that_decided_is_shown() -> None:
    assert "  score   2.50  check flat  key pump-7  worst" in describe(
        replace(alert_of(), check="flat")
    )
    assert '  check "a b\\x1b"  key ' in describe(replace(alert_of(), check="a b\x1b"))


def test_features_that_were_not_believed_are_shown() -> None:
    explanation = present(alert_of().explanation)
    unreliable = tuple(UnreliableFeature(at, f"lead {at}", "off") for at in range(4))
    alert = replace(alert_of(), explanation=replace(explanation, unreliable=unreliable))
    assert (
        '  flow (75%)  not believed "lead 0" (off)  not believed "lead 1" (off)  '
        'not believed "lead 2" (off)  telemetry[3]'
    ) in describe(alert)


def test_the_sentence_is_the_last_field() -> None:
    alert = replace(alert_of(), sentence="flow stayed at 4 for 60 s")
    assert describe(alert).endswith(f"  {alert.alert_id[:8]}  flow stayed at 4 for 60 s")
    foreign = describe(replace(alert_of(), sentence="\x1b[2J" * 1_000))
    assert foreign.isprintable()
    assert len(foreign) - len(describe(alert_of())) == 2 + 256


def test_a_key_with_spaces_is_quoted() -> None:
    forged = replace(alert_of(), key='pump-7  worst 22:13:20.020 +1.5 s  "telemetry')
    assert '  key "pump-7  worst 22:13:20.020 +1.5 s  \'telemetry"  worst ' in describe(forged)
    assert '  key ""  worst ' in describe(replace(alert_of(), key=""))


def test_an_event_about_missing_data_says_what_is_missing_and_since_when() -> None:
    alert = replace(alert_of(), anomaly_score=None, explanation=None, reason="no_data")
    start = (
        "2023-11-14T22:13:22.139+00:00  open   no_data       high      score      -  key pump-7  "
    )
    since = "since 2023-11-14T22:13:20.000+00:00  telemetry[3]@41  " + alert.alert_id[:8]
    assert describe(alert) == f"{start}nothing sent {since}"
    missing = replace(alert, reason="feature_missing", feature="hum\x1b[31midity")
    assert f"  hum\\x1b[31midity missing {since}" in describe(missing)


def test_a_time_that_no_calendar_has_is_a_number() -> None:
    line = describe(alert_of(2**62))
    assert line.startswith(f"{2**62 + 2_139} ms  open")
    assert f"worst {2**62 + 20} ms" in line
