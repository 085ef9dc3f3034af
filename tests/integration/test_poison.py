"""No record stops a group for good, wherever it stands in a batch; `make faults` plays all."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
from delivery_stream import DELIVERIES
from fault_stage import Case, Stage, read_all
from local_kafka import VERSIONS, LocalKafkaError
from poison_records import MANY_HEADERS, POISONS, TAKES_ALL, find_letters, play_poison

from stream_detector.core.records import OutputRecord

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def cases() -> Iterator[tuple[str, Case]]:
    """Yield each poison with both clients, one of both deliveries each; a codec with one client."""
    for number, (name, poison) in enumerate(POISONS.items()):
        one, other = DELIVERIES if number % 2 else reversed(DELIVERIES)
        played = [
            Case(poison.shapes[0], "kafka-python", one),
            Case(poison.shapes[-1], "confluent", other),
        ]
        for case in played if poison.error else [played[number % 2]]:
            yield name, case


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One broker of the newer version: it refuses times ahead by default."""
    try:
        stage = Stage(tmp_path_factory.mktemp("poison"), VERSIONS[-1]).__enter__()
    except LocalKafkaError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield stage
    stage.__exit__()


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_good_window_among_100_001_headers_is_judged_or_says_why_not(
    client: str, stage: Stage
) -> None:
    topic = stage.make_topic(settings=TAKES_ALL)
    content_type = ("content-type", b"application/vnd.stream-detector.float32")
    value = np.full(4, 9, "<f4").tobytes()
    few = OutputRecord(topic, b"k", value, [content_type], 1_767_225_600_000, 0)
    many = few._replace(headers=[content_type, *MANY_HEADERS[1:]])
    stage.send([few, many, few])
    job = stage.job(Case("windows", client, "exactly_once"), topic)
    try:
        job.finish()
        letters = find_letters(job, [1] if client == "confluent" else [])
        n_alerts = len(read_all(stage.servers, job.alerts_topic))
    finally:
        job.close()
    if client == "kafka-python":
        assert (letters, n_alerts) == ({}, 3)
        return
    reason = letters[1].reason
    assert n_alerts == 2
    assert reason is not None
    assert "its content type is not known" in reason.message
    assert letters[1].value == value
    assert letters[1].left_out == {"headers": len(content_type[0]) + len(content_type[1]) + 100_000}


@pytest.mark.parametrize(
    ("name", "case"),
    [pytest.param(name, case, id=f"{name}-{'-'.join(case)}") for name, case in cases()],
)
def test_a_poison_record_costs_its_neighbours_nothing(name: str, case: Case, stage: Stage) -> None:
    outcome = play_poison(name, stage, case)
    assert (outcome.n_lost, outcome.n_wrong, outcome.n_repeated) == (0, 0, 0)
