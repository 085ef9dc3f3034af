"""The commands encode, reconstruct and generate."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle, untrained_network  # tests/support
from numpy.typing import NDArray
from PIL import Image

from stream_detector.core.records import FloatArray
from stream_detector.recipes import Recipe, load_recipe

MODELS = Path(__file__).parents[3] / "models"
LINEAR = "network.output_activation=linear"
WINDOWS = ("data.name=csv", "data.path=windows.csv")
START_MS = 1_767_225_600_000

Run = Callable[..., tuple[int, str, str]]

needs_keras = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run commands in an empty folder."""
    monkeypatch.chdir(tmp_path)


def window_recipe(*changes: str) -> Recipe:
    return load_recipe(
        MODELS / "synthetic-ecg-dense.toml",
        [*WINDOWS, LINEAR, "window.steps=4", "network.units=[3,2]", *changes],
    )


def sample_recipe(*more: str) -> Recipe:
    changes = {
        "data.name": "csv",
        "data.path": "samples.csv",
        "window.steps": 4,
        "window.stride": 2,
        "window.features": 2,
        "window.sample_interval_ms": 10,
        "window.missing_share_max": 0.5,
        "network.units": "[3,2]",
    }
    return load_recipe(
        MODELS / "mitdb-dense.toml", [LINEAR, *(f"{key}={changes[key]}" for key in changes), *more]
    )


def image_recipe(*changes: str) -> Recipe:
    return load_recipe(
        MODELS / "fashion-basic.toml",
        [*WINDOWS, LINEAR, "window.steps=2", "window.features=3", *changes],
    )


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def write_windows(path: Path, n_windows: int = 3) -> FloatArray:
    windows = np.random.default_rng(0).normal(size=(n_windows, 4))
    rows = [["pump-7", START_MS + number, *row] for number, row in enumerate(windows.tolist())]
    write_csv(path, ["key", "timestamp_ms", "a", "b", "c", "d"], rows)
    return windows.astype(np.float32)[:, :, np.newaxis]


def test_windows_are_reconstructed_in_the_form_they_have(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", window_recipe())
    windows = write_windows(tmp_path / "windows.csv")
    assert run("reconstruct", "bundle", "windows.csv", "--out", "out.csv")[:2] == (0, "")
    header, *rows = read_csv(tmp_path / "out.csv")
    assert header == ["key", "timestamp_ms", "v0", "v1", "v2", "v3"]
    assert [row[:2] for row in rows] == [["pump-7", str(START_MS + n)] for n in range(3)]
    found = np.array([row[2:] for row in rows], dtype=np.float64)
    assert np.array_equal(found, windows[:, :, 0] / 2)
    code, out, _ = run("score", "bundle", "out.csv")
    assert (code, out.count("\n")) == (0, 4)


def test_windows_without_keys_stay_without(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", window_recipe())
    (tmp_path / "windows.csv").write_text("2,4,6,8\n")
    assert run("reconstruct", "bundle", "windows.csv") == (0, "v0,v1,v2,v3\n1.0,2.0,3.0,4.0\n", "")


def test_reconstructed_windows_are_joined_to_samples(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", sample_recipe())
    times_ms = [START_MS + 10 * number for number in range(9) if number != 3]
    rows: list[list[object]] = [
        ["b", time_ms, number, "" if number == 1 else 10 * number]
        for number, time_ms in enumerate(times_ms)
    ]
    rows.insert(2, ["a", START_MS + 0.5, 1, 2])
    write_csv(tmp_path / "samples.csv", ["key", "timestamp_ms", "flow", "load"], rows)
    code, out, err = run("reconstruct", "bundle", "samples.csv")
    header, *found = csv.reader(out.splitlines())
    assert (code, header) == (0, ["key", "timestamp_ms", "flow", "load"])
    assert [row[:2] for row in found] == [[str(cell) for cell in row[:2]] for row in rows]
    cells = [row[2:] for row in found]
    assert cells[2] == ["", ""]
    assert cells[8] == ["", ""]  # after the last whole window
    assert "2 of 9 samples lie in no window" in err
    assert cells[0] == ["0.0", "0.0"]
    assert cells[1] == ["0.5", "5.0"]  # filled in between 0 and 20, and halved
    assert [float(row[0]) for row in cells[3:8]] == [1.0, 1.5, 2.0, 2.5, 3.0]


def test_images_become_files(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", image_recipe())
    rows = [["dark", 0, 0, 0, 0, 0, 0], ["../b", 254, 254, 20, 20, 100, 0]]
    write_csv(tmp_path / "windows.csv", ["key", *"abcdef"], rows)
    assert run("reconstruct", "bundle", "windows.csv", "--out", "made") == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [".._b.png", "dark.png"]
    assert pixels_of(tmp_path / "made" / ".._b.png").tolist() == [[127, 127, 10], [10, 50, 0]]


def test_a_folder_of_images_becomes_another(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", image_recipe())
    (tmp_path / "seen").mkdir()
    for name, value in (("b.PNG", 100), ("a.png", 50), ("a.jpg", 20)):
        grey = np.full((2, 3), value, np.uint8)
        Image.fromarray(grey).save(tmp_path / "seen" / name)
    assert run("reconstruct", "bundle", "seen", "--out", "made") == (0, "", "")
    made = {path.name: pixels_of(path)[0, 0] for path in (tmp_path / "made").iterdir()}
    assert made == {"00000-a.png": 10, "00001-a.png": 25, "00002-b.png": 50}
    assert run("reconstruct", "bundle", "seen/b.PNG", "--out", "one") == (0, "", "")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["b.png"]


@pytest.mark.parametrize("out", [[], ["--out", "windows.csv"]])
def test_images_go_into_a_folder_only(run: Run, tmp_path: Path, out: list[str]) -> None:
    make_bundle(tmp_path / "bundle", image_recipe())
    write_csv(tmp_path / "windows.csv", [*"abcdef"], [[0] * 6])
    code, _, err = run("reconstruct", "bundle", "windows.csv", *out)
    assert code == 2
    assert err.startswith("error: --out: ")


@pytest.mark.parametrize("command", ["reconstruct", "score"])
def test_an_unwritable_output_is_an_error(run: Run, tmp_path: Path, command: str) -> None:
    make_bundle(tmp_path / "bundle", window_recipe())
    write_windows(tmp_path / "windows.csv")
    code, _, err = run(command, "bundle", "windows.csv", "--out", "absent/out.csv")
    assert code == 2
    assert err.startswith("error: --out: absent/out.csv cannot be written: ")


def test_a_value_that_cannot_be_scored_is_refused(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", window_recipe())
    (tmp_path / "windows.csv").write_text("1,2,4,3\n1,2,4,1e30\n")
    code, out, err = run("reconstruct", "bundle", "windows.csv")
    assert (code, out) == (6, "")
    assert "reconstructing windows.csv: window 1: " in err


class TestWithKeras:
    pytestmark = needs_keras

    @staticmethod
    def make(path: Path, recipe: Recipe) -> None:
        make_bundle(path, recipe, untrained_network(recipe))

    def test_latent_codes_are_those_of_the_encoder_whatever_the_batch(
        self, run: Run, tmp_path: Path
    ) -> None:
        from stream_detector.engines.keras import load_parts

        self.make(tmp_path / "bundle", window_recipe())
        windows = write_windows(tmp_path / "windows.csv", 70)
        assert run("encode", "bundle", "windows.csv", "--out", "codes.csv")[:2] == (0, "")
        header, *rows = read_csv(tmp_path / "codes.csv")
        assert header == ["key", "window_start_ms", "latent_0", "latent_1"]
        assert [row[:2] for row in rows[:2]] == [["pump-7", str(START_MS + n)] for n in range(2)]
        found = np.array([row[2:] for row in rows], dtype=np.float64)
        parts = load_parts(tmp_path / "bundle" / "network.keras", 4, 1)
        assert np.array_equal(found, parts.encode(windows))
        for number in (0, 69):
            alone = windows[number : number + 1]
            assert np.array_equal(parts.encode(alone)[0], found[number])
            assert np.array_equal(parts.decode(parts.encode(alone)), parts.reconstruct(alone))
        assert len(np.unique(found, axis=0)) > 30

    def test_only_a_network_with_a_prior_is_sampled_from(self, run: Run, tmp_path: Path) -> None:
        self.make(tmp_path / "bundle", window_recipe())
        code, out, err = run("generate", "bundle")
        assert (code, out) == (2, "")
        assert "expected a network of kind vae or adversarial, received 'dense'" in err

    def test_what_is_drawn_is_read_again_by_score(self, run: Run, tmp_path: Path) -> None:
        adversarial = ("network.kind=adversarial", "network.discriminator_units=[4]")
        self.make(tmp_path / "windows", window_recipe("network.kind=vae"))
        self.make(tmp_path / "samples", sample_recipe(*adversarial))
        for bundle in ("windows", "samples"):
            drawn = []
            for seed in (1, 1, 2):
                arguments = ("--n", 5, "--seed", seed, "--out", "drawn.csv")
                assert run("generate", bundle, *arguments) == (0, "", "")
                drawn.append((tmp_path / "drawn.csv").read_text())
            assert drawn[0] == drawn[1] != drawn[2]
            code, out, err = run("score", bundle, "drawn.csv")
            assert (code, err) == (0, "")
            keys = [line.partition(",")[0] for line in out.splitlines()[1:]]
            assert keys == [f"sample-{number:05d}" for number in range(5)]

    def test_images_are_drawn_into_files(self, run: Run, tmp_path: Path) -> None:
        self.make(tmp_path / "images", image_recipe("network.kind=vae"))
        assert run("generate", "images", "--n", 3, "--out", "drawn") == (0, "", "")
        names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
        assert names == [f"sample-{number:05d}.png" for number in range(3)]
        assert pixels_of(tmp_path / "drawn" / names[0]).shape == (2, 3)

    def test_a_code_that_is_a_map_is_written_in_a_row(self, run: Run, tmp_path: Path) -> None:
        recipe = image_recipe(
            *("network.kind=image-conv", "network.units=", "network.activation="),
            *("network.filters=[3]", "window.steps=4", "window.features=6"),
        )
        self.make(tmp_path / "bundle", recipe)
        write_csv(tmp_path / "images.csv", [f"v{n}" for n in range(24)], [[9] * 24])
        code, out, _ = run("encode", "bundle", "images.csv")
        assert code == 0
        assert out.splitlines()[0].endswith(f",latent_{2 * 3 * 3 - 1}")
