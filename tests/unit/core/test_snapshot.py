"""Snapshots of a state: what they refuse, and how large they are."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from detectors import make_sample_detector

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.records import RecordBatch, SeriesColumns
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState, IncidentState
from stream_detector.core.state.key_arrays import Shape, Sizes, check_of, layout_of
from stream_detector.core.state.plain_values import from_plain
from stream_detector.core.state.sample_state import SampleState
from stream_detector.core.state.snapshot import MADE_BY_CHARACTERS_MAX, dump, load
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.errors import StateError

START_MS = 1_767_225_600_000
RULES = WindowRules(4, 1, 2, 10, 40, 20, "hold", 0.5, 1_000)
ALERTING = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),), 1_000)
HEAD = struct.Struct("<8sIIQ")


def detector_of(**changes: Any) -> SampleDetector:
    return make_sample_detector(replace(RULES, **changes), ALERTING)


def stepped(detector: SampleDetector, partitions: tuple[int, ...] = (0, 1)) -> DetectorState:
    """Return the state after a batch that opens an alert, with samples that wait."""
    state: DetectorState = detector.initial_state()
    for partition in partitions:
        state = state.open_partition(partition, 0)
    n_records = 12 * len(partitions)
    numbers = np.arange(n_records)
    series = SeriesColumns(
        keys=[b"pump"] * n_records,
        partitions=np.array(partitions)[numbers % len(partitions)],
        timestamps_ms=START_MS + 10 * (numbers // len(partitions)),
    )
    n_features = detector.windows.n_features
    values = [orjson.dumps({"values": [[3.0] * n_features]})] * n_records
    step = detector.step(state, RecordBatch.from_columns("t", values, series, numbers))
    assert step.alerts
    return step.state


DETECTOR = detector_of()
SNAPSHOT = dump(stepped(DETECTOR), "v1")
INCIDENTS = IncidentState({0: (3, 5), 7: (START_MS,)})


def resigned(change: Callable[[dict[str, Any]], object], data: bytes = SNAPSHOT) -> bytes:
    """Return a snapshot whose facts were changed by who knows how to sign them."""
    magic, version, _, n_facts = HEAD.unpack_from(data)
    document = orjson.loads(data[HEAD.size : HEAD.size + n_facts])
    change(document)
    text = orjson.dumps(document)
    head = HEAD.pack(magic, version, zlib.crc32(text), len(text))
    return head + text + data[HEAD.size + n_facts :]


def load_into(detector: SampleDetector, *snapshots: bytes, made_by: str = "v1") -> DetectorState:
    return load(snapshots, detector.initial_state(), made_by)


def test_incidents_of_whole_windows_come_back() -> None:
    data = dump(INCIDENTS, "v1")
    assert load([data], IncidentState(), "v1") == INCIDENTS
    part = dump(INCIDENTS, "v1", [7, 8])
    assert load([part], IncidentState({0: (1,)}), "v1") == IncidentState({0: (1,), 7: (START_MS,)})
    assert load([], INCIDENTS, "v1") is INCIDENTS


def test_a_flood_and_all_else_of_a_key_s_alerts_come_back() -> None:
    alerting = replace(ALERTING, flood_alerts_max=1, close_after_ms=10, cooldown_ms=20)
    detector = make_sample_detector(replace(RULES, stride=1), alerting)
    state: DetectorState = detector.initial_state().open_partition(0, 0)
    kept: DetectorState = detector.initial_state().open_partition(0, 0)
    n_floods = 0
    for number in range(60):
        series = SeriesColumns([b"a"], np.zeros(1, np.int64), np.array([START_MS + 10 * number]))
        values = [orjson.dumps({"values": [[9.0 if number // 9 % 2 else 0.0]]})]
        batch = RecordBatch.from_columns("t", values, series, [number])
        step, same = detector.step(state, batch), detector.step(kept, batch)
        assert (step.alerts, step.counts) == (same.alerts, same.counts)
        state, plans = step.state.restore_plans({0: number + 1})
        kept, plans_kept = same.state.restore_plans({0: number + 1})
        assert plans == plans_kept
        assert isinstance(state, SampleState)
        n_floods += any(each.flood is not None for each in state.alerts.values())
        before = state
        state = load_into(detector, dump(state, "v1"))
        assert isinstance(state, SampleState)
        assert (state.alerts, state.holds) == (before.alerts, before.holds)
    assert n_floods


def test_any_buffer_of_bytes_is_read() -> None:
    whole = load_into(DETECTOR, SNAPSHOT)
    assert dump(load([bytearray(SNAPSHOT)], DETECTOR.initial_state(), "v1"), "v1") == SNAPSHOT
    assert whole.counts() == stepped(DETECTOR).counts()


def test_a_key_takes_little_more_than_its_row() -> None:
    detector = detector_of(n_steps=256, n_features=2)
    state: DetectorState = detector.initial_state().open_partition(0, 0)
    sizes = []
    for n_keys in (100, 200):
        numbers = np.arange(n_keys)
        series = SeriesColumns(
            [b"pump-%06d" % number for number in range(n_keys)],
            np.zeros(n_keys, np.int64),
            START_MS + 0 * numbers,
        )
        values = [orjson.dumps({"values": [[0.5, 0.5]]})] * n_keys
        offsets = range(1_000 * n_keys, 1_001 * n_keys)
        batch = RecordBatch.from_columns("t", values, series, offsets)
        state = detector.step(state, batch).state
        sizes.append(len(dump(state, "v1")))
    n_bytes_a_key = (sizes[1] - sizes[0]) / 100
    assert 4 * 256 * 2 < n_bytes_a_key < 2_400


def test_every_changed_byte_is_found() -> None:
    for at in range(len(SNAPSHOT)):
        changed = bytearray(SNAPSHOT)
        changed[at] ^= 1 << at % 8
        with pytest.raises(StateError, match="snapshot"):
            load_into(DETECTOR, bytes(changed))


def test_every_other_length_is_found() -> None:
    for length in range(len(SNAPSHOT)):
        with pytest.raises(StateError, match="snapshot"):
            load_into(DETECTOR, SNAPSHOT[:length])
    with pytest.raises(StateError, match="bytes of arrays"):
        load_into(DETECTOR, SNAPSHOT + b"\0")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected at least 24 bytes, received 0 bytes"),
        (b"PK\3\4" * 9, "expected bytes that begin with b'SDSTATE"),
        (HEAD.pack(b"SDSTATE\0", 1, 0, 0), "expected version 2, received version 1"),
        (SNAPSHOT[:-1], "expected .* bytes of arrays, received"),
        (dump(INCIDENTS, "v1"), "expected kind 'samples', received kind 'whole windows'"),
        (dump(stepped(DETECTOR), "v2"), "expected made_by 'v1', received made_by 'v2'"),
    ],
)
def test_what_is_no_snapshot_of_this_detector_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(StateError, match=message) as refused:
        load_into(DETECTOR, data)
    assert "start without one" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"n_steps": 5}, "shape"),
        ({"n_features": 2}, "shape"),
        ({"no_data_after_ms": 50}, "shape"),
        ({"sample_interval_ms": 20}, "needed"),
        ({"allowed_lateness_ms": 30}, "needed"),
    ],
)
def test_windows_of_other_rules_are_refused(changes: dict[str, Any], name: str) -> None:
    other = detector_of(**changes)
    with pytest.raises(StateError, match=f"expected {name} .*, received {name} "):
        load_into(other, SNAPSHOT)


FACTS = (
    *("origin", "partitions", "sizes", "check", "stream_times_ms", "jumps", "alerts", "gaps"),
    *("holds", "restore_points", "refused_at", "places", "warm_ups", "scale_holds", "incidents"),
)


def of_facts(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    def change(document: dict[str, Any]) -> None:
        document["facts"][FACTS.index(name)] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("fields"),
        lambda document: document.update(fields="0" * 16),
        lambda document: document.update(facts=None),
        lambda document: document["facts"].pop(),
        of_facts("partitions", [0]),  # without that of the second key
        of_facts("partitions", "01"),
        of_facts("sizes", [2, 8, 6, 0, -1]),
        of_facts("sizes", [2**62, 8, 6, 0, 0]),
        of_facts("gaps", [[2, [5]]]),
        of_facts("gaps", [[-1, [5]]]),
        of_facts("gaps", [[0, ["5"]]]),
        of_facts("gaps", [[0, [True]]]),
        of_facts("stream_times_ms", [[0, "infinite"]]),
        of_facts("warm_ups", [[0, 1, None, 3]]),
        of_facts("places", [[0, "scales"]]),
        of_facts("alerts", [[0, [[[[]]]]]]),
        of_facts("check", 0),
    ],
)
def test_signed_facts_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(StateError):
        load_into(DETECTOR, resigned(change))


def with_array(name: str, value: int) -> bytes:
    """Return a snapshot with one entry of an array changed by who knows how to sign it."""
    changed = bytearray(SNAPSHOT)
    *_, n_facts = HEAD.unpack_from(changed)
    start = HEAD.size + n_facts
    facts = orjson.loads(changed[HEAD.size : start])["facts"]
    sizes = Sizes(*facts[FACTS.index("sizes")])
    parts = []
    for other, (kind, shape) in layout_of(Shape(*facts[0][2]), sizes).items():
        n_bytes = np.dtype(kind).itemsize * int(np.prod(shape))
        array = np.frombuffer(changed, kind, int(np.prod(shape)), start)
        if other == name:
            array[0] = value
        parts.append(array.view(np.uint8))
        start += n_bytes
    return resigned(of_facts("check", check_of(parts)), bytes(changed))


@pytest.mark.parametrize(
    ("name", "value", "is_sound"),
    [
        ("last_cell", -2, False),
        ("last_cell", -1, True),
        ("last_cell", 3, True),
        ("last_cell", 4, False),
        ("span", -1, False),
        ("span", 0, True),
        ("span", 4, True),
        ("span", 5, False),
        ("partitions", -1, False),
        ("partitions", 2, False),
        ("waiting_slots", -1, False),
        ("waiting_slots", 1, False),  # the next one is of 0
        ("waiting_slots", 2, False),
        ("key_sizes", 5, False),
    ],
)
def test_signed_arrays_select_what_exists(name: str, value: int, *, is_sound: bool) -> None:
    data = with_array(name, value)
    if is_sound:
        load_into(DETECTOR, data)
        return
    with pytest.raises(StateError, match="numbers of keys, cells and partitions that there are"):
        load_into(DETECTOR, data)


def test_facts_that_are_signed_again_unchanged_are_taken() -> None:
    assert resigned(lambda _: None) == SNAPSHOT
    load_into(DETECTOR, resigned(of_facts("gaps", [[1, [5]]])))


def test_a_partition_comes_from_one_snapshot_alone() -> None:
    state = stepped(DETECTOR)
    first, second = dump(state, "v1", [0]), dump(state, "v1", [1])
    assert dump(load_into(DETECTOR, first, second), "v1") == dump(
        load_into(DETECTOR, SNAPSHOT), "v1"
    )
    message = "expected partitions of which nothing is known yet, received partition 1"
    with pytest.raises(StateError, match=message):
        load_into(DETECTOR, second, SNAPSHOT)
    with pytest.raises(StateError, match=message):
        load([second], state, "v1")
    assert dump(state, "v1") == SNAPSHOT  # as it was


def test_states_of_no_detector_and_long_names_are_mistakes() -> None:
    other: Any = object()
    with pytest.raises(TypeError, match="received object"):
        dump(other, "v1")
    dump(INCIDENTS, "v" * MADE_BY_CHARACTERS_MAX)
    with pytest.raises(ValueError, match="made_by: expected at most 1024 characters"):
        dump(INCIDENTS, "v" * (MADE_BY_CHARACTERS_MAX + 1))


@pytest.mark.parametrize("n_bytes", [999_992, 1_000_000, 1_000_008])  # the smallest large array
def test_the_check_of_arrays_sees_each_array_of_any_size(n_bytes: int) -> None:
    plain = np.zeros(n_bytes // 8, "<u8")
    changed = plain.copy()
    changed[7] = 1
    assert check_of([plain, plain[:3]]) != check_of([changed, plain[:3]])


@pytest.mark.parametrize("n_blocks", [64, 244, 245])  # 1,000,000 bytes lie between the last two
def test_the_check_of_arrays_sees_what_changed_places(n_blocks: int) -> None:
    blocks = np.arange(n_blocks * 512, dtype="<u8").reshape(n_blocks, 512).copy()  # of 4 KiB
    swapped = blocks.copy()
    swapped[[4, 36]] = blocks[[36, 4]]
    bit = blocks.copy()
    bit[17, 300] ^= 1
    last = blocks.copy()
    last[-1, -1] ^= 1
    assert len({check_of([each]) for each in (blocks, swapped, bit, last)}) == 4
    assert check_of([blocks]) != check_of([blocks, blocks[:1]])


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (int, 1.0),
        (int, True),
        (str, None),
        (float, "1"),
        (tuple[int, ...], 5),
        (tuple[int, int], [1]),
        (tuple[int, int], [1, 2, 3]),
    ],
)
def test_plain_values_of_another_kind_are_refused(kind: Any, plain: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        from_plain(kind, plain)
