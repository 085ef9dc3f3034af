"""Which keys can be used: length and presence, at their limits."""

import pytest

from stream_detector.core.codec.keys import KEY_BYTES_MAX, unusable_keys
from stream_detector.errors import RecordValueError


@pytest.mark.parametrize("is_required", [True, False])
@pytest.mark.parametrize("more", [[], [None]])
def test_a_key_of_the_longest_length_is_used_and_a_longer_one_is_not(
    is_required: bool, more: list[bytes | None]
) -> None:
    keys = [b"\xff" * KEY_BYTES_MAX, b"\xff" * (KEY_BYTES_MAX + 1), b"k", *more]
    unusable = unusable_keys(keys, is_required=is_required)
    assert list(unusable) == ([1, 3] if is_required and more else [1])
    assert isinstance(unusable[1], RecordValueError)
    assert "received 4,097 bytes" in str(unusable[1])


def test_only_samples_need_a_key() -> None:
    assert list(unusable_keys([None, b"", b"k"], is_required=True)) == [0, 1]
    assert unusable_keys([None, b"", b"k"], is_required=False) == {}


def test_no_records_have_no_unusable_keys() -> None:
    assert unusable_keys([], is_required=True) == {}
