"""Whatever dies on a real Kafka, and whenever: the alerts of an uninterrupted run, byte for byte.

Each fault with one shape, client and delivery, or two; `make faults` plays them with all.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from delivery_stream import N_PARTITIONS, N_RECORDS, record_of  # tests/support
from fault_scenarios import killed_at_s, play
from fault_stage import Case, Job, Stage, exit_code, read_all
from local_kafka import VERSIONS, LocalKafkaError

from stream_detector.clients import _limits
from stream_detector.core.records import TopicPartition

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

FAULTS = [
    ("killed at each step, one after the other", Case("samples", "confluent", "exactly_once")),
    ("killed at random moments", Case("samples", "kafka-python", "exactly_once")),
    ("reply to commit lost, connection cut", Case("windows", "confluent", "at_least_once")),
    ("reply to commit lost, connection cut", Case("samples", "kafka-python", "exactly_once")),
    ("records damaged on their way", Case("windows", "kafka-python", "at_least_once")),
    ("records damaged on their way", Case("samples", "confluent", "exactly_once")),
    ("second process with the same id", Case("samples", "kafka-python", "exactly_once")),
    ("stopped beyond the session timeout", Case("windows", "confluent", "exactly_once")),
    ("members come and go", Case("samples", "kafka-python", "exactly_once")),
    ("broker killed", Case("samples", "confluent", "at_least_once")),
    ("network slow", Case("samples", "confluent", "exactly_once")),
    ("network stalls beyond the poll interval", Case("windows", "kafka-python", "exactly_once")),
    ("network raises", Case("windows", "confluent", "at_least_once")),
    ("bundle changed on disk", Case("samples", "kafka-python", "exactly_once")),
]


OF_THREE_BROKERS = [
    ("leader of the alerts killed", Case("samples", "confluent", "at_least_once")),
    ("transaction coordinator killed", Case("samples", "kafka-python", "exactly_once")),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from opened(tmp_path_factory.mktemp("faults"), n_brokers=1)


@pytest.fixture(scope="module")
def stage_of_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from opened(tmp_path_factory.mktemp("faults"), n_brokers=3)


def opened(folder: Path, n_brokers: int) -> Iterator[Stage]:
    """Give a stage while a fixture is in use."""
    try:
        stage = Stage(folder, VERSIONS[0], n_brokers).__enter__()
    except LocalKafkaError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield stage
    stage.__exit__()
    # The sockets that kafka-python leaves open are collected here, where a warning is expected.
    gc.collect()


@pytest.fixture
def job_of(stage: Stage) -> Iterator[Callable[..., Job]]:
    """Make groups whose processes end with the test."""
    jobs: list[Job] = []

    def make(case: Case, input_topic: str | None = None) -> Job:
        jobs.append(stage.job(case, input_topic))
        return jobs[-1]

    yield make
    for job in jobs:
        job.close()


@pytest.mark.parametrize(("name", "case"), FAULTS, ids=str)
def test_a_fault_changes_nothing(name: str, case: Case, stage: Stage) -> None:
    play_and_compare(name, case, stage)


def play_and_compare(name: str, case: Case, stage: Stage) -> None:
    seed = Random().randrange(10_000)
    sys.stdout.write(f"seed {seed}\n")  # shown where the test fails
    outcome = play(name, stage, case, seed)
    assert (outcome.n_lost, outcome.n_wrong) == (0, 0)
    assert case.delivery == "at_least_once" or outcome.n_repeated == 0


def test_what_comes_again_at_least_once_is_seen_by_the_comparison(stage: Stage) -> None:
    case = Case("windows", "kafka-python", "at_least_once")
    outcome = play("killed after send", stage, case, seed=1)
    assert (outcome.n_lost, outcome.n_wrong) == (0, 0)
    assert outcome.n_repeated > 0


def members_of(job: Job) -> set[str]:
    """Return the ids of the group's members; one that leaves and comes back has another."""
    described = job.stage.administer(lambda admin: admin.describe_groups([job.group]))
    return {each["member_id"] for each in described[job.group]["members"]}


@pytest.mark.parametrize(
    "case",
    [
        Case("samples", "kafka-python", "at_least_once"),
        Case("samples", "confluent", "exactly_once"),
    ],
    ids=str,
)
def test_a_batch_that_its_topics_do_not_take_is_held_until_they_do(
    case: Case, stage: Stage, job_of: Callable[..., Job]
) -> None:
    job = job_of(case)
    stage.proxy.ignore("Produce")
    try:
        settings: dict[str, object] = {"flush_timeout_ms": 1_000}
        running = job.start(is_proxied=True, idle_s=2.0, settings=settings)
        running.wait_for("WARNING retrying")
        members = members_of(job)
        time.sleep(1.5)  # longer than the session timeout
        assert job.committed() == {}
    finally:
        stage.proxy.ignore(None)
    at_s = time.time()
    running.wait_for("finished")
    assert members_of(job) == members
    assert exit_code(running) == 0
    outcome = job.outcome(at_s)
    assert (outcome.n_lost, outcome.n_wrong, outcome.n_repeated) == (0, 0, 0)
    assert running.output.count("ready ") == 1
    assert "restored" not in running.output
    assert int(running.output.partition("n_retries=")[2].split()[0]) >= 2


def test_poison_at_the_head_the_middle_and_the_end_of_a_batch(
    stage: Stage, job_of: Callable[..., Job]
) -> None:
    topic = stage.make_topic()
    records = [record_of(3 * number, "windows", topic) for number in range(30)]
    for number in (0, 15, 29):
        records[number] = records[number]._replace(value=b"\xff poison %d" % number)
    stage.send(records)
    case = Case("windows", "kafka-python", "exactly_once")
    undisturbed, job = job_of(case, topic), job_of(case, topic)
    undisturbed.finish()
    at_s = killed_at_s(job.start(step="after_commit"))
    job.finish()
    expected = undisturbed.published()
    outcome = job.outcome(at_s, expected)
    assert (outcome.n_lost, outcome.n_wrong, outcome.n_repeated) == (0, 0, 0)
    letters = read_all(stage.servers, job.dead_letter_topic)
    assert {b"\xff poison 0", b"\xff poison 15", b"\xff poison 29"} <= {each[0] for each in letters}


def half_done(stage: Stage, job_of: Callable[..., Job], case: Case) -> Job:
    """Return a group that has done the first half of a stream of its own."""
    topic = stage.make_topic(N_PARTITIONS)
    stage.send(record_of(number, case.shape, topic) for number in range(N_RECORDS // 2))
    job = job_of(case, topic)
    job.finish()
    stage.send(record_of(number, case.shape, topic) for number in range(N_RECORDS // 2, N_RECORDS))
    return job


def test_what_retention_took_is_counted_and_keys_warm_up(
    stage: Stage, job_of: Callable[..., Job]
) -> None:
    job = half_done(stage, job_of, Case("samples", "confluent", "exactly_once"))
    saved = job.committed()
    # Of one partition unread records are deleted, of the other only records that would be replayed.
    before = {
        each: progress.next_offset + (3, 0)[each.partition] for each, progress in saved.items()
    }
    stage.delete_records(before)
    last = job.finish(idle_s=5.0)  # to begin anew takes the library a moment
    assert last.output.count("state-reset reason=retention") == 2
    assert last.output.count("n_records_lost=3") == 1
    job.check_offsets()


def wait_for_committed(job: Job, next_offset: int) -> None:
    deadline_s = time.monotonic() + 60
    while [each.next_offset for each in job.committed().values()] != [next_offset]:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_retention_that_overtakes_a_process_is_counted(
    client: str, stage: Stage, job_of: Callable[..., Job]
) -> None:
    topic = stage.make_topic()
    stage.send(record_of(3 * number, "samples", topic) for number in range(40))
    job = job_of(Case("samples", client, "at_least_once"), topic)
    running = job.start(idle_s=60, session_ms=20_000)
    wait_for_committed(job, 40)
    running.process.send_signal(signal.SIGSTOP)
    time.sleep(1)  # what it asked for last is answered: nothing had come
    stage.send(record_of(3 * number, "samples", topic) for number in range(40, 70))
    stage.delete_records({TopicPartition(topic, 0): 60})
    running.process.send_signal(signal.SIGCONT)
    wait_for_committed(job, 70)
    assert running.terminate() == 0
    assert running.output.count("state-reset reason=retention") == 1
    assert "n_records_lost=20" in running.output
    assert "n_records=50" in running.output


@pytest.mark.parametrize(
    "case",
    [
        Case("samples", "kafka-python", "exactly_once"),
        Case("samples", "confluent", "at_least_once"),
    ],
    ids=str,
)
def test_a_group_that_begins_at_the_end_begins_there_once(
    case: Case, stage: Stage, job_of: Callable[..., Job]
) -> None:
    topic = stage.make_topic()
    stage.send(record_of(3 * number, "samples", topic) for number in range(40))
    job = job_of(case, topic)
    first = job.start(idle_s=60, settings={"offset_reset": "latest"})
    first.wait_for("ready")
    first.process.kill()
    stage.send(record_of(3 * number, "samples", topic) for number in range(40, 60))
    last = job.finish(settings={"offset_reset": "latest"})
    assert "n_records=20 " in last.output
    job.check_offsets()


def test_partitions_that_were_added_are_refused_until_they_are_accepted(
    stage: Stage, job_of: Callable[..., Job]
) -> None:
    job = half_done(stage, job_of, Case("samples", "kafka-python", "exactly_once"))
    stage.add_partitions(job.input_topic, 3)
    refused = job.start()
    assert exit_code(refused) == 5
    assert "--accept-repartition" in refused.output
    last = job.finish("--accept-repartition")
    assert last.output.count("state-reset reason=repartitioned") == N_PARTITIONS
    job.check_offsets()


def test_a_topic_that_is_recreated_under_a_running_process_is_refused(
    stage: Stage, job_of: Callable[..., Job]
) -> None:
    topic = stage.make_topic()
    stage.send(record_of(3 * number, "samples", topic) for number in range(40))
    job = job_of(Case("samples", "confluent", "exactly_once"), topic)
    running = job.start(idle_s=30)
    running.wait_for("finished")
    wait_for_committed(job, 40)
    stage.delete_topic(topic)
    stage.make_topic(name=topic)
    stage.send(record_of(3 * number, "samples", topic) for number in range(20))
    assert exit_code(running) == 5
    assert "the topic was recreated" in running.output


def test_an_open_transaction_holds_readers_up_no_longer_than_its_timeout(
    job_of: Callable[..., Job],
) -> None:
    abandoned = job_of(Case("samples", "confluent", "exactly_once"))
    restarted = job_of(Case("samples", "kafka-python", "exactly_once"))
    at_s = killed_at_s(abandoned.start(step="after_send"))
    restarted_at_s = killed_at_s(restarted.start(step="after_send"))
    running = restarted.start()
    running.wait_for("ready")
    restarted.published()
    assert time.time() - restarted_at_s < 8  # the transaction was ended by its successor
    abandoned.published()
    held_up_s = time.time() - at_s
    assert 5 < held_up_s < _limits.TRANSACTION_TIMEOUT_MS / 1000 + 4


# Last, since the three brokers run from here to the end of the module.
@pytest.mark.parametrize(("name", "case"), OF_THREE_BROKERS, ids=str)
def test_of_three_brokers_any_one_may_die(name: str, case: Case, stage_of_three: Stage) -> None:
    play_and_compare(name, case, stage_of_three)
