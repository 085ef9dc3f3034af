"""A short soak: what `detect` uses under a steady load on a real Kafka, for seconds.

So soon its memory is still on the way to where it stays, so this finds a leak only of what every
record, batch or scrape leaves behind: memory may grow by a tenth, descriptors and threads not at
all. `make soak` lasts half an hour and allows 2 %.
"""

import dataclasses
from pathlib import Path

import pytest
from command_line import CommandLine
from halving_bundle import make_bundle
from soaking import CHANGES, RECIPE, Load, Soaked, Usage, soak

from stream_detector.recipes import load_recipe

SECONDS = 20.0
GROWTH_MAX = 0.1


def readings(*parts: tuple[int, int, int]) -> Soaked:
    """Return a run of four parts, each so much memory, descriptors and threads throughout."""
    usages = [Usage(60.0 * n, *parts[n // 10]) for n in range(40)]
    return Soaked(usages, 0, {})


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ((101_000, 20, 8), []),
        ((103_000, 20, 8), ["resident memory +3.0%"]),
        ((97_000, 20, 8), ["resident memory -3.0%"]),
        ((100_000, 21, 8), ["n_descriptors 20 -> 21"]),
        ((100_000, 20, 9), ["n_threads 8 -> 9"]),
        ((100_000, 19, 7), []),
    ],
)
def test_the_last_quarter_is_compared_with_the_second(
    last: tuple[int, int, int], found: list[str]
) -> None:
    warm_up, usual = (60_000, 10, 4), (100_000, 20, 8)
    assert readings(warm_up, usual, usual, last).leaks(0.02) == found


def test_one_thread_more_for_a_moment_is_no_leak() -> None:
    usual = (100_000, 20, 8)
    soaked = readings(usual, usual, usual, usual)
    more = dataclasses.replace(soaked.usages[35], n_threads=9)
    usages = [*soaked.usages[:35], more, *soaked.usages[36:]]
    assert dataclasses.replace(soaked, usages=usages).leaks(0.02) == []


@pytest.mark.kafka
@pytest.mark.slow
def test_what_is_used_stays_nearly_the_same_for_seconds(
    kafka: str,
    topic_options: dict[str, str],
    command_line: CommandLine,
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "bundle"
    make_bundle(bundle, load_recipe(RECIPE, CHANGES))
    options = [part for pair in topic_options.items() for part in pair]
    running = command_line.start_python(
        *("detect", bundle, "--bootstrap-servers", kafka, *options, "--group", "soak"),
        *("--client", "confluent", "--delivery", "exactly_once", "--metrics-port", 0),
    )
    running.wait_for("ready")
    load = Load(kafka, topic_options["--input-topic"])
    soaked = soak(running, load, seconds=SECONDS, n_records_max=10_000)
    assert soaked.leaks(GROWTH_MAX) == []
