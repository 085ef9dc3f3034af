"""Every shipped recipe: a few steps of training, an evaluation, and the stream that it is for."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import orjson
import pytest
from present import present

from stream_detector.assembly import build_detector
from stream_detector.bundle import Bundle, read_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.check_scorer import CheckScorer
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.datasets import images
from stream_detector.engines.onnx import load_onnx
from stream_detector.recipes import load_recipe
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics
from stream_detector.training import evaluate_on, load_windows, train

pytestmark = [
    pytest.mark.usefixtures("mirror"),
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

MODELS = sorted((Path(__file__).parents[3] / "models").glob("*.toml"))
FEW = {"data.n_windows": 700, "data.test_each": 20}
"""Where a recipe has such a key already, or is of images."""


@pytest.fixture(scope="module", autouse=True)
def images_once() -> Iterator[None]:
    """Each file of images is unpacked once, not by every recipe: pixels that nobody can write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_read", cache(images._read))
        yield


class Clock:
    """A second goes by at each look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        self.now_s += 1
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def few_steps(path: Path) -> list[str]:
    """Return changes with which a recipe trains for one epoch on little data."""
    recipe = load_recipe(path)
    changes = ["training.epochs=1", "training.batch_size=256"]
    for key, value in FEW.items():
        given = getattr(recipe.data, key.partition(".")[2])
        if given is not None or (key == "data.n_windows" and recipe.window.record == "image"):
            changes.append(f"{key}={value}")
    if recipe.data.series == "all":
        changes.append("data.series=106")
    if recipe.scorer.kind == "checks":
        changes.append("threshold.folds=2")
        # Of windows of which each holds most of the last one.
        if recipe.window.record == "samples" and recipe.peaks is None:
            changes.append(f"window.stride={recipe.window.steps}")
    return changes


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_recipe_trains_evaluates_and_detects(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, few_steps(path))
    train(recipe, tmp_path / "bundle")
    bundle = read_bundle(tmp_path / "bundle")
    data = load_windows(recipe)
    scorer = scorer_of(bundle)
    found, scores = evaluate_on(data, recipe, scorer)
    assert found.as_dict() == bundle.manifest.metrics
    assert np.isfinite(scores).all()
    if recipe.window.record == "samples":
        return  # tests/unit/test_cli_samples.py streams them
    worst = np.argsort(scores)[-20:]
    expected = [score for score in scores[worst].tolist() if score > scorer.threshold]
    assert alert_scores(bundle, data.test[worst]) == expected


def scorer_of(bundle: Bundle) -> ReconstructionScorer | CheckScorer:
    manifest = bundle.manifest
    return bundle.scorer(load_onnx(bundle.network_onnx, manifest.n_steps, manifest.n_features))


def alert_scores(bundle: Bundle, windows: FloatArray) -> list[float]:
    """Return the scores of the alerts that a stream of these windows gives."""
    broker = MemoryBroker(now_ms=lambda: 0)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    is_image = bundle.manifest.recipe.window.record == "image"
    broker.feed(
        "telemetry", [each.astype("u1" if is_image else "<f4").tobytes() for each in windows]
    )
    content_type = "image" if is_image else "float32"
    settings = load_settings(DetectSettings, stop_when_idle_s=1.0, content_type=content_type)
    client = broker.connect(topics=["telemetry"], group="g")
    detector = build_detector(bundle.manifest.recipe, scorer_of(bundle), bundle.reference)
    Service(client, detector, settings, Metrics(), Clock()).run()
    assert not broker.records("dead-letters")
    alerts = [orjson.loads(present(value)) for _, value in broker.records("alerts")]
    return [alert["score"] for alert in alerts]
