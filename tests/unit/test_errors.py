"""The exception tree: exit codes, what is worth a retry, and the drawing of it."""

import inspect

import pytest

from stream_detector import errors
from stream_detector.errors import StreamDetectorError

ALL = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, StreamDetectorError)
}
EXIT_CODES = {
    "StreamDetectorError": 1,
    "ConfigError": 2,
    "DataError": 1,
    "BundleError": 3,
    "BrokerError": 4,
    "StateError": 5,
    "DatasetError": 6,
}


@pytest.mark.parametrize("name", EXIT_CODES)
def test_a_family_has_one_exit_code(name: str) -> None:
    members = [each for each in ALL.values() if issubclass(each, ALL[name])]
    if name != "StreamDetectorError":
        assert {each.exit_code for each in members} == {EXIT_CODES[name]}
    assert ALL[name].exit_code == EXIT_CODES[name]


def test_only_a_broker_that_may_come_back_is_worth_a_retry() -> None:
    retriable = {name for name, each in ALL.items() if each.retriable}
    assert retriable == {
        "BrokerUnavailableError",
        "DeliveryError",
        "SchemaRegistryUnavailableError",
    }


def test_every_error_is_drawn_and_explained() -> None:
    drawing = errors.__doc__ or ""
    for name, each in ALL.items():
        assert name in drawing
        assert each.__doc__
