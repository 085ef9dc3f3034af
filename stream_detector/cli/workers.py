"""Several processes of one group under one `detect` command, with one address for their metrics."""

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path

from stream_detector.cli.detect_process import log_failure, run_detect, serving_metrics
from stream_detector.cli.terminal import StopFlag, describe_error, say_error
from stream_detector.log_lines import set_up_logging
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import SHARED_METRICS, log_event

BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 30.0
"""Wait between two starts of a worker that dies: it doubles from the first value to the second,
and returns to the first once a worker has run for longer than the second."""

PERMANENT = (2, 3, 4, 5, 7)
"""Exit codes that end the command, as they would without `--workers`: a wrong setting or bundle, a
broker that refuses or did not answer for `broker_timeout_s`, another process in this one's place, a
state that cannot be trusted, a topic of which every record is rejected."""

TICK_S = 0.1


def run_workers(bundle: Path, settings: DetectSettings) -> int:
    """Run `settings.workers` processes of the group until a signal, and return the exit code.

    See `Workers.run` for the exit code.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    set_up_logging(logging.INFO, settings.log_format)
    workers = Workers(bundle, settings)
    stop = StopFlag(workers.stop)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-detector-"))
        os.environ[SHARED_METRICS] = folder  # the workers inherit it
        stack.enter_context(stop.on_signals())
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        stack.enter_context(serving_metrics(registry, settings))
        return workers.run()


@dataclass(slots=True)
class _Worker:
    """One member of the group: its present process, and when to start the next one."""

    number: int
    settings: DetectSettings
    process: SpawnProcess | None = None
    started_s: float = 0.0
    backoff_s: float = BACKOFF_S_MIN
    start_at_s: float = 0.0


class Workers:
    """Start workers, restart those that die, and stop them all.

    Parameters
    ----------
    bundle
        The bundle's folder.
    settings
        Settings of the run; each worker gets an instance_id of its own.
    """

    def __init__(self, bundle: Path, settings: DetectSettings) -> None:
        self._bundle = bundle
        name = settings.instance_id or uuid.uuid4().hex
        self._workers = [
            _Worker(
                number,
                settings.model_copy(
                    update={"workers": 1, "metrics_port": None, "instance_id": f"{name}-{number}"}
                ),
            )
            for number in range(settings.workers)
        ]
        self._context = multiprocessing.get_context("spawn")
        self._is_stopping = False

    def stop(self) -> None:
        """Let every worker finish its batch and end. Safe in a signal handler."""
        self._is_stopping = True

    def run(self) -> int:
        """Keep all workers running until `stop`, or until one ends for good.

        Returns
        -------
        0 where all ended in order, else the exit code of the first that a restart cannot help.
        """
        exit_code = 0
        asked_to_stop: set[int] = set()
        while self._workers:
            for worker in list(self._workers):
                process = worker.process
                if process is None:
                    self._start_if_due(worker)
                elif not process.is_alive():
                    code = self._record_end(worker)
                    if self._is_over(code):
                        self._workers.remove(worker)
                        exit_code = exit_code or max(code, 0)
                        self._is_stopping = self._is_stopping or code in PERMANENT
                elif self._is_stopping and process.pid not in asked_to_stop:
                    asked_to_stop.add(process.pid or 0)
                    process.terminate()
            time.sleep(TICK_S)
        return exit_code

    def _start_if_due(self, worker: _Worker) -> None:
        """Start a worker's process once its backoff has passed."""
        if self._is_stopping:
            self._workers.remove(worker)
        elif time.monotonic() >= worker.start_at_s:
            worker.process = self._context.Process(
                target=_work, args=(self._bundle, worker.settings, worker.number)
            )
            worker.process.start()
            worker.started_s = time.monotonic()

    def _record_end(self, worker: _Worker) -> int:
        """Record that a worker's process has ended, schedule its restart; return its exit code."""
        from prometheus_client.multiprocess import mark_process_dead

        process, worker.process = worker.process, None
        assert process is not None  # noqa: S101  (narrows the type)
        code = process.exitcode or 0
        mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        if not self._is_over(code):
            if time.monotonic() - worker.started_s > BACKOFF_S_MAX:
                worker.backoff_s = BACKOFF_S_MIN
            worker.start_at_s = time.monotonic() + worker.backoff_s
            log_event(
                logging.WARNING,
                "worker-died",
                worker=worker.number,
                instance_id=worker.settings.instance_id,
                exit_code=code,
                starting_again_in_s=worker.backoff_s,
            )
            worker.backoff_s = min(2 * worker.backoff_s, BACKOFF_S_MAX)
        return code

    def _is_over(self, code: int) -> bool:
        """Return whether a worker that ended with this code is not to be restarted."""
        return self._is_stopping or code == 0 or code in PERMANENT


def _work(bundle: Path, settings: DetectSettings, number: int) -> None:
    """Run one worker until a signal, or until the command that started it has ended."""
    os.setpgrp()  # Ctrl-C goes to the command alone, which then stops its workers
    threading.Thread(target=_stop_with_parent, name="watch parent", daemon=True).start()
    try:
        run_detect(bundle, settings, number)
    except Exception as error:  # noqa: BLE001  (its process ends here)
        code, message = describe_error(error)
        if settings.log_format == "json":
            log_failure(error)
        else:
            say_error(f"worker {number}: {message}")
        sys.exit(code)


def _stop_with_parent() -> None:
    """Wait for the end of the command, and stop this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
