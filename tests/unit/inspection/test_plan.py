"""Windows and times of alerts, from what a file holds."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from stream_detector.errors import DatasetError
from stream_detector.files import read_toml
from stream_detector.inspection.plan import Plan, make_plan
from stream_detector.inspection.recipe_text import compose, plain, to_text
from stream_detector.inspection.roles import Layout
from stream_detector.inspection.timing import Timing
from stream_detector.recipes import parse_recipe, shipped_recipe
from stream_detector.recipes.columns import ColumnMap

DAY_MS = 86_400_000.0


def timing(n_cells: list[int], interval_ms: float = 1_000.0, **facts: object) -> Timing:
    known = Timing(
        sample_interval_ms=interval_ms,
        regular_share=1.0,
        n_samples=sum(n_cells),
        n_cells=np.array(n_cells),
        gaps_ms=np.empty(0),
        runs_ms=np.empty(0),
        latest_ms=0.0,
        missing_share=0.0,
        repeated_share=0.0,
        span_ms=sum(n_cells) * interval_ms,
        other_intervals=(),
    )
    return replace(known, **facts)  # type: ignore[arg-type]


def layout(n_keys: int = 1, features: tuple[str, ...] = ("flow", "heat")) -> Layout:
    keys = tuple(f"k{number}" for number in range(n_keys))
    columns = ColumnMap("pump", "when", "iso", "", None, features)
    why = {"pump": ("key", "called as keys are"), "note": ("left out", "is text")}
    nothing = np.empty(0)
    return Layout(columns, why, nothing.astype(int), keys, nothing, nothing.astype(bool))  # type: ignore[arg-type]


def plan(n_cells: list[int], interval_ms: float = 1_000.0, **facts: object) -> Plan:
    return make_plan(layout(len(n_cells)), timing(n_cells, interval_ms, **facts), 0.2)


@pytest.mark.parametrize(
    ("n_cells", "n_steps", "stride"),
    [
        ([100_000], 60, 5),
        ([2_400], 60, 2),
        ([2_399], 48, 2),
        ([5_060], 60, 5),
        ([5_059], 60, 4),
        ([60 * 2] * 20, 60, 1),
        ([59] * 100, 48, 1),
        ([200], 10, 1),
        ([160], 8, 1),
        ([9] * 20, 8, 1),
        ([40] * 300, 30, 2),
        ([10_000_000], 60, 15),
    ],
)
def test_windows_are_as_long_as_there_are_enough_of_them(
    n_cells: list[int], n_steps: int, stride: int
) -> None:
    found = plan(n_cells)
    assert (found.n_steps, found.window["stride"].value) == (n_steps, stride)


@pytest.mark.parametrize(("n_cells", "is_shorter"), [(2_400, False), (2_399, True)])
def test_windows_that_are_shorter_for_lack_of_data_are_said_to_be(
    n_cells: int, is_shorter: bool
) -> None:
    assert ("too few of 60 steps" in plan([n_cells]).window["steps"].why) is is_shorter


@pytest.mark.parametrize(
    ("n_features", "n_steps"), [(10, 60), (11, 48), (30, 20), (37, 16), (38, 16), (500, 16)]
)
def test_windows_of_many_features_are_shorter(n_features: int, n_steps: int) -> None:
    names = tuple(f"m{number}" for number in range(n_features))
    found = make_plan(layout(1, names), timing([100_000]), 0.2)
    assert found.n_steps == n_steps
    is_shorter = f"in longer ones of {n_features} features" in found.window["steps"].why
    assert is_shorter == (n_steps < 60)
    few = make_plan(layout(1, names), timing([300]), 0.2)
    assert few.n_steps == 12
    with_constant = replace(layout(1, (*names, "alarm")), constant=("alarm",))
    assert make_plan(with_constant, timing([100_000]), 0.2).n_steps == n_steps


@pytest.mark.parametrize(
    ("n_cells", "received"),
    [
        ([159], "157 of different times, of 1 key, which make 19:"),
        ([8] * 1_000, "7,998 of different times, of 1,000 keys, which make 0:"),
        ([9] * 19, "169 of different times, of 19 keys, which make 19:"),
    ],
)
def test_too_little_data_is_refused_with_what_is_needed_and_what_was_received(
    n_cells: list[int], received: str
) -> None:
    with pytest.raises(
        DatasetError, match=r"expected at least 160 samples of keys that have more than 8,"
    ) as error:
        plan(n_cells, n_samples=sum(n_cells) - 2)  # two were lost on the way
    assert f"received {received}" in str(error.value)


def test_an_interval_below_a_millisecond_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"samples are 0\.5 ms apart"):
        plan([10_000], 0.5)
    assert plan([10_000], 1.0).window["sample_interval_ms"].value == 1


def test_gaps_are_interpolated_up_to_what_is_usual() -> None:
    assert plan([10_000]).window["gap_ms_max"].value == 15_000
    usual = np.full(1_000, 20_000.0)
    assert plan([10_000], gaps_ms=usual).window["gap_ms_max"].value == 25_000
    assert plan([10_000], gaps_ms=10 * usual).window["gap_ms_max"].value == 60_000


@pytest.mark.parametrize(
    ("latest_ms", "lateness_ms"),
    [
        (0.0, 500),
        (500.0, 500),
        (501.0, 1_000),
        (1_000.0, 1_000),
        (1_001.0, 2_000),
        (60_000.0, 60_000),  # the length of a window
        (60_001.0, 15_000),
    ],
)
def test_samples_wait_as_long_as_rows_were_late(latest_ms: float, lateness_ms: int) -> None:
    found = plan([10_000], latest_ms=latest_ms)
    assert found.window["allowed_lateness_ms"].value == lateness_ms
    assert plan([10_000], latest_ms=float("nan")).window["allowed_lateness_ms"].value == 500


def test_silence_is_told_after_the_shortest_time_that_is_rare_enough() -> None:
    gaps = np.array([2_000.0] * 50 + [60_000.0, 100_000.0])
    rare = plan([10_000], gaps_ms=gaps)  # a tenth of a day
    assert rare.alerting["no_data_after_ms"].value == 150_000
    five_days = plan([432_000], gaps_ms=gaps)  # one is allowed in five days
    assert five_days.alerting["no_data_after_ms"].value == 90_000
    of_features = plan([10_000], runs_ms=gaps)
    assert of_features.alerting["no_data_after_ms"].value == 150_000


@pytest.mark.parametrize(("n_rows", "after_ms"), [(431_999, 120_000), (432_000, 60_000)])
def test_without_silences_it_is_told_after_a_window_or_two(n_rows: int, after_ms: int) -> None:
    assert plan([n_rows]).alerting["no_data_after_ms"].value == after_ms


def test_windows_may_lack_more_where_much_is_missing() -> None:
    assert plan([10_000], missing_share=0.125).window["missing_share_max"].value == 0.25
    assert plan([10_000], missing_share=0.2).window["missing_share_max"].value == 0.45
    assert plan([10_000], missing_share=0.5).window["missing_share_max"].value == 0.6


def test_what_cannot_be_promised_is_said() -> None:
    months = timing([2_000_000], span_ms=100 * DAY_MS)
    assert make_plan(layout(), months, 0.2).limits == ()
    few = " ".join(plan([200], regular_share=0.5, other_intervals=(("k9", 5_000.0),)).limits)
    for expected in (
        "20 windows of 10 steps that share no sample",
        "each key has 3.333 min of data",
        "10 steps long and not 60",
        "only 50% of the samples come at the interval",
        "another interval (k9 every 5 s)",
    ):
        assert expected in few


@pytest.mark.parametrize(
    ("n_cells", "facts", "words", "is_said"),
    [
        (24_000, {}, "expect more or fewer false alarms", False),
        (23_999, {}, "expect more or fewer false alarms", True),
        (24_000, {"span_ms": 2 * DAY_MS}, "each key has", False),
        (24_000, {"span_ms": 2 * DAY_MS - 1}, "each key has", True),
        (24_000, {"regular_share": 0.6}, "of the samples come at the interval", False),
        (24_000, {"regular_share": 0.59}, "of the samples come at the interval", True),
    ],
)
def test_a_limit_is_said_from_its_edge_on(
    n_cells: int, facts: dict[str, float], words: str, is_said: bool
) -> None:
    assert (words in " ".join(plan([n_cells], **facts).limits)) is is_said


@pytest.mark.parametrize(("share", "is_irregular"), [(0.6, False), (0.59, True)])
def test_an_interval_that_few_samples_keep_is_said_to_be_irregular(
    share: float, is_irregular: bool
) -> None:
    why = plan([10_000], regular_share=share).window["sample_interval_ms"].why
    assert ("irregularly" in why) is is_irregular


@pytest.mark.parametrize(("n_keys", "shown"), [(3, "k0, k1, k2"), (4, "k0, k1, k2, ..")])
def test_a_recipe_names_three_keys(n_keys: int, shown: str) -> None:
    base = read_toml(shipped_recipe("telemetry.toml"))
    values = compose("pumps", "pumps.csv", layout(n_keys), plan([10_000] * n_keys), base)
    assert values["data"]["key"].why == f"called as keys are: {shown}"


@pytest.mark.parametrize(("features", "is_there"), [(("flow",), False), (("flow", "heat"), True)])
def test_one_feature_has_no_relation_to_others(features: tuple[str, ...], is_there: bool) -> None:
    base = read_toml(shipped_recipe("telemetry.toml"))
    values = compose("pumps", "pumps.csv", layout(features=features), plan([10_000]), base)
    kinds = [each["kind"] for each in values["check"]]
    assert kinds == ["shape", "peak", "flat", "noise", "level", *["relation"] * is_there]


@pytest.mark.parametrize(("length", "n_lines"), [(48, 1), (49, 2)])
def test_a_comment_has_at_most_a_hundred_characters(length: int, n_lines: int) -> None:
    assert len(to_text({}, ["a" * 49, "b" * length]).splitlines()) == n_lines


@pytest.mark.parametrize("interval_ms", [1.0, 2.7778, 16.667, 1_000.0, 300_000.0, DAY_MS])
@pytest.mark.parametrize("n_cells", [[100_000] * 3, [200]])
@pytest.mark.parametrize("gap_ms", [0.0, 2.0, 70.0])
def test_every_plan_makes_a_valid_recipe_with_a_reason_for_each_key(
    interval_ms: float, n_cells: list[int], gap_ms: float
) -> None:
    gaps = np.full(100, gap_ms * interval_ms) if gap_ms else np.empty(0)
    found = plan(n_cells, interval_ms, gaps_ms=gaps)
    base = read_toml(shipped_recipe("telemetry.toml"))
    values = compose("pumps", 'a "b"\\c.csv', layout(len(n_cells)), found, base)
    recipe = parse_recipe(plain(values), "test")
    text = to_text(values, ["made by a test"])
    assert tomllib.loads(text) == plain(values)
    assert recipe.data.path == 'a "b"\\c.csv'
    assert recipe.data.columns.features == ("flow", "heat")
    assert recipe.window.steps == found.n_steps
    lines = text.splitlines()
    keys = [at for at, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    bare = [lines[at] for at in keys if not lines[at - 1].startswith("#")]
    assert bare == ['name = "pumps"', lines[keys[1]]] or bare == [lines[keys[1]]]
    assert max(map(len, (line for line in lines if line.startswith("#")))) <= 100


@pytest.mark.parametrize(
    ("interval_ms", "is_said"), [(1_000.0, False), (720_000.0, False), (720_001.0, True)]
)
def test_a_rate_of_false_alarms_that_is_much_for_slow_samples_is_said(
    interval_ms: float, is_said: bool
) -> None:
    limits = " ".join(plan([100_000], interval_ms).limits)  # 60 samples every 12 min are 12 h
    assert ("0.2 false alarms a day and key are one in the time of 10 windows" in limits) == is_said
    assert ("--false-alarms-per-day 0.1" in limits) == is_said


def test_a_rate_for_daily_samples_is_proposed() -> None:
    limits = " ".join(plan([10_000], 86_400_000.0).limits)
    assert "one in the time of 0.083 windows" in limits
    assert "--false-alarms-per-day 0.001" in limits


def test_the_rate_proposed_is_one_that_is_not_called_too_much() -> None:
    limits = " ".join(plan([100_000], 900_000.0).limits)  # 15 h: one in ten windows is 0.16 a day
    assert "--false-alarms-per-day 0.1" in limits


ENDS = "half a window without an anomaly ends an alert"


@pytest.mark.parametrize(
    ("interval_ms", "close_ms", "why"),
    [
        (1.0, 1_000, f"{ENDS}; 1 s at least"),
        (1_000 / 30, 1_000, ENDS),
        (20_159_999.0, 604_799_970, ENDS),
        (20_160_000.0, 604_800_000, ENDS),
        (20_160_001.0, 604_800_000, f"the longest there is: {ENDS}"),
    ],
)
def test_a_limit_of_alerts_that_decides_is_said(
    interval_ms: float, close_ms: int, why: str
) -> None:
    chosen = plan([100_000], interval_ms).alerting["close_after_ms"]
    assert (chosen.value, chosen.why) == (close_ms, why)


def test_a_limit_of_alerts_that_is_met_does_not_decide() -> None:
    close = plan([1_600], 50.0).alerting["close_after_ms"]  # half of 40 samples
    assert (close.value, close.why) == (1_000, ENDS)
