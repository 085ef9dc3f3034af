"""Which column of a user's file is what."""

import pytest

from stream_detector.recipes.columns import BY_NAME, ColumnMap

NAMES = ("when", "machine", "flow", "note", "fault")


def test_columns_are_found_by_their_standard_names() -> None:
    names = ("timestamp_ms", "flow", "key", "label")
    assert BY_NAME.roles(names) == list(names)


def test_named_columns_take_the_roles_and_others_are_nothing() -> None:
    columns = ColumnMap(key="machine", time="when", label="fault", features=("flow",))
    assert columns.roles(NAMES) == ["timestamp_ms", "key", "flow", None, "label"]


def test_a_standard_name_beside_the_named_column_is_no_feature() -> None:
    assert ColumnMap(key="machine").roles(("key", "machine", "timestamp_ms", "a")) == [
        None,
        "key",
        "timestamp_ms",
        "a",
    ]


def test_an_empty_name_says_that_there_is_none() -> None:
    columns = ColumnMap(key="", label="")
    assert columns.roles(("key", "timestamp_ms", "label", "a")) == [None, "timestamp_ms", None, "a"]
    # Another file may have what the recipe's own has not.
    names = ["key", "timestamp_ms", "label", "label_kind", "a"]
    assert columns.lenient.roles(names) == names


def test_a_missing_column_is_an_error_in_the_file_of_the_recipe_only() -> None:
    columns = ColumnMap(key="machine", time="when", label="fault", time_format="s")
    with pytest.raises(ValueError, match="expected the columns machine, when, fault that"):
        columns.roles(("timestamp_ms", "a"))
    assert columns.lenient.roles(("key", "timestamp_ms", "a")) == ["key", "timestamp_ms", "a"]
    assert columns.lenient.format_of(["timestamp_ms"]) is None
    assert columns.lenient.format_of(["when"]) == "s"
    assert ColumnMap(time_format="s").lenient.format_of(["timestamp_ms"]) == "s"


def test_a_missing_feature_is_an_error_in_any_file() -> None:
    with pytest.raises(ValueError, match="expected the columns flow that"):
        ColumnMap(features=("flow",)).lenient.roles(("timestamp_ms", "a"))
