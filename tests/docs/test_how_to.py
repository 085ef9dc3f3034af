"""What single pages show is what the program takes and gives, beyond that their blocks run."""

from pathlib import Path

import pytest
from doc_pages import Block, read_blocks, read_page

from stream_detector.cli.score import SCORE_COLUMNS
from stream_detector.settings import ConnectionSettings, DetectSettings, load_settings


def files_of(page: str) -> dict[str, Block]:
    """Return the blocks of a page that are written to files, by their names."""
    return {block.title: block for block in read_blocks(page) if block.title}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_the_topics_made_are_the_default_ones() -> None:
    lines = [
        words
        for block in read_blocks("docs/how-to/run-on-kafka.md")
        for words in block.command_lines
        if words[0] == "kafka-topics.sh"
    ]
    names = ("input_topic", "alerts_topic", "dead_letter_topic")
    made = [option(words, "--topic") for words in lines]
    assert made == [DetectSettings.model_fields[name].default for name in names]


@pytest.mark.parametrize("page", ["run-on-kafka", "exactly-once", "workers"])
def test_a_settings_file_is_taken(page: str, tmp_path: Path) -> None:
    file = tmp_path / "detect.toml"
    file.write_text(files_of(f"docs/how-to/{page}.md")["detect.toml"].text)
    assert load_settings(DetectSettings, file).group == "ecg"


def test_the_settings_of_every_command_are_those_of_the_connection() -> None:
    prefixes = ("security_", "ssl_", "sasl_", "schema_registry_")
    others = {name for name in ConnectionSettings.model_fields if not name.startswith(prefixes)}
    assert others == {"bootstrap_servers", "client", "broker_timeout_s", "poll_bytes_max"}
    page = read_page("docs/how-to/run-on-kafka.md")
    assert all(f"`{name}`" in page for name in (*others, *prefixes))


def test_the_columns_of_scores_are_shown() -> None:
    header = ",".join(SCORE_COLUMNS)
    shown = [block.text for block in read_blocks("docs/tutorials/first-detector.md")]
    assert any(text.startswith(f"{header}\n") for text in shown)
