"""What docs/how-to/security.md shows is what the program takes."""

import re
from pathlib import Path

import pytest
from doc_pages import read_blocks, read_page

from stream_detector.settings import (
    ConnectionSettings,
    DetectSettings,
    load_settings,
)
from stream_detector.settings_sources import ENVIRONMENT_PREFIX

PAGE = "docs/how-to/security.md"
DOCUMENT = read_page(PAGE)
FILES = [block.text for block in read_blocks(PAGE) if block.language == "toml"]


@pytest.mark.parametrize(("number", "protocol"), [(0, "SASL_SSL"), (1, "SSL")])
def test_the_settings_files_shown_are_taken(
    number: int, protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ConnectionSettings.model_fields:
        monkeypatch.delenv(ENVIRONMENT_PREFIX + name.upper(), raising=False)
    if protocol == "SASL_SSL":
        monkeypatch.setenv("STREAM_DETECTOR_SASL_PASSWORD", "secret")
    file = tmp_path / "detect.toml"
    file.write_text(FILES[number])
    assert load_settings(ConnectionSettings, file).security_protocol == protocol


def test_the_settings_named_exist() -> None:
    names = set(re.findall(r"`((?:ssl|sasl|security|broker|metrics|instance)_\w+)[`\s]", DOCUMENT))
    assert len(names) >= 5
    assert names <= set(DetectSettings.model_fields)
