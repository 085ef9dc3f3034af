"""README's code blocks are run or read, and every command and setting is spoken of in it."""

import csv
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer
from halving_bundle import make_bundle  # tests/support
from typer.testing import CliRunner

from stream_detector.cli import app
from stream_detector.cli.score import SCORE_COLUMNS
from stream_detector.core.codec.windows import decode_windows
from stream_detector.datasets.files.windows import read_windows
from stream_detector.recipes import load_recipe
from stream_detector.settings import ConnectionSettings, DetectSettings, load_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = dict(typer.main.get_command(app).commands)
COMMANDS |= {
    f"dead-letters {name}": command
    for name, command in COMMANDS.pop("dead-letters").commands.items()
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shell_lines(program: str = "") -> list[list[str]]:
    """Lines of the shell blocks as words, those of one program or all."""
    text = "".join(blocks("sh")).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words for words in lines if words and words[0].startswith(program)]


def command_of(words: list[str]) -> tuple[str, list[str]]:
    """Name of the command that a line runs, and the words after it."""
    n_words = 2 if words[1] in COMMANDS else 3
    return " ".join(words[1:n_words]), words[n_words:]


def option(words: list[str], name: str) -> list[str]:
    return [value for flag, value in pairwise(words) if flag == name]


def test_no_block_goes_unchecked():
    languages = set(re.findall(r"^```(\w*)\n.*?^```$", README, re.MULTILINE | re.DOTALL))
    assert languages == {"sh", "python", "toml", "json", "csv", "text"}
    programs = {words[0] for words in shell_lines()}
    known = {"stream-detector", "kafka-topics.sh", "make", "pip", "python", "docker"}
    assert programs == known


@pytest.mark.parametrize("words", shell_lines("stream-detector"), ids=" ".join)
def test_a_command_line_is_one_the_program_takes(words):
    name, arguments = command_of(words)
    with COMMANDS[name].make_context(name, arguments) as context:
        assert context.params


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_spoken_of_and_shown(name):
    assert f"`stream-detector {name}`" in README
    shown = {command_of(words)[0] for words in shell_lines("stream-detector")}
    assert name in shown or name == "demo"  # `make demo` runs it


@pytest.mark.parametrize("name", DetectSettings.model_fields)
def test_every_setting_is_spoken_of(name):
    assert f"| `{name}` |" in README


def test_the_topics_made_are_the_default_ones():
    made = [option(words, "--topic")[0] for words in shell_lines("kafka-topics.sh")]
    names = ("input_topic", "alerts_topic", "dead_letter_topic")
    assert made == [DetectSettings.model_fields[name].default for name in names]


def test_the_targets_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for _, target in shell_lines("make"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_extras_are_in_the_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {
        extra
        for words in shell_lines("pip")
        for extra in re.findall(r"\w+", words[-1].partition("[")[2])
    }
    assert named
    assert named <= set(project["optional-dependencies"])


@pytest.mark.parametrize("words", shell_lines("python"), ids=" ".join)
def test_a_producer_takes_the_flags_shown(words):
    done = subprocess.run(
        [sys.executable, words[1], "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert all(f"{flag} " in done.stdout for flag in words if flag.startswith("--"))


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_a_python_block_runs(number, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(blocks("python")[number], f"README.md, block {number}", "exec"), {})  # noqa: S102


def test_the_records_shown_decode_to_the_same_window():
    names: dict = {}
    exec(blocks("python")[0], names)  # noqa: S102
    values = [names["as_json"], names["as_float32"]]
    headers = [names["as_json_headers"], names["as_float32_headers"]]
    decoded = decode_windows(values, headers, (140, 1), "json")
    assert not decoded.rejected
    for window in decoded.windows:
        assert np.array_equal(window[:, 0], names["window"])
    assert decoded.timestamps_ms == {0: 1767225600000}


@pytest.fixture
def pump(tmp_path) -> Path:
    """The recipe and the file of the section on own data."""
    (tmp_path / "pump.toml").write_text(blocks("toml")[0])
    (tmp_path / "pump.csv").write_text(blocks("csv")[0])
    return tmp_path


def test_the_recipe_shown_can_be_used(pump):
    assert load_recipe(pump / "pump.toml").name == "pump"
    for words in shell_lines("stream-detector"):
        if words[1] == "train":
            recipe = pump / words[2] if words[2] == "pump.toml" else ROOT / words[2]
            load_recipe(recipe, option(words, "--set"))


def test_the_recipe_shown_fits_the_file_shown(pump):
    window = load_recipe(pump / "pump.toml").window
    table = read_windows(pump / "pump.csv", window.steps, window.features)
    assert table.windows.shape == (3, 4, 1)
    assert table.keys == ("pump-1", "pump-2", "pump-1")
    assert table.labels is not None
    assert table.labels.tolist() == [0, 0, 1]


def test_the_settings_file_shown_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("STREAM_DETECTOR_SASL_PASSWORD", "secret")
    file = tmp_path / "detect.toml"
    file.write_text(blocks("toml")[1])
    settings = load_settings(DetectSettings, file)
    assert settings.metrics_port == 9108
    assert "secret" not in repr(settings)


def test_the_settings_named_for_every_command_are_those_of_the_connection():
    prefixes = ("security_", "ssl_", "sasl_")
    others = {name for name in ConnectionSettings.model_fields if not name.startswith(prefixes)}
    assert others == {"bootstrap_servers", "client", "broker_timeout_s"}


def test_the_json_shown_is_json():
    assert all(json.loads(block) for block in blocks("json"))


@pytest.fixture
def beats(tmp_path, monkeypatch) -> None:
    """The bundle and the file that the lines on files speak of, where they run."""
    monkeypatch.chdir(tmp_path)
    make_bundle(Path("bundles/ecg5000-dense"))
    windows = np.random.default_rng(0).normal(size=(3, 140))
    rows = [["patient-7", 1700000000000 + row, *window] for row, window in enumerate(windows)]
    with Path("beats.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["key", "timestamp_ms", *range(140)], *rows])


def run_line_of(command: str) -> list[list[str]]:
    """Run the first line with a command, and return the rows that it wrote."""
    words = next(words for words in shell_lines("stream-detector") if words[1] == command)
    done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert done.exit_code == 0
    return list(csv.reader(io.StringIO(Path(option(words, "--out")[0]).read_text())))


@pytest.mark.usefixtures("beats")
def test_the_score_line_runs_and_gives_the_columns_shown():
    written = run_line_of("score")
    assert tuple(written[0]) == SCORE_COLUMNS
    assert f"\n{','.join(written[0])}\n" in README
    assert len(written) == 4


@pytest.mark.usefixtures("beats")
def test_the_reconstruct_line_runs_and_gives_the_form_it_was_given():
    written = run_line_of("reconstruct")
    assert [len(row) for row in written] == [142] * 4
    assert written[0][:3] == ["key", "timestamp_ms", "v0"]


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_lines_on_raw_telemetry_fit_a_signal_of_ones_own(tmp_path, monkeypatch):
    train, score = [
        next(words for words in shell_lines("stream-detector") if words[1:3] == [command, first])
        for command, first in (("train", "models/mitdb-dense.toml"), ("score", "bundles/boiler"))
    ]
    header = next(block for block in blocks("csv") if "boiler" in block).splitlines()[0]
    rows = [
        [f"boiler-{number}", 1767225600000 + 1000 * step, 60 + step % 7, step % 5 / 10, 0]
        for step in range(1_500)
        for number in (1, 2)
    ]
    monkeypatch.chdir(tmp_path)
    with Path("boiler.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    recipe = [str(ROOT / word) if word.endswith(".toml") else word for word in train[1:]]
    for words in ([*recipe, "--epochs", "1"], score[1:]):
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    written = list(csv.reader(io.StringIO(Path("scores.csv").read_text())))
    assert tuple(written[0]) == SCORE_COLUMNS
    assert {row[0] for row in written[1:]} == {"boiler-1", "boiler-2"}
    assert len(written) > 2 * (1_500 - 60) // 10 - 4
