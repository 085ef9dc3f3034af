"""What the kafka-python client keeps in addition to the library."""

from types import SimpleNamespace
from typing import Any

import pytest

from stream_detector.clients import _limits
from stream_detector.clients.kafka_python.producer import KafkaPythonProducer
from stream_detector.core.records import OutputRecord


class InstantProducer(KafkaPythonProducer):
    """Stands for one whose broker acknowledges each record as soon as that is waited for."""

    def _new_handle(self) -> Any:
        acknowledgement = SimpleNamespace(get=lambda timeout: timeout)
        return SimpleNamespace(send=lambda *_, **__: acknowledgement)


@pytest.mark.parametrize(
    ("limit", "n_max"), [("UNACKNOWLEDGED_RECORDS_MAX", 4), ("UNACKNOWLEDGED_BYTES_MAX", 20)]
)
def test_once_as_many_wait_as_may_half_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, limit: str, n_max: int
) -> None:
    monkeypatch.setattr(_limits, limit, n_max)
    producer = InstantProducer("", dict, lambda _: 1)
    waiting = []
    for _ in range(8):
        producer.produce([OutputRecord("alerts", b"k", b"four")])
        waiting.append(producer.n_unacknowledged)
    assert waiting == [1, 2, 3, 2, 3, 2, 3, 2]
