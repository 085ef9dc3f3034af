"""The job for Spark refuses what is wrong before anything of Spark starts."""

from typing import Any

import pytest

pytest.importorskip("pyspark.sql", reason="make test installs Spark")

from stream_detector.integrations.spark.__main__ import main

NEEDED = ("bundle", "--checkpoint", "here")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--set", "window.steps=3"), "--set: expected input.KEY=VALUE or alerting.KEY=VALUE"),
        (("--alerts-topic", "telemetry"), "must be three different topics"),
        (("--content-type", "morse"), "content_type: Input should be"),
        (("--kafka", "=x"), "--kafka: expected NAME=VALUE, received '=x'"),
        (("--kafka", "security.protocol"), "received 'security.protocol'"),
        (("--spark", "spark.master"), "--spark: expected NAME=VALUE, received 'spark.master'"),
        (("--settings", "no.toml"), "settings file no.toml cannot be read"),
    ],
)
def test_a_wrong_option_is_refused(
    arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*NEEDED, *arguments]) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1


def test_the_help_names_every_option_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for words in ("spark-submit", "spark-sql-kafka-0-10_2.13:4.2.0", "--starting-offsets", "ce_id"):
        assert words in said


def test_it_needs_a_bundle_and_a_checkpoint(capsys: pytest.CaptureFixture[Any]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bundle"])
    assert end.value.code == 2
    assert "--checkpoint" in capsys.readouterr().err
