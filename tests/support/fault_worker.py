"""`stream-detector detect` as it is, but for its model, and a fault at a step that was named.

    fault-worker PLAN detect - --group g ...

It is a program of `command_server`. PLAN is a `Plan` as JSON. The bundle's place is taken by a
detector of `delivery_stream`, and that of its network by one that gives zeros; all else, from
settings to signals and exit codes, is the command's own. After each commit a line
"finished at=TIME next=PARTITION:OFFSET,..." goes to standard output.
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from delivery_stream import detector_of
from detectors import with_network

from stream_detector import assembly, cli, clients
from stream_detector.clients import _limits
from stream_detector.service import loop

STEPS = (
    "after_poll",
    "in_inference",
    "after_begin",
    "after_send",
    "after_offsets",
    "during_commit",
    "after_commit",
)
"""In the order in which the loop passes them. `after_begin` and `after_offsets` are steps of a
transaction; there are fewer of `after_send`, for not every batch has something to publish."""


@dataclass(frozen=True)
class Plan:
    """What is to happen in a process.

    Parameters
    ----------
    shape
        Of the records.
    step
        One of `STEPS`, or None for no fault.
    nth
        How often the step is passed before, + 1.
    signal_number
        What the process sends itself there.
    delay_s
        How long after `during_commit` began.
    pause_s
        How long each batch takes at least.
    session_ms
        How soon the group gives up a member that is dead.
    poll_interval_ms
        How soon it gives up one that does not poll; batches are to take a tenth of it.
    window_s
        How long the network takes for each window.
    stall_s
        How long it takes for its `nth` call besides.
    model_error
        What the network does in its `nth` call: "raises", or "gives NaN".
    bundle
        Folder of a bundle whose network gives zeros, to be read, checked and used.
    """

    shape: str
    step: str | None = None
    nth: int = 1
    signal_number: int = signal.SIGKILL
    delay_s: float = 0.0
    pause_s: float = 0.0
    session_ms: int = 1_000
    poll_interval_ms: int = 300_000
    window_s: float = 0.0
    stall_s: float = 0.0
    model_error: str | None = None
    bundle: str | None = None


class Fault:
    """Sends the process a signal at a step."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._n_left = plan.nth

    def passed(self, step: str) -> None:
        """Count a step of the loop, and strike if the plan says so."""
        if step == self._plan.step:
            self._n_left -= 1
            if not self._n_left:
                os.kill(os.getpid(), self._plan.signal_number)

    def begun(self) -> None:
        """Count the start of a commit, and schedule the signal that is to hit it."""
        if self._plan.step == "during_commit":
            self._n_left -= 1
            if not self._n_left:
                threading.Thread(target=self._strike, daemon=True).start()

    def _strike(self) -> None:
        time.sleep(self._plan.delay_s)
        os.kill(os.getpid(), self._plan.signal_number)


def watch(client: Any, plan: Plan, *, is_transactional: bool) -> Any:
    """Make a client report the steps of the loop that it passes."""
    fault, producer = Fault(plan), client._producer
    poll, flush, commit = client.poll, client.flush, client.commit
    begin = producer._begin_transaction

    def watched_poll(*arguments: Any) -> Any:
        batch = poll(*arguments)
        if len(batch):
            fault.passed("after_poll")
            time.sleep(plan.pause_s)
        return batch

    def watched_flush(timeout_ms: int) -> None:
        flush(timeout_ms)
        fault.passed("after_send")

    def watched_commit(progress: Any) -> None:
        if not is_transactional:
            fault.begun()
        commit(progress)
        fault.passed("after_commit")
        ends = ",".join(f"{each.partition}:{at.next_offset}" for each, at in progress.items())
        sys.stdout.write(f"finished at={time.time():.3f} next={ends}\n")
        sys.stdout.flush()

    def watched_begin() -> None:
        was_open = producer.is_in_transaction
        begin()
        if producer.is_in_transaction and not was_open:
            fault.passed("after_begin")

    client.poll, client.flush, client.commit = watched_poll, watched_flush, watched_commit
    producer._begin_transaction = watched_begin
    if is_transactional:
        watch_transactions(producer, fault)
    return client


def watch_transactions(producer: Any, fault: Fault) -> None:
    """Make a producer report the two requests that a commit consists of."""
    if hasattr(producer, "_await_step"):  # kafka-python's
        wait = producer._await_step

        def watched_wait(result: Any, timeout_ms: int) -> None:
            is_end = producer._manager()._current_state.name != "IN_TRANSACTION"
            if is_end:
                fault.begun()
            wait(result, timeout_ms)
            if not is_end:
                fault.passed("after_offsets")

        producer._await_step = watched_wait
        return
    import confluent_kafka

    class WatchedProducer(confluent_kafka.Producer):  # type: ignore[misc]
        def send_offsets_to_transaction(self, *arguments: Any) -> None:
            super().send_offsets_to_transaction(*arguments)
            fault.passed("after_offsets")

        def commit_transaction(self, *arguments: Any) -> None:
            fault.begun()
            super().commit_transaction(*arguments)

    confluent_kafka.Producer = WatchedProducer


class Model:
    """A network with the plan's faults.

    Parameters
    ----------
    plan
        Says which.
    reconstruct
        The network as it is.
    """

    def __init__(self, plan: Plan, reconstruct: Any) -> None:
        self._plan = plan
        self._reconstruct = reconstruct
        self._fault = Fault(plan)
        self._n_calls = 0

    def __call__(self, windows: Any) -> Any:
        self._fault.passed("in_inference")
        self._n_calls += 1
        time.sleep(self._plan.window_s * len(windows))
        if self._n_calls == self._plan.nth:
            time.sleep(self._plan.stall_s)
            if self._plan.model_error == "raises":
                message = "the engine ran out of memory"
                raise RuntimeError(message)
            if self._plan.model_error == "gives NaN":
                return np.full_like(windows, np.nan)
        return self._reconstruct(windows)


def limit_times(plan: Plan) -> None:
    """Let the group give members up sooner than it does."""
    _limits.SESSION_TIMEOUT_MS = plan.session_ms
    _limits.HEARTBEAT_MS = plan.session_ms // 5
    share = plan.poll_interval_ms / _limits.POLL_INTERVAL_MAX_MS
    if share < 1:
        _limits.POLL_INTERVAL_MAX_MS = plan.poll_interval_ms
        loop.BATCH_S_MAX = plan.poll_interval_ms / 10_000
        loop.POLL_RECORDS_FIRST = max(1, round(loop.POLL_RECORDS_FIRST * share))


def main() -> None:
    """Run the command with what the plan changes of it."""
    plan = Plan(**json.loads(sys.argv.pop(1)))
    limit_times(plan)
    connect, open_bundle = clients.connect, assembly.open_bundle
    detector: Any = detector_of(plan.shape)

    def watched_connect(settings: Any, **options: Any) -> Any:
        client = connect(settings, **options)
        return watch(client, plan, is_transactional=options["transactional_id"] is not None)

    def open_planned(*_: Any) -> Any:
        reconstruct = open_bundle(Path(plan.bundle)).reconstruct if plan.bundle else np.zeros_like
        return SimpleNamespace(
            bundle=SimpleNamespace(reference=detector.bundle, image=None),
            detector=with_network(detector, Model(plan, reconstruct)),
        )

    clients.connect = watched_connect
    vars(assembly)["open_bundle"] = open_planned
    cli.main()
