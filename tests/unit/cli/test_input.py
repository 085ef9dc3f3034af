"""`--set input.KEY=VALUE` of the commands that read a topic."""

from pathlib import Path

import pytest
from input_forms import write_bundle

from stream_detector.assembly import open_bundle, require_content_type
from stream_detector.cli.options import input_changes, run_changes
from stream_detector.errors import ConfigError


def test_options_become_keys_of_the_table() -> None:
    assert input_changes(None) is None
    words = ["input.key=device", "input.values=", 'input.features.t="a.b"']
    assert input_changes(words) == {"key": "device", "values": "", "features": {"t": "a.b"}}


@pytest.mark.parametrize("word", ["window.steps=5", "name=x", "input=5"])
def test_other_tables_are_fixed_by_the_bundle(word: str) -> None:
    with pytest.raises(ConfigError, match=r"--set: expected input.KEY=VALUE, received"):
        input_changes([word])
    known = r"--set: expected input.KEY=VALUE or alerting.KEY=VALUE, received"
    with pytest.raises(ConfigError, match=known):
        run_changes([word])


def test_a_run_changes_rules_of_alerts_too() -> None:
    words = ["alerting.features.p.direction=below", "alerting.open_after=2", "input.key=device"]
    assert run_changes(words) == {
        "alerting": {"features": {"p": {"direction": "below"}}, "open_after": 2},
        "input": {"key": "device"},
    }
    with pytest.raises(ConfigError, match=r"expected input.KEY=VALUE, received alerting;"):
        input_changes(words)


def test_a_format_needs_a_table_that_reads_it(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", {})
    with pytest.raises(ConfigError, match=r"expected json or float32, because.* received 'csv'"):
        require_content_type("csv", open_bundle(path))
    require_content_type("csv", open_bundle(path, changes={"input": {"key": "0"}}))
    require_content_type(None, open_bundle(path))
