"""The table `[peaks]`: its refusals, and the steps that come of hertz and milliseconds."""

from pathlib import Path

import pytest

from stream_detector.core.windowing.peaks import PeakRules
from stream_detector.errors import ConfigError
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.recipes.peaks import PeaksSection

MODELS = Path(__file__).parents[3] / "models"
BEATS = MODELS / "mitdb-beats.toml"
ECG_MS = 1000 / 360


def beats(*overrides: str) -> Recipe:
    return load_recipe(BEATS, overrides)


def test_hertz_and_milliseconds_become_steps() -> None:
    section = PeaksSection(band_hz=(4, 20), keep_band_hz=(1, 40))
    assert section.rules(70, 2, ECG_MS) == PeakRules(
        features=(0, 1),
        n_features=2,
        n_smooth=9,
        n_trend=41,
        n_apart=72,
        n_block=360,
        n_before=35,
        n_window=70,
        n_low=5,
        n_base=161,
        n_search=144,
        n_slack=36,
        n_pause=0,
    )


def test_without_a_band_to_keep_windows_hold_the_signal_as_it_is() -> None:
    rules = PeaksSection(band_hz=(4, 20)).rules(70, 1, ECG_MS)
    assert (rules.n_low, rules.n_base) == (1, 0)


def test_what_is_given_counts() -> None:
    section = PeaksSection(
        band_hz=(1, 2),
        features=(1,),
        refractory_ms=100,
        context_ms=800,
        search_ms=240,
        pause_ms=2_000,
    )
    rules = section.rules(9, 3, 10.0)
    assert (rules.features, rules.n_features) == ((1,), 3)
    assert (rules.n_apart, rules.n_block, rules.n_search, rules.n_slack) == (10, 20, 24, 6)
    assert (rules.n_before, rules.n_window, rules.n_pause) == (4, 9, 200)


def test_bands_and_times_of_few_steps_have_their_least_length() -> None:
    section = PeaksSection(band_hz=(40, 49), refractory_ms=10, context_ms=1, search_ms=40)
    rules = section.rules(5, 1, 10.0)
    assert (rules.n_smooth, rules.n_trend, rules.n_apart, rules.n_block) == (1, 3, 6, 1)
    assert (rules.n_search, rules.n_slack) == (4, 2)


def test_a_recipe_cuts_round_peaks() -> None:
    recipe = beats()
    rules = recipe.rules
    assert rules.peaks is not None
    assert (rules.n_steps, rules.stride, rules.gap_ms_max) == (70, 144, 36 * ECG_MS)
    assert rules.frame.n_steps == rules.peaks.n_frame
    assert rules.frame.peaks is None
    assert recipe.live_rules.peaks == rules.peaks
    assert load_recipe(MODELS / "mitdb-dense.toml").rules.peaks is None


@pytest.mark.parametrize(("gap_ms", "expected"), [(50, 50), (99, 99), (101, 100)])
def test_a_gap_is_no_longer_than_a_frame_can_start_late(gap_ms: int, expected: float) -> None:
    assert beats(f"window.gap_ms_max={gap_ms}").rules.gap_ms_max == pytest.approx(expected)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("window.align=stride", "peaks: expected with window.align = 'peaks', and only there"),
        ("window.stride=10", "window.stride: expected only with align = 'stride', received 10"),
        ("peaks.features=[0, 2]", r"peaks.features: expected numbers below 2, received \[0, 2\]"),
        ("peaks.features=[]", "peaks.features"),
        ("peaks.features=[-1]", "peaks.features"),
        ("peaks.band_hz=[20, 4]", "peaks.band_hz: expected two frequencies, the lower one first"),
        ("peaks.band_hz=[4, 4]", "peaks.band_hz: expected two frequencies, the lower one first"),
        ("peaks.band_hz=[4, 181]", "peaks.band_hz: .* up to 180 Hz, half the samples a second"),
        ("peaks.band_hz=[0, 20]", "peaks.band_hz"),
        ("peaks.band_hz=[4]", "peaks.band_hz"),
        ("peaks.keep_band_hz=[40, 1]", "peaks.keep_band_hz: expected two frequencies"),
        ("peaks.keep_band_hz=[1, 180.1]", "peaks.keep_band_hz: .* up to 180 Hz"),
        ("peaks.refractory_ms=16.6", "peaks.refractory_ms: expected at least 6 sample intervals"),
        ("peaks.search_ms=22.2", "peaks.search_ms: expected at least 8 sample intervals, 22.2222"),
        ("peaks.context_ms=22.2", "peaks.context_ms: expected at least 8 sample intervals"),
        ("peaks.context_ms=0", "peaks.context_ms"),
        ("peaks.pause_ms=0", "peaks.pause_ms"),
    ],
)
def test_what_cannot_be_meant_is_refused(override: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        beats(override)


@pytest.mark.parametrize(
    "override",
    [
        "peaks.features=[1]",
        "peaks.band_hz=[4, 180]",
        "peaks.keep_band_hz=[1, 180]",
        "peaks.refractory_ms=16.7",
        "peaks.search_ms=22.3",
        "peaks.context_ms=22.3",
    ],
)
def test_what_is_just_within_is_taken(override: str) -> None:
    assert beats(override).peaks is not None


def test_times_are_of_so_many_samples_at_least() -> None:
    least = ("peaks.refractory_ms=60", "peaks.search_ms=80", "peaks.context_ms=80")
    assert beats("window.sample_interval_ms=10", *least).peaks is not None


def test_samples_without_a_time_between_them_are_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"window.sample_interval_ms: expected at least 1"):
        beats("window.sample_interval_ms=0")


def test_windows_round_peaks_need_the_table() -> None:
    with pytest.raises(ConfigError, match=r"peaks: expected with .* received none"):
        load_recipe(MODELS / "mitdb-dense.toml", ["window.align=peaks"])


@pytest.mark.parametrize("warm_up", [(), ("scaling.warm_up_samples=600",)])
def test_round_peaks_a_new_key_has_no_scale_of_its_first_samples(warm_up: tuple[str, ...]) -> None:
    expected = r"scaling.warm_up_samples: expected 0 with .* received 600: .* median of all keys"
    with pytest.raises(ConfigError, match=expected):
        beats("scaling.per_key=true", *warm_up)
    assert beats("scaling.per_key=true", "scaling.warm_up_samples=0").scaling.per_key
    assert not beats("scaling.per_key=false", *warm_up).scaling.per_key
    fixed = ("data.series=106", "scaling.per_key=true", *warm_up)
    assert load_recipe(MODELS / "mitdb-dense.toml", fixed).scaling.warm_up_samples == 600


def test_windows_round_peaks_have_no_logarithms() -> None:
    with pytest.raises(ConfigError, match=r"scaling\.logarithmic: expected none with \[peaks\]"):
        beats("scaling.logarithmic=['lead']")
    with pytest.raises(ConfigError, match=r"scaling\.logarithmic: .*, received auto"):
        beats("scaling.logarithmic=auto")
