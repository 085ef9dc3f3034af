"""The command `capture`, on a broker in this process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle, make_bundle_of_samples

from stream_detector.cli.capture import changes_for
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.codec.samples import encode_samples
from stream_detector.core.features import Features
from stream_detector.core.records import OutputRecord
from stream_detector.recipes import load_recipe
from stream_detector.recipes.columns import ColumnMap

ROOT = Path(__file__).resolve().parents[3]
TIME_MS = 1_767_225_600_000
PUMPS = Features(("flow", "pressure"))
N_SECONDS = 120

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here, with two minutes of two pumps."""
    made = MemoryBroker()
    made.create_topic("telemetry")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, topics=(), **__: made.connect(topics=topics)
    )
    records = []
    for second in range(N_SECONDS):
        for number, key in enumerate((b"pump-1", b"pump-2")):
            time_ms = TIME_MS + 1_000 * second
            values = np.array([[second + 0.25, number]], np.float32)
            value = encode_samples(values, "json")
            records.append(OutputRecord("telemetry", key, value, (), time_ms))
    broken = OutputRecord("telemetry", b"pump-1", b"{", (), TIME_MS + 1_000 * N_SECONDS - 1_000)
    made.feed("telemetry", [*records, broken])
    return made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of windows of 20 samples, one a second."""
    path = tmp_path_factory.mktemp("bundles") / "pumps"
    make_bundle_of_samples(path, n_features=2, features=PUMPS)
    return path


def test_what_a_topic_holds_becomes_a_file_with_the_names_of_the_bundle(
    broker: MemoryBroker, bundle: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "last minute.csv"
    code, printed, said = run("capture", bundle, "--minutes", 1, "--out", out)
    assert (code, printed) == (0, "")
    rows = out.read_text().splitlines()
    assert rows[:2] == ["key,timestamp_ms,flow,pressure", f"pump-1,{TIME_MS + 59_000},59.25,0.0"]
    assert len(rows) == 1 + 2 * 61
    assert f"122 samples of 2 keys in 1 min written to {out}" in said
    assert "1 of the records were rejected, the first: not JSON" in said
    assert f"--set 'data.path={out}' --out bundles/NEW" in said
    assert not broker.committed


def test_without_a_file_it_goes_to_standard_output(
    broker: MemoryBroker, bundle: Path, run: Run
) -> None:
    del broker
    code, printed, said = run("capture", bundle, "--minutes", 0.5)
    assert code == 0
    assert len(printed.splitlines()) == 1 + 2 * 31
    assert "to train on it" not in said


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        ("", ""),
        ('time = "when"\ntime_format = "iso"\n', "data.time= data.time_format="),
        ('key = "machine"\nlabel = "fault"\n', "data.key= data.label="),
        (
            'feature_name = "tag"\nfeature_value = "value"\n',
            "data.feature_name= data.feature_value=",
        ),
    ],
)
def test_a_recipe_is_trained_on_it_whatever_its_columns_are(
    tmp_path: Path, data: str, changes: str
) -> None:
    path, recipe = tmp_path / "new.csv", tmp_path / "recipe.toml"
    path.write_text("key,timestamp_ms,flow,pressure\npump-1,1,2,3\n")
    text = (ROOT / "models" / "smd-dense.toml").read_text().split("[window]")[1]
    head = 'name = "pumps"\n[data]\nname = "csv"\npath = "old.csv"\n'
    recipe.write_text(head + data + "[window]" + text.replace("features = 38", "features = 2"))
    said = changes_for(load_recipe(recipe).data, path)
    assert " ".join(said[1:]) == changes
    changed = load_recipe(recipe, said).data
    assert (changed.path, changed.columns) == (str(path), ColumnMap())


def test_a_recipe_of_a_data_set_is_trained_on_it_too(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "models" / "smd-dense.toml")
    said = changes_for(recipe.data, tmp_path / "new.csv")
    changed = load_recipe(ROOT / "models" / "smd-dense.toml", said).data
    assert (changed.name, changed.path) == ("csv", str(tmp_path / "new.csv"))


def test_what_cannot_be_captured_is_refused_before_anything_is_read(
    broker: MemoryBroker, bundle: Path, tmp_path: Path, run: Run
) -> None:
    del broker
    for out in (tmp_path, tmp_path / "none" / "x.csv"):
        code, _, said = run("capture", bundle, "--out", out)
        assert (code, f"--out: expected a file that can be written, received {out}" in said) == (
            2,
            True,
        )
    make_bundle(tmp_path / "windows")
    code, _, said = run("capture", tmp_path / "windows")
    assert code == 2
    assert "expected one whose records are samples, received one of windows" in said
