"""Every score on a topic of a real Kafka, as `score` gives it, once, with both clients."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.mark.parametrize(
    ("client", "form"), [("kafka-python", "json"), ("confluent", "json"), ("confluent", "float32")]
)
def test_the_topic_has_the_scores_of_the_file(
    client: str,
    form: str,
    kafka: str,
    halving_bundle: Path,
    windows_csv: Path,
    topics: Callable[..., str],
    topic_options: dict[str, str],
    command_line: CommandLine,
    tmp_path: Path,
) -> None:
    settings, scores = tmp_path / "settings.toml", topics(2)
    settings.write_text(f'scores_topic = "{scores}"\nscores_format = "{form}"\n')
    common = ["--bootstrap-servers", kafka, "--client", client]
    command_line.run("replay", windows_csv, *common, "--topic", topic_options["--input-topic"])
    names = [word for pair in topic_options.items() for word in pair]
    for _ in range(2):  # a second run repeats nothing
        command_line.run(
            *("detect", halving_bundle, *common, *names, "--group", f"scores-{client}"),
            *("--settings", settings, "--delivery", "exactly_once", "--stop-when-idle", "1s"),
        )
    read = ["--topic", scores, "--from-beginning", "--stop-when-idle", "2s"]
    done = command_line.run("scores", *common, *read, "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = csv.DictReader(
        command_line.run("score", halving_bundle, windows_csv).stdout.splitlines()
    )
    exact = {row["key"]: float(row["reconstruction_error"]) for row in expected}
    if form == "float32":
        exact = {key: float(np.float32(score)) for key, score in exact.items()}
    assert len(found) == len(exact)
    assert {each["key"]: each["score"] for each in found} == exact
    assert {tuple(each["features"]) for each in found} == {("feature_0",)}
    lines = command_line.run("scores", *common, *read).stdout.splitlines()
    assert len(lines) == len(exact)
    assert any("score   3.50  key odd-0  feature_0 1.75" in line for line in lines)
