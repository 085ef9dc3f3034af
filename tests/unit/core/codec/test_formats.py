"""The registry of record formats: what follows from its entries, and that they are complete."""

from typing import Any, get_args

import numpy as np
import pytest

from stream_detector.core.codec import formats
from stream_detector.core.codec.decoding import Decoded
from stream_detector.core.codec.formats import (
    CONTENT_TYPES,
    FORMATS,
    RecordFormat,
    RecordShape,
    default_format,
    find_format,
    formats_of,
    group_by_format,
    unsupported,
)
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.codec.samples import decode_samples, encode_samples
from stream_detector.core.codec.windows import decode_windows, encode_window
from stream_detector.core.features import Features
from stream_detector.core.records import SeriesColumns, Unreadable
from stream_detector.errors import RecordDecodeError, RecordValueError

SHAPES = get_args(RecordShape)


def test_names_and_media_types_are_unambiguous() -> None:
    names = [name for each in FORMATS for name in each.media_types]
    types = [media_type for each in FORMATS for media_type in each.media_types.values()]
    assert len(types) == len(names) == len(set(names)) == len(set(types))
    unwritten = {name for each in FORMATS if each.holds_documents for name in each.media_types}
    assert set(CONTENT_TYPES) == set(names) - (unwritten - {"json", "values"})
    for each in FORMATS:
        assert each.name in each.media_types or each.name not in names
        assert all(each_type == each_type.lower() for each_type in each.media_types.values())


def test_options_offer_every_registered_name() -> None:
    assert get_args(formats.ContentType) == (
        "json",
        "float32",
        "image",
        "csv",
        "influx",
        "avro",
        "protobuf",
    )
    assert get_args(formats.FormatName) == ("json", "values", "float32", "png", "jpeg", "uint8")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_default_of_a_record_shape_is_a_format_that_it_can_have(shape: RecordShape) -> None:
    expected = {"window": "json", "samples": "json", "image": "image", "mapped": "json"}
    assert find_format(default_format(shape), shape).name == expected[shape]


def test_without_a_setting_records_have_the_default_format() -> None:
    assert decode_windows([b'{"values":[3,4]}'], None, (2, 1), None).windows.shape == (1, 2, 1)
    image = ImageShape(1, 2, 1)
    decoded = decode_windows([bytes([3, 4])], None, image, None)
    assert decoded.windows.ravel().tolist() == [3, 4]


@pytest.mark.parametrize("record_format", FORMATS, ids=[each.name for each in FORMATS])
def test_what_a_format_decodes_it_can_write(record_format: RecordFormat) -> None:
    pairs = [
        (record_format.decode_windows, record_format.encode_window),
        (record_format.decode_samples, record_format.encode_samples),
        (record_format.decode_images, record_format.encode_image),
    ]
    for decode, encode in pairs:
        assert (decode is unsupported) == (encode is unsupported)
    assert record_format.holds_documents or any(each is not unsupported for each, _ in pairs)


def test_a_function_that_a_format_lacks_raises() -> None:
    with pytest.raises(ValueError, match="does not hold such records"):
        find_format("png", "image").decode_samples([b"x"], np.array([0]), Features(("x",)))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_records_have_no_groups(shape: RecordShape) -> None:
    assert group_by_format([], None, None, shape) == ([], {})
    assert group_by_format([], [], default_format(shape), shape) == ([], {})


def test_a_new_format_takes_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(values: Any, indices: Any, shape: tuple[int, int]) -> Decoded:
        numbers = [list(map(float, value.split(b","))) for value in values]
        return Decoded(indices, np.array(numbers, np.float32).reshape(-1, *shape), {}, [])

    def encode(window: Any) -> bytes:
        return b",".join(b"%g" % number for number in window.ravel().tolist())

    csv = RecordFormat("csv", {"csv": b"text/csv"}, decode_windows=decode, encode_window=encode)
    monkeypatch.setattr(formats, "FORMATS", (*FORMATS, csv))
    values = [encode_window(np.array([[1], [2]], np.float32), "csv"), b'{"values":[3,4]}']
    assert values[0] == b"1,2"
    headers = [[("content-type", b"text/csv")], None]
    decoded = decode_windows(values, headers, (2, 1), "json")
    assert decoded.windows.ravel().tolist() == [1, 2, 3, 4]
    assert decode_windows(values[:1], None, (2, 1), "csv").windows.ravel().tolist() == [1, 2]
    assert formats_of("window")["csv"] == b"text/csv"
    with pytest.raises(ValueError, match="expected json or float32 for"):
        encode_samples(np.array([[1]], np.float32), "csv")


@pytest.mark.parametrize("headers", [[], [("content-type", b"nonsense")]])
@pytest.mark.parametrize("value", [None, b"", b'{"values":[1,2]}'])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_record_that_could_not_be_read_is_rejected_with_that_reason(
    shape: RecordShape, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    why = RecordDecodeError("unreadable")
    good = b'{"values":[1,2]}'
    columns = [None, Unreadable(headers, why, {"headers": 1}), ()]
    groups, rejected = group_by_format([good, value, good], columns, "json", shape)
    assert rejected == {1: why}
    assert [list(group.rows) for group in groups] == [[0, 2]]


def test_what_could_not_be_read_counts_before_a_missing_key() -> None:
    why = RecordDecodeError("unreadable")
    decoded = decode_samples(
        [b"1", b"1"],
        [Unreadable((), why, {}), None],
        SeriesColumns([None, None], np.zeros(2, np.int64), np.zeros(2, np.int64)),
        "json",
        features=Features.generated(1),
        interval_ms=1,
    )
    errors = {each.index: type(each.error) for each in decoded.rejected}
    assert errors == {0: RecordDecodeError, 1: RecordValueError}
