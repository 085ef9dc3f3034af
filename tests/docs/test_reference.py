"""What the pages of docs/reference show by hand is what the program takes and gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doc_pages import read_blocks, read_page

from stream_detector.cli.score import SCORE_COLUMNS
from stream_detector.core.codec.windows import decode_windows
from stream_detector.settings import ConnectionSettings, DetectSettings, load_settings


def block_of(page: str, language: str) -> str:
    """Return the only block of a page in a language."""
    (found,) = (
        each for each in read_blocks(f"docs/reference/{page}.md") if each.language == language
    )
    return found.text


def test_the_records_shown_decode_to_the_same_window() -> None:
    names: dict[str, Any] = {}
    exec(block_of("record-formats", "python"), names)  # noqa: S102
    values = [names["as_json"], names["as_float32"]]
    headers = [names["as_json_headers"], names["as_float32_headers"]]
    decoded = decode_windows(values, headers, (140, 1), "json")
    assert not decoded.rejected
    for window in decoded.windows:
        assert np.array_equal(window[:, 0], names["window"])
    assert decoded.timestamps_ms == {0: 1767225600000}


def test_the_columns_of_scores_are_named_in_their_order() -> None:
    words = " ".join(read_page("docs/reference/record-formats.md").split())
    assert ", ".join(f"`{name}`" for name in SCORE_COLUMNS) in words


def test_the_settings_file_shown_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_DETECTOR_SASL_PASSWORD", "secret")
    file = tmp_path / "detect.toml"
    file.write_text(block_of("settings", "toml"))
    settings = load_settings(DetectSettings, file)
    assert settings.metrics_port == 9108
    assert "secret" not in repr(settings)


def test_the_settings_named_for_every_command_are_those_of_the_connection() -> None:
    prefixes = ("security_", "ssl_", "sasl_", "schema_registry_")
    others = {name for name in ConnectionSettings.model_fields if not name.startswith(prefixes)}
    assert others == {"bootstrap_servers", "client", "broker_timeout_s", "poll_bytes_max"}
    text = read_page("docs/reference/settings.md").partition("`replay`, `alerts`")[2]
    assert all(f"`{name}`" in text for name in (*others, *prefixes))
