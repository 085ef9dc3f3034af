"""CPU time of a record through `detect` and through the jobs of examples/flink.

All read the same topic of a real Kafka, float32 windows of ECG5000, to its end. The CPU time of all
processes of a contender counts, Java's included. Each run is set against one over few records, so
what it takes to start is left out; a warm-up of Java that takes longer is not.

    FLINK_PYTHON=.venv-flink/bin/python python benchmarks/flink.py --records 300000
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import (
    RARELY,
    ROOT,
    fill,
    make_topics,
    normal_beats,
    running_broker,
    spread,
    tell,
    train_bundle,
)

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
N_FEW = 1_000
PROGRAMS = {
    "detect, kafka-python": (sys.executable, "-m", "stream_detector", "detect"),
    "detect, confluent": (sys.executable, "-m", "stream_detector", "detect"),
    "Flink, stateless.py": ("stateless.py",),
    "Flink, stateful.py": ("stateful.py",),
}


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    beats = [beat.tobytes() for beat in normal_beats()]
    with tempfile.TemporaryDirectory() as name, running_broker() as servers:
        folder = Path(name)
        bundle = train_bundle(folder, *RARELY)
        make_topics(servers, "few", "many", "alerts", "dead-letters")
        fill(servers, "few", beats, N_FEW)
        fill(servers, "many", beats, options.records)
        print("| | CPU time of a record, us |\n|---|---|")
        for contender in PROGRAMS:
            found = []
            for number in range(options.rounds):
                few, many = (
                    cpu_s(words_of(contender, bundle, folder / f"{topic}-{number}", servers, topic))
                    for topic in ("few", "many")
                )
                found.append((many - few) / (options.records - N_FEW) * 1e6)
            print(f"| {contender} | {tell(spread(found), 1)} |", flush=True)


def words_of(contender: str, bundle: Path, folder: Path, servers: str, topic: str) -> list[str]:
    """Return the command line of a contender, for which the name of a new folder is at hand."""
    program, *rest = PROGRAMS[contender]
    if rest:
        words = [program, *rest, str(bundle), "--client", contender.split(", ")[1]]
        words += ["--stop-when-idle", "2s"]
    else:
        path = ROOT / "examples" / "flink" / program
        words = [os.environ["FLINK_PYTHON"], str(path), str(bundle), "--until-now"]
        words += ["--checkpoints", str(folder / program)]
    words += ["--input-topic", topic, "--group", f"{contender} {folder.name}"]
    return [*words, "--bootstrap-servers", servers]


def cpu_s(words: list[str]) -> float:
    """Run a program to its end, and return the CPU time of all its processes, seconds."""
    given = {"STREAM_DETECTOR_CONTENT_TYPE": "float32"}
    given["STREAM_DETECTOR_ALERTING"] = '{"incident_within_ms": 0}'
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            words, stdout=log, stderr=log, env=os.environ | given, start_new_session=True
        )
        ticks: dict[int, int] = {}
        while process.poll() is None:
            ticks |= ticks_of_session(process.pid)
            time.sleep(0.05)
        if process.returncode:
            log.seek(0)
            message = f"{' '.join(words)} failed: {log.read().decode()[-3000:]}"
            raise SystemExit(message)
    return sum(ticks.values()) / TICKS_A_SECOND


def ticks_of_session(session: int) -> dict[int, int]:
    """Return what each process of a session has taken so far, in ticks of the clock.

    Notes
    -----
    Source: proc(5), /proc/PID/stat: field 6 is the session, 14 and 15 are the times.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session:
            found[int(folder.name)] = int(fields[11]) + int(fields[12])
    return found


if __name__ == "__main__":
    main()
