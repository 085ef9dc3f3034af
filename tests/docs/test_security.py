"""What docs/security.md shows is what the program takes."""

import re
from pathlib import Path

import pytest

from stream_detector.settings import (
    ENVIRONMENT_PREFIX,
    ConnectionSettings,
    DetectSettings,
    load_settings,
)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
FILES = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("number", "protocol"), [(0, "SASL_SSL"), (1, "SSL")])
def test_the_settings_files_shown_are_taken(number, protocol, tmp_path, monkeypatch):
    for name in ConnectionSettings.model_fields:
        monkeypatch.delenv(ENVIRONMENT_PREFIX + name.upper(), raising=False)
    if protocol == "SASL_SSL":
        monkeypatch.setenv("STREAM_DETECTOR_SASL_PASSWORD", "secret")
    file = tmp_path / "detect.toml"
    file.write_text(FILES[number])
    assert load_settings(ConnectionSettings, file).security_protocol == protocol


def test_the_settings_named_exist():
    names = set(re.findall(r"`((?:ssl|sasl|security|broker|metrics|instance)_\w+)[`\s]", DOCUMENT))
    assert len(names) >= 5
    assert names <= set(DetectSettings.model_fields)
