"""Recipes: the shipped ones, overrides, and every refusal."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.scoring.checks import CHECK_KINDS
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.errors import ConfigError
from stream_detector.recipes import Recipe, load_recipe, parse_recipe
from stream_detector.recipes.networks import DenseNetwork
from stream_detector.recipes.scorers import ShapeSection
from stream_detector.recipes.thresholds import SigmaSection

MODELS = Path(__file__).parents[3] / "models"
TUTORIAL = MODELS / "ecg5000-dense.toml"
SAMPLES = MODELS / "mitdb-dense.toml"
TELEMETRY = MODELS / "telemetry.toml"
OF_SAMPLES = ("window.record=samples", "window.sample_interval_ms=1")
STREAMED = ("data.name=parquet", "data.path=folder", "data.n_windows_in_memory=1000")


def refusal(*overrides: str) -> str:
    """Return the message with which the tutorial's recipe is refused after these overrides."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(TUTORIAL, overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipe_is_valid_and_named_like_its_file(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.description


def test_tutorial_recipe_says_what_the_tutorial_does() -> None:
    recipe = load_recipe(TUTORIAL)
    assert isinstance(recipe.network, DenseNetwork)
    assert recipe.network.units == (32, 16, 8)
    assert (recipe.scaling.kind, recipe.scaling.fit_on) == ("min-max", "all")
    assert (recipe.training.epochs, recipe.training.batch_size) == (20, 512)
    assert isinstance(recipe.threshold, SigmaSection)
    assert (recipe.threshold.n_sigma, recipe.threshold.calibrate_on) == (1.0, "train")
    assert recipe.published is not None
    assert recipe.published.figures() == {"accuracy": 0.944, "precision": 0.992, "recall": 0.907}


def test_calibration_is_on_held_out_windows_unless_the_recipe_says_otherwise() -> None:
    recipe = load_recipe(TUTORIAL, ["threshold.calibrate_on="])
    assert recipe.threshold.calibrate_on == "held-out"
    assert recipe.threshold.calibration_share == 0.2


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.epochs=3", "training", "epochs", 3),
        ("training.learning_rate=1", "training", "learning_rate", 1.0),
        ("network.units=[4, 2]", "network", "units", (4, 2)),
        ("data.split=official", "data", "split", "official"),
        ('data.split = "official"', "data", "split", "official"),
        ("alerting.severity={bad=1.0}", "alerting", "severity", {"bad": 1.0}),
    ],
)
def test_override_takes_toml_and_bare_words(
    override: str, section: str, key: str, value: object
) -> None:
    recipe = load_recipe(TUTORIAL, [override])
    assert getattr(getattr(recipe, section), key) == value


def test_last_override_wins() -> None:
    recipe = load_recipe(TUTORIAL, ["training.epochs=3", "training.epochs=4"])
    assert recipe.training.epochs == 4


def test_override_adds_one_severity() -> None:
    recipe = load_recipe(TUTORIAL, ["alerting.severity.page=5"])
    assert recipe.alerting.severity == {"warning": 1.0, "critical": 2.0, "page": 5.0}


def test_the_rules_of_alerts_are_those_of_the_recipe() -> None:
    rules = load_recipe(
        TUTORIAL, ["alerting.open_after=2", "alerting.open_within=3"]
    ).alerting.rules
    assert rules == AlertRules(
        open_after=2,
        open_within=3,
        update_interval_ms=60_000,
        close_after_ms=10_000,
        cooldown_ms=0,
        open_ms_max=600_000,
        flood_alerts_max=10,
        flood_window_ms=600_000,
        severities=(("warning", 1.0), ("critical", 2.0)),
        incident_within_ms=60_000,
    )
    none = load_recipe(TUTORIAL, ["alerting.incident_within_ms=0"]).alerting.rules
    assert none.incident_within_ms is None


def sections() -> list[type[BaseModel]]:
    """Return the classes of all tables, one for each kind of a network or threshold."""
    annotations = [field.annotation for field in Recipe.model_fields.values()]
    found = [each for part in annotations for each in (part, *get_args(part))]
    return [each for each in found if isinstance(each, type) and issubclass(each, BaseModel)]


def test_every_key_of_every_section_is_described() -> None:
    described = {section.__name__ for section in sections()}
    assert {"DataSection", "LstmNetwork", "LogMadSection", "PublishedSection"} <= described
    for section in sections():
        for key, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{key}"


def test_own_data_by_overrides() -> None:
    recipe = load_recipe(TUTORIAL, ["data.name=csv", "data.split=", "data.path=beats.csv"])
    assert recipe.data.path == "beats.csv"


def test_another_format_of_a_file_has_the_same_columns(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    lines = TUTORIAL.read_text().replace('name = "ecg5000"', 'name = "csv"', 1)
    own.write_text(lines.replace('split = "tutorial"', 'path = "a.csv"\nkey = "pump"\nlabel = ""'))
    data = load_recipe(own, ["data.name=parquet", "data.path=b.parquet"]).data
    assert (data.name, data.path, data.key, data.label) == ("parquet", "b.parquet", "pump", "")
    with pytest.raises(ConfigError, match=r"data\.path: expected the path of a file"):
        load_recipe(own, ["data.name=parquet"])
    assert load_recipe(own, ["data.name=ecg5000"]).data.key is None


@pytest.mark.parametrize("override", ["epochs", "=3", "training.=3", "name.epochs=3"])
def test_malformed_override_is_refused(override: str) -> None:
    assert repr(override) in refusal(override)


def test_all_problems_at_once_each_with_key_expected_and_received() -> None:
    message = refusal(
        "training.epoch=5", "training.epochs=0", "scaling.kind=standard", "window.stepz=1"
    )
    for part in (
        "training.epoch: expected one of the keys optimizer, learning_rate",
        "training.epochs: expected greater than or equal to 1, received 0",
        "window.stepz: expected one of the keys record, steps",
        "network.output_activation: a sigmoid gives values in [0, 1] only",
        "received 'standard'",
    ):
        assert part in message


@pytest.mark.parametrize(("n_problems", "end"), [(50, "k49"), (51, "and 1 more")])
def test_of_very_many_problems_the_first_are_named(n_problems: int, end: str) -> None:
    message = refusal(*(f"data.k{number}=1" for number in range(n_problems)))
    assert end in message.rpartition(";")[2]
    assert ("more" in message) == (n_problems > 50)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["scaling.kind=none"], "network.output_activation"),
        (["threshold.quantile=0.9"], "threshold.quantile: expected only with method = 'quantile'"),
        (["threshold.n_mad=5"], "threshold.n_mad: expected only with method = 'log-mad'"),
        (
            ["threshold.method=log-mad", "threshold.n_mad=-1"],
            "threshold.n_mad: expected greater than or equal to 0, received -1",
        ),
        (
            ["threshold.n_sigma=2", "threshold.method=log-mad"],
            "threshold.n_sigma: expected only with method = 'sigma', received 2 with 'log-mad'",
        ),
        (
            ["threshold.method=iqr"],
            "threshold.method: expected 'sigma', 'quantile', 'log-mad', 'false_alarms_per_day', "
            "'false_alarm_share', 'f-beta', received 'iqr'",
        ),
        (["threshold.method="], "threshold.method: expected a value, received none"),
        (
            ["threshold.folds=3"],
            "threshold.folds: expected only with calibrate_on = 'cross-fit', received 3 with ",
        ),
        (["threshold.folds=1"], "threshold.folds: expected greater than or equal to 2, received 1"),
        (
            ["training.patience=3"],
            "training.patience: expected only with held-out windows to stop by, received 3",
        ),
        *(
            ([f"training.devices={each}"], "training.devices: expected 'all', or a number of")
            for each in ("0", "true", "some", "2.0", "[2]")
        ),
        (
            ["training.devices=3", "training.batch_size=64"],
            "training.batch_size: expected a multiple of training.devices = 3, which share it "
            "evenly, received 64",
        ),
        (
            ["training.devices=128", "training.batch_size=64"],
            "training.batch_size: expected a multiple of training.devices = 128",
        ),
        (
            ["training.devices=2", "training.batch_size=1"],
            "training.batch_size: expected a multiple of training.devices = 2",
        ),
        (
            ["network.kind=adversarial", "training.devices=all"],
            "training.devices: expected only with a network that has one loss, received 'all' with "
            "network.kind = 'adversarial'; set training.devices = 1",
        ),
        (
            ["data.n_windows_in_memory=1000"],
            "data.n_windows_in_memory: expected only with data.name = parquet, received 1000",
        ),
        (
            ["data.name=csv", "data.path=a.csv", "data.n_windows_in_memory=1000"],
            "data.n_windows_in_memory: expected only with data.name = parquet, received 1000",
        ),
        ([*STREAMED, "data.n_windows_in_memory=99"], "expected greater than or equal to 100"),
        (
            [*STREAMED, "window.record=image"],
            "data.n_windows_in_memory: expected only with window.record = 'window' or 'samples', "
            "received it with 'image'",
        ),
        (
            [*STREAMED, "training.devices=all"],
            "training.devices: expected 1 with data.n_windows_in_memory, since windows that are "
            "read while a network is fitted go to one device, received 'all'",
        ),
        (
            [*STREAMED, "training.trim=true"],
            "training.trim: expected only with all windows in memory, received true with "
            "data.n_windows_in_memory = 1000; label what is not normal",
        ),
        (
            [*STREAMED, "network.kind=adversarial", "network.discriminator_units=[4]"],
            "data.n_windows_in_memory: expected only with a network that has one loss, received "
            "1000 with network.kind = 'adversarial'",
        ),
        (["training.patience=0"], "training.patience: expected greater than or equal to 1"),
        (
            ["network.kind=adversarial", "training.patience=3", "threshold.calibrate_on=held-out"],
            "training.patience: expected only with a network that has one loss, received 3 with "
            "network.kind = 'adversarial'; set training.epochs",
        ),
        (["threshold.beta=0"], "threshold.beta: expected only with method = 'f-beta'"),
        (
            ["threshold.method=f-beta", "threshold.beta=0"],
            "threshold.beta: expected greater than 0, received 0",
        ),
        (["threshold.sigma=1"], "threshold.sigma: expected one of the keys error, calibrate_on, "),
        (["data.name=cifar"], "data.name: expected 'ecg5000', 'synthetic-ecg', 'mitdb', 'smd', "),
        (["data.name=csv"], "data.path: expected the path of a file"),
        (["data.name=mitdb"], "data.series: expected the name of a series"),
        (["data.series=106"], "data.series: expected only with data.name = mitdb or smd or nab"),
        (["data.name=mitdb"], "window.features: expected 2 for data.name = 'mitdb', received 1"),
        (["data.name=smd"], "window.features: expected 38 for data.name = 'smd', received 1"),
        (["data.name=nab"], "window.record: expected 'samples' for data.name = 'nab'"),
        (["window.record=samples"], "window.record: expected 'window' for data.name = 'ecg5000'"),
        (["data.path=x"], "data.path: expected only with data.name = csv or parquet"),
        (["data.seed=1"], "data.seed: expected only with data.name = synthetic-ecg"),
        (
            ["window.steps=100"],
            "window.steps: expected 140 for data.name = 'ecg5000', received 100",
        ),
        (["window.record=sample"], "window.record: expected 'window'"),
        (["alerting.severity.warning=1.5"], "alerting.severity: expected the lowest level"),
        (["alerting.severity.critical=1"], "alerting.severity: expected different levels"),
        (
            ["alerting.open_after=3", "alerting.open_within=2"],
            "alerting.open_after: expected at most open_within = 2, received 3",
        ),
        (["alerting.open_after=2"], "alerting.open_after: expected at most open_within = 1"),
        (["alerting.open_within=65"], "alerting.open_within: expected less than or equal to 64"),
        (["alerting.open_ms_max=9999"], "close_after_ms: expected at most open_ms_max = 9999"),
        (["alerting.close_after_ms=0"], "close_after_ms: expected greater than or equal to 1"),
        (
            ["alerting.flood_window_ms=604800001"],
            "alerting.flood_window_ms: expected less than or equal to",
        ),
        (
            ["alerting.flood_alerts_max=0"],
            "alerting.flood_alerts_max: expected greater than or equal to 1",
        ),
        (
            ["alerting.features.p.deviation_min=-1"],
            "alerting.features.p.deviation_min: expected greater than or equal to 0, received -1",
        ),
        (
            ["scaling.relative=['a']", "scaling.counters=['b']", "scaling.logarithmic=['c','b']"],
            "scaling.logarithmic: expected features that are neither relative nor counters, "
            "received b",
        ),
        (
            [*STREAMED, "window.record=samples", "scaling.logarithmic=auto"],
            "scaling.logarithmic: expected names of features, received 'auto', which is for",
        ),
        (
            ["scaling.logarithmic=auto"],
            "scaling.logarithmic: expected names of features, received 'auto', which is for",
        ),
        (
            ["alerting.features.p.relative_deviation_min=-0.1"],
            "alerting.features.p.relative_deviation_min: expected greater than or equal to 0",
        ),
        (
            ["alerting.features.p.valid_min=3", "alerting.features.p.valid_max=2"],
            "alerting.features.p.valid_min: expected at most valid_max = 2, received 3",
        ),
        (
            ["alerting.features.p.direction=up"],
            "alerting.features.p.direction: expected 'above', 'below' or 'both', received 'up'",
        ),
        (
            ["alerting.features.p.direktion=above"],
            "alerting.features.p.direktion: expected one of the keys direction, deviation_min",
        ),
        (["alerting.features.p=5"], "alerting.features.p: expected"),
        (["alerting.cooldown_ms=-1"], "alerting.cooldown_ms: expected greater than or equal to 0"),
        (["network.output_activation=linear", "threshold.error=bce"], "threshold.error: bce needs"),
        (["training.loss=bce", "scaling.kind=none"], "training.loss: bce is defined on [0, 1]"),
        (
            ["data.name=csv", "data.path=a.csv", 'data.leave_out=[["a", 0, 1]]'],
            "data.leave_out: expected only with window.record = 'samples'",
        ),
        (
            ["data.name=csv", "data.path=a.csv", "data.time_format=noon"],
            "data.time_format: expected ms, s, us, ns, iso or a pattern",
        ),
        (["data.features=[1]"], "data.features: expected only with data.name = csv or parquet"),
        (["training.epochs=true"], "training.epochs: expected a valid integer, received True"),
        (["training.learning_rate=inf"], "training.learning_rate: expected a finite number"),
        (["published.accuracy=high"], "published.accuracy: expected a valid number"),
        (["name=Not a name"], "name: expected"),
        (["training="], "training.epochs: expected a value, received none"),
        (["training.batch_size="], "training.batch_size: expected a value, received none"),
        (
            ["network.kind=pca", "network.components=141"],
            "network.components: expected at most the 140 values of a window, received 141",
        ),
    ],
)
def test_impossible_combination_is_refused(overrides: list[str], expected: str) -> None:
    assert expected in refusal(*overrides)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["kind=gru"],
            "network.kind: expected 'dense', 'conv', 'image-conv', 'lstm', 'vae', 'adversarial', "
            "'pca', received 'gru'",
        ),
        (["kind="], "network.kind: expected a value, received none"),
        (["unit=[3]"], "network.unit: expected one of the keys output_activation, units, "),
        (
            ["filters=[8]"],
            "network.filters: expected only with kind = 'conv' or 'image-conv', received [8] with "
            "'dense'",
        ),
        (["kind=conv"], "network.filters: expected a value, received none"),
        (
            ["kind=conv", "units=[8]"],
            "network.units: expected only with kind = 'dense' or 'lstm' or 'vae' or 'adversarial', "
            "received [8] with 'conv'",
        ),
        (["units=[0]"], "network.units.0: expected greater than or equal to 1, received 0"),
        (["kind=lstm", "units=[8]"], "network.units: expected Tuple should have at least 2 items"),
        (["kind=vae", "kl_weight=0"], "network.kl_weight: expected greater than 0, received 0"),
        (["kind=adversarial"], "network.discriminator_units: expected a value, received none"),
        (["latent_l1=-1"], "network.latent_l1: expected greater than or equal to 0, received -1"),
    ],
)
def test_impossible_network_is_refused(overrides: list[str], expected: str) -> None:
    assert expected in refusal(*(f"network.{each}" for each in overrides))


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("method", "key", "default"),
    [
        ("sigma", "n_sigma", 3.0),
        ("quantile", "quantile", 0.995),
        ("log-mad", "n_mad", 5.0),
        ("false_alarms_per_day", "false_alarms_per_day", 0.2),
        ("false_alarm_share", "false_alarm_share", 0.01),
        ("f-beta", "beta", 1.0),
    ],
)
def test_a_method_is_chosen_without_removing_the_keys_of_another(
    path: Path, method: str, key: str, default: float
) -> None:
    recipe = load_recipe(path)
    before = recipe.threshold
    if method == "f-beta" and recipe.scorer.kind == "checks":
        with pytest.raises(
            ConfigError, match=r"threshold\.method: expected a method that needs no"
        ):
            load_recipe(path, [f"threshold.method={method}"])
        return
    if method == "false_alarms_per_day" and recipe.window.record != "samples":
        with pytest.raises(
            ConfigError, match=r"threshold\.method: expected 'false_alarms_per_day' only"
        ):
            load_recipe(path, [f"threshold.method={method}"])
        return
    after = load_recipe(path, [f"threshold.method={method}"]).threshold
    if before.method == method:
        assert after == before
        return
    assert after.model_dump(exclude_defaults=True) | {"method": method} == (
        before.model_dump(
            include={"error", "calibrate_on", "folds", "calibration_share"}, exclude_defaults=True
        )
        | {"method": method}
    )
    assert getattr(after, key) == default


def test_of_several_kinds_the_last_one_counts() -> None:
    overrides = ["threshold.method=quantile", "threshold.n_sigma=2", "threshold.method=sigma"]
    assert load_recipe(TUTORIAL, overrides).threshold == SigmaSection(
        method="sigma", n_sigma=2.0, calibrate_on="train"
    )


def test_another_network_keeps_the_keys_that_it_takes() -> None:
    vae = load_recipe(TUTORIAL, ["network.kind = 'vae'"]).network
    assert vae.model_dump(exclude_defaults=True) == {
        "kind": "vae",
        "units": (32, 16, 8),
        "output_activation": "sigmoid",
    }
    conv = load_recipe(TUTORIAL, ["network.kind=conv", "network.filters=[4]"]).network
    assert conv.model_dump(include={"kind", "output_activation"}) == {
        "kind": "conv",
        "output_activation": "sigmoid",
    }


def test_a_table_that_is_no_table_is_reported_as_such(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\nthreshold = 3\n')
    with pytest.raises(ConfigError, match="threshold is a value, not a table"):
        load_recipe(path, ["threshold.method=sigma"])


def test_noise_needs_data_between_0_and_1() -> None:
    assert load_recipe(TUTORIAL, ["training.noise=0.2"]).training.noise == 0.2
    assert (
        "training.noise: noise is clipped to [0, 1], expected scaling.kind = 'min-max' or 'pixels' "
        "with it, received 'standard'"
    ) in refusal("training.noise=0.2", "scaling.kind=standard")


def test_missing_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        load_recipe(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(ConfigError, match=r"broken\.toml cannot be read"):
        load_recipe(broken)


@pytest.mark.parametrize(("name", "series"), [("mitdb", "119"), ("smd", "2-1"), ("nab", "a/b")])
def test_a_series_is_text_also_where_it_looks_like_a_number(name: str, series: str) -> None:
    recipe = load_recipe(MODELS / f"{name}-dense.toml", [f"data.series={series}"])
    assert recipe.data.series == series


@pytest.mark.parametrize(
    ("name", "override", "expected"),
    [
        ("mitdb", "window.features=1", "window.features: expected 2"),
        ("smd", "window.features=2", "window.features: expected 38"),
        ("nab", "window.record=window", "window.record: expected 'samples'"),
        ("nab", "data.series=", "data.series: expected the name of a series"),
        ("mitdb", "data.series=true", "data.series: expected a valid string"),
        ("mitdb", "threshold.n_sigma=1", "threshold.n_sigma: expected only with method = 'sigma'"),
    ],
)
def test_impossible_recipe_of_samples_is_refused(name: str, override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(MODELS / f"{name}-dense.toml", [override])
    assert expected in str(caught.value)


IMAGES = MODELS / "fashion-basic.toml"


@pytest.mark.parametrize(
    ("recipe", "override", "expected"),
    [
        (IMAGES, "window.steps=27", "window.steps: expected 28 for data.name = 'fashion-mnist'"),
        (IMAGES, "window.channels=3", "a multiple of 3, received 28"),
        (IMAGES, "window.channels=2", "window.channels: expected 1 or 3, received 2"),
        (IMAGES, "window.stride=2", "window.stride: expected only with record = 'samples'"),
        (IMAGES, "window.record=window", "window.record: expected 'image' for data.name"),
        (IMAGES, "scaling.kind=standard", "expected scaling.kind = 'min-max' or 'pixels'"),
        (IMAGES, "data.normal=[10]", "expected less than or equal to 9, received 10"),
        (IMAGES, "data.normal=[]", "data.normal: expected"),
        (
            IMAGES,
            "data.anomalous_from=cifar",
            "expected 'mnist' or 'fashion-mnist', received 'cifar'",
        ),
        (IMAGES, "data.seed=1", "data.seed: expected only with data.name = synthetic-ecg"),
        (TUTORIAL, "data.normal=[1]", "data.normal: expected only with data.name = mnist or"),
        (TUTORIAL, "data.n_windows=100", "data.n_windows: expected only with"),
        (TUTORIAL, "window.channels=1", "window.channels: expected only with record = 'image'"),
        (TUTORIAL, "scaling.per_key=true", "scaling.per_key: expected only with window.record"),
        (IMAGES, "scaling.per_key=true", "received true with 'image'"),
        (TELEMETRY, "scaling.warm_up_samples=19", "expected 0 or at least 20, from which a"),
        (TELEMETRY, "scaling.warm_up_samples=10001", "scaling.warm_up_samples"),
        (TUTORIAL, "scaling.kind=pixels", "expected 'pixels' only with window.record = 'image'"),
        (TUTORIAL, "data.anomalous_share=1", "data.anomalous_share: expected less than 1"),
    ],
)
def test_impossible_recipe_of_images_or_draws_is_refused(
    recipe: Path, override: str, expected: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_recipe(recipe, [override])


def test_a_test_part_is_drawn_in_one_way() -> None:
    with pytest.raises(ConfigError, match=r"data\.test_each: expected only without"):
        load_recipe(IMAGES, ["data.test_each=5", "data.anomalous_share=0.1"])
    recipe = load_recipe(TUTORIAL, ["data.anomalous_share=0.1", "data.seed=2"])
    assert (recipe.data.anomalous_share, recipe.data.seed) == (0.1, 2)


def test_samples_have_no_test_part_to_draw() -> None:
    with pytest.raises(ConfigError, match=r"data\.test_each: expected only with windows that are"):
        load_recipe(MODELS / "smd-dense.toml", ["data.test_each=5"])


def test_a_persons_samples_take_any_shape() -> None:
    overrides = ["data.name=csv", "data.path=pumps.csv", "window.features=5", "window.steps=99"]
    recipe = load_recipe(MODELS / "mitdb-dense.toml", overrides)
    assert (recipe.window.record, recipe.window.features) == ("samples", 5)
    assert recipe.data.series is None


def test_recipe_survives_json() -> None:
    recipe = load_recipe(TUTORIAL)
    assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe


def test_mappings_are_checked_like_files() -> None:
    with pytest.raises(ConfigError, match="recipe here: name: expected a value, received none"):
        parse_recipe({}, where="here")


def test_another_data_set_takes_only_its_name_and_path() -> None:
    recipe = load_recipe(TUTORIAL, ["data.path=beats.csv", "data.name=csv"])
    assert (recipe.data.path, recipe.data.split) == ("beats.csv", None)
    assert recipe.published is None


def test_the_rules_of_windows_are_those_of_the_recipe() -> None:
    rules = load_recipe(SAMPLES).window.rules
    assert rules == WindowRules(
        n_steps=256,
        n_features=2,
        stride=32,
        sample_interval_ms=1000 / 360,
        gap_ms_max=256 * (1000 / 360),
        allowed_lateness_ms=0.0,
        missing="interpolate",
        missing_share_max=0.25,
        key_ttl_ms=3_600_000.0,
    )


def test_windows_do_not_overlap_and_end_at_a_gap_of_their_length_unless_told_otherwise() -> None:
    overrides = ["window.stride=", "window.gap_ms_max=", "window.sample_interval_ms=10"]
    rules = load_recipe(SAMPLES, overrides).window.rules
    assert (rules.stride, rules.gap_ms_max) == (256, 2_560)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["stride=0"], "window.stride: expected greater than or equal to 1, received 0"),
        (["stride=1.5"], "window.stride: expected a valid integer"),
        (
            ["sample_interval_ms="],
            "window.sample_interval_ms: expected at least 1 for record = 'samples', received 0; "
            "set the number of milliseconds between two samples",
        ),
        (["sample_interval_ms=0.5"], "window.sample_interval_ms: expected at least 1"),
        (
            ["sample_interval_ms=10", "gap_ms_max=9"],
            "window.gap_ms_max: expected between 1.5 times sample_interval_ms and a whole window, "
            "15.0 to 2560, received 9",
        ),
        (["sample_interval_ms=10", "gap_ms_max=2561"], "15.0 to 2560, received 2561"),
        (["gap_ms_max=0"], "window.gap_ms_max: expected greater than 0"),
        (["key_ttl_ms=99"], "window.key_ttl_ms: expected at least the time of a window = 711"),
        (["gap_ms_max=400", "key_ttl_ms=399"], "expected at least gap_ms_max = 400, received 399"),
        (
            ["allowed_lateness_ms=4000000"],
            "window.key_ttl_ms: expected at least allowed_lateness_ms",
        ),
        (
            ["allowed_lateness_ms=-1"],
            "window.allowed_lateness_ms: expected greater than or equal to 0",
        ),
        (["missing=zero"], "window.missing: expected 'reject', 'hold' or 'interpolate'"),
        (["missing_share_max=1"], "window.missing_share_max: expected less than 1"),
        (["record=window"], "window.record: expected 'samples' for data.name = 'mitdb'"),
        (
            ["record=window"],
            "window.stride: expected only with record = 'samples', received 32 with 'window'",
        ),
        (["record=window"], "window.key_ttl_ms: expected only with record = 'samples'"),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(SAMPLES, [f"window.{each}" for each in overrides])
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["sample_interval_ms=1"],
        ["sample_interval_ms=10", "gap_ms_max=15"],
        ["sample_interval_ms=10", "gap_ms_max=2560", "key_ttl_ms=2560"],
        ["allowed_lateness_ms=3600000"],
    ],
)
def test_windows_of_the_smallest_and_the_largest_numbers_can_be_cut(overrides: list[str]) -> None:
    recipe = load_recipe(SAMPLES, ["window.gap_ms_max=", *(f"window.{each}" for each in overrides)])
    for each in overrides:
        name, _, value = each.partition("=")
        assert getattr(recipe.window, name) == float(value)


def test_a_window_has_a_largest_number_of_values() -> None:
    own = ["data.name=csv", "data.path=x.csv", "data.seed=", "data.n_windows="]
    assert load_recipe(TUTORIAL, [*own, "window.steps=262144"]).window.steps == 262_144
    with pytest.raises(ConfigError, match="expected at most 262144 values in a window"):
        load_recipe(TUTORIAL, [*own, "window.steps=131073", "window.features=2"])


def test_a_range_of_one_valid_value_is_one() -> None:
    changes = [f"alerting.features.p.valid_{each}=3" for each in ("min", "max")]
    assert load_recipe(TUTORIAL, changes).alerting.features["p"].valid_min == 3


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["no_data_after_ms=3600000"], "less than window.key_ttl_ms = 3600000, received 3600000"),
        (["no_data_after_ms=2"], "more than window.sample_interval_ms = 2.77"),
        (["no_data_after_ms=0"], "greater than or equal to 1, received 0"),
    ],
)
def test_data_cannot_be_missed_too_early_or_too_late(overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(SAMPLES, [f"alerting.{each}" for each in overrides])
    assert f"alerting.no_data_after_ms: expected {expected}" in str(caught.value)


def test_data_is_missed_between_those_bounds_and_off_by_default() -> None:
    assert load_recipe(SAMPLES).live_rules.no_data_after_ms is None
    for after_ms in (3, 3_599_999):
        recipe = load_recipe(SAMPLES, [f"alerting.no_data_after_ms={after_ms}"])
        assert recipe.live_rules.no_data_after_ms == after_ms
    with pytest.raises(ConfigError, match="no_data_after_ms: expected only with"):
        load_recipe(TUTORIAL, ["alerting.no_data_after_ms=1000"])
    whole = ["window.sample_interval_ms=10", "window.gap_ms_max="]
    recipe = load_recipe(SAMPLES, [*whole, "alerting.no_data_after_ms=11"])
    assert recipe.live_rules.no_data_after_ms == 11
    with pytest.raises(ConfigError, match=r"expected more than window.sample_interval_ms = 10"):
        load_recipe(SAMPLES, [*whole, "alerting.no_data_after_ms=10"])


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("csv", "a.PARQUET", "expected no .parquet or .pq file for data.name = 'csv', received 'a"),
        ("parquet", "a.csv", "received 'a.csv'; set data.name = 'csv', or give another file"),
    ],
)
def test_a_file_of_another_format_is_refused(name: str, path: Path, words: str) -> None:
    changes = [f"data.name={name}", f"data.path={path}"]
    with pytest.raises(ConfigError) as caught:
        load_recipe(SAMPLES, changes)
    assert "data.path: expected " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["check=[]"], "check: expected a table [[check]] with scorer.kind = 'checks'"),
        (["check=[{kind='flat'},{kind='flat'}]"], "check: expected each kind once"),
        (["check=[{kind='shape',axes=0}]"], "check.0.axes.0: expected greater than or equal to 1"),
        (
            ["check=[{kind='flat',axes=3}]"],
            "check.0.axes: expected only with kind = 'shape', received 3 with 'flat'",
        ),
        (
            ["check=[{kind='shape',axes=[8,9]}]"],
            "check.0.axes: expected one number, or one for each of neighbour_steps, received "
            "[8, 9] with no neighbour_steps",
        ),
        (
            ["check=[{kind='flat'},{kind='shape',axes=[8,9],neighbour_steps=[5,6,7]}]"],
            "check.1.axes: expected one number, or one for each of neighbour_steps, received "
            "[8, 9] with 3",
        ),
        (
            ["check=[{kind='shape',error=false,neighbour_steps=[]}]"],
            "check.0.neighbour_steps: expected some with error = false",
        ),
        (["check=[{kind='shape',axes=[]}]"], "check.0.axes: expected "),
        (["check=[{kind='shape',whitening=1.1}]"], "check.0.whitening: expected less than or"),
        (["check=[{}]"], "check.0.kind: expected a value, received none"),
        (["check=[{kind='odd'}]"], "check.0.kind: expected 'shape', 'peak', 'flat', 'noise'"),
        (["scorer.short_steps=1"], "scorer.short_steps: expected greater than or equal to 2"),
        (["window.steps=1", "window.stride=1"], "window.steps: expected at least 2"),
        (
            ["check=[{kind='shift'}]", "scorer.short_steps=21"],
            "window.steps: expected at least 3 times scorer.short_steps with the check 'shift', "
            "received 60 with 21",
        ),
        (
            ["check=[{kind='shift'}]", "window.steps=47"],
            "window.steps: expected at least 3 times scorer.short_steps with the check 'shift', "
            "received 47 with 16",
        ),
    ],
)
def test_checks_that_cannot_be_made_are_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_recipe(TELEMETRY, overrides)


def test_a_shift_fits_into_three_times_its_steps() -> None:
    recipe = load_recipe(TELEMETRY, ["check=[{kind='shift'}]", "scorer.short_steps=20"])
    assert recipe.window.steps == 60


@pytest.mark.parametrize(
    ("keys", "axes"),
    [("", (24,)), (",axes=8", (8,)), (",axes=[8,16],neighbour_steps=[60,60]", (8, 16))],
)
def test_one_number_of_axes_is_for_all_groups(keys: str, axes: tuple[int, ...]) -> None:
    (check,) = load_recipe(TELEMETRY, [f"check=[{{kind='shape'{keys}}}]"]).check
    assert isinstance(check, ShapeSection)
    assert check.axes == axes


def test_a_check_needs_a_scorer_that_takes_it() -> None:
    assert "check: expected only with scorer.kind = 'checks'" in refusal("check=[{kind='shape'}]")


def test_another_scorer_needs_no_unsetting_of_the_checks() -> None:
    recipe = load_recipe(TELEMETRY, ["scorer.kind=reconstruction"])
    assert (recipe.scorer.kind, recipe.check) == ("reconstruction", ())


def test_the_telemetry_recipe_looks_in_every_way() -> None:
    recipe = load_recipe(TELEMETRY)
    assert recipe.scorer.kind == "checks"
    assert (*(each.kind for each in recipe.check), "shift", "rhythm") == CHECK_KINDS


def test_principal_components_may_be_all_values_of_a_window_and_need_no_training() -> None:
    path = MODELS / "synthetic-ecg-dense.toml"
    changes = ["network.kind=pca", "network.components=140"]
    assert load_recipe(path, [*changes, "training="]).n_epochs == 1
    assert load_recipe(path, [*changes, "training.epochs=7"]).n_epochs == 1
    assert load_recipe(path, ["training.epochs=7"]).n_epochs == 7


@pytest.mark.parametrize("n_samples", [0, 20, 10_000])
def test_a_new_key_may_wait_for_so_many_samples(n_samples: int) -> None:
    recipe = load_recipe(TELEMETRY, [f"scaling.warm_up_samples={n_samples}"])
    assert recipe.scaling.warm_up_samples == n_samples


def test_a_count_may_be_as_large_as_any_other() -> None:
    most = 2**31 - 1
    changes = [f"training.{each}={most}" for each in ("devices", "batch_size")]
    assert load_recipe(TUTORIAL, changes).training.devices == most


@pytest.mark.parametrize("devices", ["1", "2", "64", "'all'"])
def test_devices_that_share_a_batch_evenly_are_accepted(devices: str) -> None:
    recipe = load_recipe(TUTORIAL, [f"training.devices={devices}", "training.batch_size=64"])
    assert repr(recipe.training.devices) == devices
