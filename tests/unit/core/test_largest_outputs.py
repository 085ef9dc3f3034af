"""The largest alert and the largest dead letter that any record can cause fit into a topic."""

from dataclasses import replace

import pytest
from alerts import make_alert

from stream_detector.core.alerting.alert import (
    ALERT_BYTES_MAX,
    REFERENCE_BYTES_MAX,
    Alert,
    encode_alert,
    text_of,
)
from stream_detector.core.codec.dead_letters import encode_dead_letter
from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.features import NAME_CHARACTERS_MAX
from stream_detector.core.records import (
    TOPIC_BYTES_MAX,
    BundleReference,
    OutputRecord,
    RecordMetadata,
    Rejected,
)
from stream_detector.core.scoring.explanation import (
    N_FEATURES_MAX,
    N_POINTS_MAX,
    N_UNRELIABLE_MAX,
    Explanation,
    FeatureExplanation,
    ImageExplanation,
    RhythmExplanation,
    UnreliableFeature,
)
from stream_detector.core.scoring.image_explanation import HEAT_MAP_BYTES_MAX
from stream_detector.core.scoring.sentences import SENTENCE_CHARACTERS_MAX
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.errors import DataError
from stream_detector.service.outputs import DEAD_LETTER_ROOM
from stream_detector.settings import DetectSettings

LONG = -2.2250738585072014e-308
"""A number that takes most digits."""

N_FEATURES = 10_000
NAME = "\x01" * NAME_CHARACTERS_MAX
IMAGE_PLACES = [
    "n_rows",
    "n_columns",
    "n_channels",
    "first_row",
    "last_row",
    "first_column",
    "last_column",
]
LARGE = 2**63 - 1
TOPIC = "t" * 249
"""Kafka's longest name."""

DEAD_LETTER_BYTES_MAX = int(DetectSettings.model_fields["dead_letter_bytes_max"].default)


def largest_alert(fill: bytes) -> OutputRecord:
    """Return an alert in which everything is as long as it can be, of a key of one byte."""
    key = fill * KEY_BYTES_MAX
    reference = b"\x01" * REFERENCE_BYTES_MAX
    metadata = RecordMetadata(TOPIC, LARGE, LARGE, LARGE, key, [("reference", reference)])
    points = (LONG,) * N_POINTS_MAX
    one = FeatureExplanation(N_FEATURES, LONG, points, points, NAME, LONG, LONG)
    features = (one,) * N_FEATURES_MAX
    places = {name: LARGE for name in IMAGE_PLACES}
    image = ImageExplanation(
        **places, share=LONG, heat_map="x" * HEAT_MAP_BYTES_MAX, heat_map_max=LONG
    )
    explanation = Explanation(
        *(LARGE, LARGE, features, (LONG,) * N_FEATURES, (LARGE,) * N_POINTS_MAX, LONG, LARGE),
        *(image, "\U0001f6d1" * SENTENCE_CHARACTERS_MAX),
        unreliable=(UnreliableFeature(N_FEATURES, NAME, "noise"),) * N_UNRELIABLE_MAX,
        rhythm=RhythmExplanation("irregular", *(LONG,) * 6),
    )
    alert: Alert = make_alert(
        metadata,
        (TIMESTAMP_MS_MAX, TIMESTAMP_MS_MAX),
        (LONG, LONG, "\x01" * 64),
        BundleReference("b" * 128, "f" * 64),
        explanation,
    )
    assert alert.key == text_of(key)
    largest = replace(
        alert,
        event="update",
        score_kind="\x01" * 64,
        check="\x01" * 64,
        false_alarms_per_day=LONG,
        p_value=LONG,
        reason="max_duration",
        event_number=LARGE,
        n_windows=LARGE,
        n_anomalous=LARGE,
        n_alerts=LARGE,
        continues_alert_id="f" * 32,
    )
    return encode_alert(largest, TOPIC, key, LARGE)


@pytest.mark.parametrize("fill", [b"\xff", b"\x00", b"\x01", b'"', b"\\", b"\x7f", b"k"])
def test_the_largest_alert_fits_into_a_topic(fill: bytes) -> None:
    assert 250_000 < largest_alert(fill).n_bytes <= ALERT_BYTES_MAX < TOPIC_BYTES_MAX


@pytest.mark.parametrize(
    ("value", "key", "headers"),
    [
        (bytes(DEAD_LETTER_BYTES_MAX), None, []),
        (bytes(1_040_000), bytes(7_000), []),
        (None, bytes(DEAD_LETTER_BYTES_MAX), []),
        (b"v", b"k", [("", None)] * 98_000),
        (bytes(30_000_000), bytes(30_000_000), [("h", bytes(30_000_000))] * 2),
        (bytes(850_000), None, [("", b"")] * 99_000),
        (bytes(900_000), b"k", [("\U0001f6d1" * 60, b"")] * 600),
    ],
    ids=["value", "value and key", "key", "headers", "all", "value and headers", "long names"],
)
@pytest.mark.parametrize("letter", ["x", "\U0001f6d1"])
def test_the_largest_dead_letter_fits_into_a_topic(
    letter: str, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    rejected = Rejected(0, DataError(letter * 100_000), "publish")
    metadata = RecordMetadata(TOPIC, LARGE, LARGE, 0, key, headers)
    for n_less in (*range(0, 4_000, 1_300), None):
        shortened = value if value is None or n_less is None else value[n_less:]
        record = encode_dead_letter(rejected, shortened, metadata, TOPIC, DEAD_LETTER_BYTES_MAX)
        assert record.n_bytes <= DEAD_LETTER_BYTES_MAX + DEAD_LETTER_ROOM <= TOPIC_BYTES_MAX


def test_a_dead_letter_without_all_parts_fits_the_smallest_limit() -> None:
    rejected = Rejected(0, DataError("\U0001f6d1" * 100_000), "publish")
    metadata = RecordMetadata(TOPIC, LARGE, LARGE, 0, b"k" * 9_000, [("h", b"x" * 9_000)])
    record = encode_dead_letter(rejected, b"v" * 9_000, metadata, TOPIC, 4_096)
    assert (record.key, record.value) == (None, None)
    assert record.n_bytes <= 4_096
