"""The faults that are played on a real Kafka, by name: tests play some, `make faults` all.

Each is a function that plays it to a group of processes, leaves nothing undone, and returns when
it was.
"""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from command_line import RunningCommand
from fault_stage import END_TIMEOUT_S, Case, Job, Outcome, Stage, exit_code
from fault_worker import STEPS
from kafka.admin import ConfigResource
from local_kafka import LocalKafka
from model_faults import MODEL_FAULTS
from poison_records import POISONS, play_poison

SWALLOWED = {"at_least_once": "OffsetCommit", "exactly_once": "EndTxn"}
"""The request that makes a batch count."""

IN_TRANSACTIONS = ("after_begin", "after_offsets")


Fault = Callable[[Job, Random], float]


def named(step: str) -> str:
    """Return what the fault of a process that is killed at a step is called."""
    return f"killed {step.replace('_', ' ')}"


def kill_at(step: str) -> Fault:
    """Return the fault of a process that is killed at a step of the loop."""

    def fault(job: Job, random: Random) -> float:
        delay_s = random.uniform(0, 0.008)
        first = job.start(step=step, nth=random.randint(2, 4), delay_s=delay_s)
        at_s = killed_at_s(first)
        job.finish()
        return at_s

    return fault


def killed_at_s(running: RunningCommand) -> float:
    """Wait until a process has killed itself and return when that was."""
    code = exit_code(running)
    assert code == -signal.SIGKILL, f"exit code {code}: {running.output}"
    return time.time()


def kill_at_each_step(job: Job, random: Random) -> float:
    """Kill one process after the other, each at another step."""
    at_s = 0.0
    for step in STEPS:
        if is_possible(step, job.case.delivery):
            delay_s = random.uniform(0, 0.008)
            at_s = killed_at_s(job.start(step=step, nth=random.randint(1, 2), delay_s=delay_s))
    job.finish()
    return at_s


def kill_again_and_again(n_kills: int, poll_records_max: int) -> Fault:
    """Return the fault of processes killed at moments of chance, be it in joining or restoring.

    Parameters
    ----------
    n_kills
        One process after the other.
    poll_records_max
        So few that something is left to the last.
    """

    def fault(job: Job, random: Random) -> float:
        at_s = 0.0
        few: dict[str, object] = {"poll_records_max": poll_records_max}
        for _ in range(n_kills):
            running = job.start(pause_s=0.2, idle_s=3, settings=few)
            running.wait_for("ready")
            time.sleep(random.uniform(0, 1.0))
            assert running.process.poll() is None, f"ended before it was killed: {running.output}"
            running.process.kill()
            at_s = time.time()
        job.finish()
        return at_s

    return fault


def lose_reply(*, is_cut: bool) -> Fault:
    """Return the fault of a commit that was done and whose answer is lost.

    Parameters
    ----------
    is_cut
        Whether the connection ends with it; else the answer is waited for in vain.
    """

    def fault(job: Job, random: Random) -> float:
        proxy = job.stage.proxy
        proxy.swallow(SWALLOWED[job.case.delivery], random.randint(1, 5), is_cut=is_cut)
        job.finish(is_proxied=True)
        assert proxy.struck_at_s is not None
        return proxy.struck_at_s

    return fault


def damage_records(job: Job, random: Random) -> float:
    """Change a byte of records on their way from the broker, which the checksum is to show."""
    job.stage.proxy.damage(n_before=random.randint(0, 5))
    running = job.finish(is_proxied=True)
    assert job.stage.proxy.struck_at_s is not None
    # The client on kafka-python fetches such a batch once more, and then finds it sound.
    assert job.case.client == "kafka-python" or "came damaged" in running.output
    return job.stage.proxy.struck_at_s


def take_the_place(job: Job, random: Random) -> float:
    """Start a second process under the name of one that runs."""
    del random
    older = job.start(pause_s=0.3)
    older.wait_for("finished")
    job.start()
    code = exit_code(older)
    at_s = time.time()
    assert code == 4, f"exit code {code}: {older.output}"
    assert "another process took this one's place" in older.output
    job.join()
    return at_s


def stop_at(*steps: str) -> Fault:
    """Return the fault of a process that stands still while another does its work, then resumes.

    Parameters
    ----------
    steps
        Of the loop; it stands still in one of them.
    """

    def fault(job: Job, random: Random) -> float:
        step = random.choice([each for each in steps if is_possible(each, job.case.delivery)])
        older = job.start(step=step, nth=2, signal_number=signal.SIGSTOP, idle_s=3)
        wait_until_stopped(older)
        at_s = time.time()
        job.finish(instance="b")
        older.process.send_signal(signal.SIGCONT)
        # It joins again and finds nothing to do, or learns that its transaction was ended for it.
        code = exit_code(older)
        assert code in (0, 4), f"exit code {code}: {older.output}"
        return at_s

    return fault


def wait_until_stopped(running: RunningCommand) -> None:
    """Wait until a process has stopped itself."""
    deadline_s = time.monotonic() + END_TIMEOUT_S
    status = Path(f"/proc/{running.process.pid}/status")
    while "State:\tT" not in status.read_text():
        assert time.monotonic() < deadline_s, f"not stopped: {running.output}"
        assert running.process.poll() is None, f"ended before it stopped: {running.output}"
        time.sleep(0.02)


def come_and_go(n_members: int, pause_s: float, poll_records_max: int) -> Fault:
    """Return the fault of members that come, and leave in order or by force, every two seconds.

    Parameters
    ----------
    n_members
        How many come, one after the other.
    pause_s, poll_records_max
        Slow enough that something is left to the last.
    """

    def fault(job: Job, random: Random) -> float:
        settings: dict[str, object] = {"poll_records_max": poll_records_max}
        at_s = time.time()
        member = job.start(instance="0", pause_s=pause_s, settings=settings)
        member.wait_for("finished")
        for number in range(1, n_members):
            job.start(instance=str(number), pause_s=pause_s, settings=settings)
            time.sleep(2)
            if member.process.poll() is None:
                member.process.send_signal(random.choice((signal.SIGTERM, signal.SIGKILL)))
            member = job.processes[-1]
        if member.process.poll() is None:
            member.process.send_signal(signal.SIGTERM)
        job.join()
        return at_s

    return fault


def kill_broker(job: Job, random: Random) -> float:
    """Kill the broker in mid-stream and start it again."""
    running = job.start(pause_s=0.2)
    running.wait_for("finished")
    time.sleep(random.uniform(0, 1))
    job.stage.broker.kill()
    at_s = time.time()
    job.stage.broker.start()
    job.join()
    return at_s


def kill_one_of_three(which: Callable[[Job], LocalKafka]) -> Fault:
    """Return the fault of a broker that is killed in mid-stream while two others keep serving.

    Parameters
    ----------
    which
        Says which of them, once a process is at work.
    """

    def fault(job: Job, random: Random) -> float:
        running = job.start(pause_s=0.2, idle_s=END_TIMEOUT_S)
        running.wait_for("finished")
        time.sleep(random.uniform(0, 1))
        broker = which(job)
        broker.kill()
        at_s = time.time()
        try:
            end_when_done(running, job)
        finally:
            broker.start()
            job.stage.cluster.wait_in_sync()
        return at_s

    return fault


def miss_a_replica(job: Job, random: Random) -> float:
    """Let the broker refuse alerts, for one copy fewer than it must have, until it is back."""
    stage = job.stage
    topic = ConfigResource("TOPIC", job.alerts_topic, {"min.insync.replicas": "3"})
    stage.administer(lambda admin: admin.alter_configs([topic]))
    running = job.start(pause_s=0.2, idle_s=END_TIMEOUT_S)
    running.wait_for("finished")
    leader = stage.cluster.leader_of(job.alerts_topic, 0)
    coordinator = stage.cluster.group_coordinator(job.group)
    missing = random.choice([each for each in stage.cluster if each not in (leader, coordinator)])
    missing.kill()
    try:
        running.wait_for("were not acknowledged")
        time.sleep(random.uniform(0, 2))
    finally:
        missing.start()
        at_s = time.time()
        stage.cluster.wait_in_sync()
    end_when_done(running, job)
    return at_s


def restart_one_by_one(job: Job, random: Random) -> float:
    """Stop and start each broker in mid-stream, as for a new version of Kafka."""
    running = job.start(idle_s=END_TIMEOUT_S, settings={"poll_records_max": 3}, pause_s=0.5)
    running.wait_for("finished")
    time.sleep(random.uniform(0, 1))
    at_s = 0.0
    for broker in job.stage.cluster:
        broker.stop()
        at_s = time.time()
        broker.start()
        job.stage.cluster.wait_in_sync()
    end_when_done(running, job)
    return at_s


def end_when_done(running: RunningCommand, job: Job) -> None:
    """Wait until a process has done all there is, whatever happens meanwhile, then stop it."""
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while not job.is_done():
        assert running.process.poll() is None, f"ended too soon: {running.output}"
        assert time.monotonic() < deadline_s, f"not done: {running.output}"
        time.sleep(0.2)
    code = running.terminate()
    assert code == 0, f"exit code {code}: {running.output}"


FAULTS: dict[str, Fault] = {
    **{named(step): kill_at(step) for step in STEPS},
    "killed at random moments": kill_again_and_again(4, 10),
    "reply to commit lost, connection cut": lose_reply(is_cut=True),
    "reply to commit lost, silence": lose_reply(is_cut=False),
    "records damaged on their way": damage_records,
    "second process with the same id": take_the_place,
    "stopped beyond the session timeout": stop_at(
        *(each for each in STEPS if each != "after_offsets")
    ),
    "the same, with offsets in a transaction": stop_at("after_offsets"),
    "members come and go": come_and_go(3, 0.15, 4),
    "broker killed": kill_broker,
    **MODEL_FAULTS,
}

LONG: dict[str, Fault] = {
    "killed 20 times at random moments": kill_again_and_again(20, 2),
    "members come and go for a minute": come_and_go(30, 0.6, 1),
}
"""Faults that take a minute and more."""

OF_THREE_BROKERS: dict[str, Fault] = {
    "leader of the input killed": kill_one_of_three(
        lambda job: job.stage.cluster.leader_of(job.input_topic, 0)
    ),
    "leader of the alerts killed": kill_one_of_three(
        lambda job: job.stage.cluster.leader_of(job.alerts_topic, 0)
    ),
    "group coordinator killed": kill_one_of_three(
        lambda job: job.stage.cluster.group_coordinator(job.group)
    ),
    "transaction coordinator killed": kill_one_of_three(
        lambda job: job.stage.cluster.transaction_coordinator(job.transactional_id)
    ),
    "too few replicas of the alerts": miss_a_replica,
    "three brokers restarted one by one": restart_one_by_one,
}
"""Faults of a stage with three brokers, where two are enough."""

IN_ONE_RUN = {"killed at each step, one after the other": kill_at_each_step}
"""Faults that are the same as others, only sooner played."""


def is_possible_with(name: str, case: Case) -> bool:
    """Return whether a fault or poison is there with a delivery and a shape of records."""
    if name in POISONS:
        return case.shape in POISONS[name].shapes
    return is_possible(name, case.delivery)


def is_possible(name: str, delivery: str) -> bool:
    """Return whether a fault, or a step, is there with this delivery: some are of transactions."""
    needing = (
        *IN_TRANSACTIONS,
        *map(named, IN_TRANSACTIONS),
        "second process with the same id",
        "transaction coordinator killed",
        "the same, with offsets in a transaction",
    )
    return delivery == "exactly_once" or name not in needing


def play(name: str, stage: Stage, case: Case, seed: int) -> Outcome:
    """Play a fault and compare.

    Parameters
    ----------
    name
        One of `FAULTS`, `LONG`, `IN_ONE_RUN`, `OF_THREE_BROKERS` or `POISONS`.
    stage
        Where; the last want one of three brokers.
    case
        With what.
    seed
        Decides all that is left to chance.
    """
    if name in POISONS:
        return play_poison(name, stage, case)
    expected = stage.expected(case.shape)
    job = stage.job(case)
    try:
        at_s = (FAULTS | LONG | IN_ONE_RUN | OF_THREE_BROKERS)[name](job, Random(seed))
        return job.outcome(at_s, expected)
    finally:
        job.close()
