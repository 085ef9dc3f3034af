"""What the end-to-end tests share: real data, a trained bundle, topics."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine  # tests/support
from halving_bundle import make_bundle

from stream_detector.settings import ConnectionSettings
from stream_detector.settings_sources import ENVIRONMENT_PREFIX

GiveSettings = Callable[[dict[str, str], str], list[str]]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    runner = CommandLine(tmp_path)
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The local mirror of the data sets."""
    named = os.environ.get("STREAM_DETECTOR_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        reason = f"no data sets: STREAM_DETECTOR_DATA is not set and {folder} does not exist"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    os.environ["STREAM_DETECTOR_DATA"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def bundle(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's recipe, trained once for all the processes that run side by side."""
    del data_folder
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes
    out = folder / "trained" / "ecg5000-dense"
    out.parent.mkdir(exist_ok=True)
    with (out.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            runner = CommandLine(out.parent)
            runner.run("train", ROOT / "models" / "ecg5000-dense.toml", "--out", out, "--json")
    return out


@pytest.fixture(scope="session")
def beats_csv(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 4,998 beats of ECG5000 as a person's own file: key and 140 values a row."""
    del data_folder
    from stream_detector.datasets import load_dataset

    data = load_dataset("ecg5000")
    path = tmp_path_factory.mktemp("data") / "beats.csv"
    with path.open("w") as stream:
        names = ",".join(f"v{step}" for step in range(140))
        stream.write(f"key,{names}\n")
        for row, window in enumerate([*data.train, *data.test]):
            values = ",".join(str(value) for value in window.ravel())
            stream.write(f"beat-{row:04d},{values}\n")
    return path


@pytest.fixture
def topic_options(topics: Callable[..., str]) -> dict[str, str]:
    """Three fresh topics, by the option that names them."""
    return {
        "--input-topic": topics(4),
        "--alerts-topic": topics(1),
        "--dead-letter-topic": topics(1),
    }


@pytest.fixture(scope="session")
def halving_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that needs no training; anomalous where the mean size is above 1."""
    path = tmp_path_factory.mktemp("bundles") / "halving"
    make_bundle(path)
    return path


@pytest.fixture(scope="session")
def windows_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 normal windows and, with keys that begin with `odd`, 10 anomalous ones."""
    path = tmp_path_factory.mktemp("data") / "windows.csv"
    rows = [f"fine-{row}," + ",".join(["0.5"] * 140) for row in range(30)]
    rows += [f"odd-{row}," + ",".join(["3.5"] * 140) for row in range(10)]
    header = "key," + ",".join(f"v{step}" for step in range(140))
    path.write_text("\n".join([header, *rows, ""]))
    return path


@pytest.fixture
def give_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GiveSettings:
    """Give settings to commands by `environment` or `file`; returns the flags these need."""
    for name in ConnectionSettings.model_fields:
        monkeypatch.delenv(ENVIRONMENT_PREFIX + name.upper(), raising=False)

    def give(settings: dict[str, str], source: str) -> list[str]:
        if source == "file":
            path = tmp_path / "settings.toml"
            path.write_text("".join(f'{name} = "{value}"\n' for name, value in settings.items()))
            return ["--settings", str(path)]
        for name, value in settings.items():
            monkeypatch.setenv(ENVIRONMENT_PREFIX + name.upper(), value)
        return []

    return give
