"""Faults of the network, and of the bundle on disk that it came from."""

import time
from collections.abc import Callable
from random import Random

from command_line import RunningCommand
from fault_stage import END_TIMEOUT_S, Job, exit_code
from halving_bundle import ROOT, make_bundle

from stream_detector.recipes import load_recipe

RECIPE = ROOT / "models" / "ecg5000-dense.toml"
CHANGES = ("data.name=csv", "data.path=windows.csv", "window.steps=4")
POLL_INTERVAL_MS = 3_000
WINDOW_S = 0.025  # all windows of the stream take longer than the poll interval
STALL_S = 4.5


def take_long(job: Job, random: Random) -> float:
    """Let the network be so slow that all records in one poll would cost the membership."""
    del random
    at_s = time.time()
    running = job.finish(
        poll_interval_ms=POLL_INTERVAL_MS, window_s=WINDOW_S, settings={"poll_records_max": 1_000}
    )
    assert "WARNING retrying" not in running.output, f"left the group: {running.output}"
    return at_s


def stall(job: Job, random: Random) -> float:
    """Let one call of the network last so long that the group gives the member up."""
    at_s = time.time()
    running = job.finish(
        poll_interval_ms=POLL_INTERVAL_MS, stall_s=STALL_S, nth=random.randint(2, 4)
    )
    assert "WARNING retrying" in running.output, f"stayed in the group: {running.output}"
    return at_s


def fail(model_error: str, code: int, message: str) -> Callable[[Job, Random], float]:
    """Return the fault of a network that fails, and the process with it.

    Parameters
    ----------
    model_error
        As in `fault_worker.Plan`.
    code
        How the process ends.
    message
        What it says.
    """

    def fault(job: Job, random: Random) -> float:
        failing = job.start(model_error=model_error, nth=random.randint(2, 4))
        found = exit_code(failing)
        at_s = time.time()
        assert found == code, f"exit code {found}: {failing.output}"
        assert message in failing.output, failing.output
        job.finish()
        return at_s

    return fault


def damage_bundle(job: Job, random: Random) -> float:
    """Change a bit of the bundle while a process runs: it continues, and the next one refuses."""
    bundle = job.stage.folder / f"bundle-{job.group}"
    make_bundle(bundle, load_recipe(RECIPE, CHANGES), factor=0.0)
    running = job.start(pause_s=0.2, bundle=str(bundle))
    running.wait_for("finished")
    path = random.choice(sorted(bundle.iterdir()))
    sound = path.read_bytes()
    at_s = time.time()
    path.write_bytes(changed(sound, random))
    wait_for_commit(job, at_s, running)
    running.process.kill()
    refusing = job.start(bundle=str(bundle))
    code = exit_code(refusing)
    assert code == 3, f"exit code {code} with {path.name} changed: {refusing.output}"
    path.write_bytes(sound)
    job.finish(bundle=str(bundle))
    return at_s


def changed(sound: bytes, random: Random) -> bytes:
    """Return a file with one bit changed."""
    at = random.randrange(len(sound))
    return sound[:at] + bytes([sound[at] ^ 1 << random.randrange(8)]) + sound[at + 1 :]


def wait_for_commit(job: Job, at_s: float, running: RunningCommand) -> None:
    """Wait until a process has committed once more."""
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while not any(each > at_s for each in job.finished_at_s()):
        assert time.monotonic() < deadline_s, f"no more commits: {running.output}"
        assert running.process.poll() is None, f"ended: {running.output}"
        time.sleep(0.02)


MODEL_FAULTS: dict[str, Callable[[Job, Random], float]] = {
    "network slow": take_long,
    "network stalls beyond the poll interval": stall,
    "network raises": fail("raises", 1, "unexpected RuntimeError: the engine ran out of memory"),
    "network gives NaN": fail("gives NaN", 3, "non-finite"),
    "bundle changed on disk": damage_bundle,
}
