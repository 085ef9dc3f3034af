"""How a consumer group scales: 1, 2 and 4 processes measured here, more of them by a model.

Measured on one filled topic of four partitions: CPU seconds a record of `detect`, and records a
second of the whole group, between the moment in which each process has a partition and the end.
The processes, the broker and whatever else runs share the cores of this machine, so the rate says
little about more machines and the CPU says much. The model takes the CPU of one process, and what
a restore of `--replayed` records takes at the rate of `--replay-rate`.

    python benchmarks/scale.py --records 1000000
    python benchmarks/scale.py --service-rate 150000     # the model alone
"""

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from common import (
    N_PARTITIONS,
    RARELY,
    delete_topics,
    fill,
    make_topics,
    normal_beats,
    running_broker,
    spread,
    tell,
    train_bundle,
)
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from scale_model import ASSUMPTIONS, UTILISATION, Group, play

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
N_PROCESSES = (1, 2, 4)


class Rate(NamedTuple):
    """What a group of processes did."""

    cpu_us: float
    records_per_s: float


def main() -> None:
    """Measure, and play the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--client", default="kafka-python")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--service-rate", type=float, help="records/s of a core; not measured then")
    parser.add_argument("--samples", type=int, default=140, help="samples of a record")
    parser.add_argument("--replayed", type=int, default=100_000, help="records of a restore")
    parser.add_argument("--replay-rate", type=float, default=134_000, help="records/s of a restore")
    chosen = parser.parse_args()
    service_per_s = chosen.service_rate
    if service_per_s is None:
        service_per_s = 1e6 / measure(chosen)
    simulate(chosen, service_per_s)


def measure(chosen: argparse.Namespace) -> float:
    """Print what groups of processes do; return the CPU of one process, microseconds a record."""
    rates: dict[int, list[Rate]] = {n_processes: [] for n_processes in N_PROCESSES}
    with tempfile.TemporaryDirectory() as folder, running_broker() as servers:
        bundle = train_bundle(Path(folder), *RARELY)
        make_topics(servers, "scale")
        fill(servers, "scale", [beat.tobytes() for beat in normal_beats()], chosen.records)
        for number in range(chosen.rounds):
            for n_processes, found in rates.items():
                name = f"scale-{n_processes}-{number}"
                found.append(run_group(servers, bundle, name, n_processes, chosen))
        delete_topics(servers, "scale")
    print(f"\n{chosen.client}, float32 records of 560 bytes, {os.cpu_count()} cores\n")
    print("Median (min - max):\n")
    print("| processes | CPU us a record | records/s of the group |\n|---|---|---|")
    for n_processes, found in rates.items():
        cells = zip(*found, strict=True)
        cpu, rate = map(spread, cells)
        print(f"| {n_processes} | {tell(cpu, 2)} | {tell(rate)} |")
    return min(rate.cpu_us for rate in rates[1])


def run_group(
    servers: str, bundle: Path, name: str, n_processes: int, chosen: argparse.Namespace
) -> Rate:
    """Let so many processes read the topic to its end."""
    outputs = [f"{name}-alerts", f"{name}-dead"]
    make_topics(servers, *outputs)
    command = [sys.executable, "-m", "stream_detector", "detect", str(bundle)]
    command += ["--bootstrap-servers", servers, "--client", chosen.client, "--group", name]
    command += ["--input-topic", "scale", "--content-type", "float32"]
    command += ["--alerts-topic", outputs[0], "--dead-letter-topic", outputs[1]]
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(n_processes)
    ]
    try:
        return watch(AdminClient({"bootstrap.servers": servers}), name, processes, chosen.records)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)
        delete_topics(servers, *outputs)


def watch(
    admin: AdminClient, group: str, processes: list["subprocess.Popen[bytes]"], n_records: int
) -> Rate:
    """Return what processes do from when each has a partition until everything is committed."""
    begin: tuple[float, float, int] | None = None
    deadline_s = time.monotonic() + 180
    while time.monotonic() < deadline_s:
        n_done = n_committed(admin, group)
        now = time.monotonic(), cpu_s(processes), n_done
        if begin is None and n_done and has_all(admin, group, len(processes)):
            begin = now
        if n_done >= n_records and begin is not None:
            seconds, cpu, n_scored = (end - start for end, start in zip(now, begin, strict=True))
            if not n_scored:
                sys.exit("the topic was read before all processes had joined: --records is small")
            return Rate(1e6 * cpu / n_scored, n_scored / seconds)
        time.sleep(0.1)
    sys.exit(f"{group} did not read the topic within three minutes")


def n_committed(admin: AdminClient, group: str) -> int:
    """Return up to where a group has committed, over all partitions."""
    wanted = [TopicPartition("scale", partition) for partition in range(N_PARTITIONS)]
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])
    found = asked[group].result(30).topic_partitions
    return sum(max(each.offset, 0) for each in found)


def has_all(admin: AdminClient, group: str, n_processes: int) -> bool:
    """Return whether so many members have partitions."""
    members = admin.describe_consumer_groups([group])[group].result(30).members
    return sum(bool(each.assignment.topic_partitions) for each in members) == n_processes


def cpu_s(processes: list["subprocess.Popen[bytes]"]) -> float:
    """Return the CPU seconds that processes used until now (proc(5), fields 14 and 15)."""
    total = 0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_A_SECOND


def simulate(chosen: argparse.Namespace, service_per_s: float) -> None:
    """Print what the model says of loads that double."""
    restore_s = chosen.replayed / chosen.replay_rate
    print("\nThe model assumes:\n")
    for assumption in ASSUMPTIONS:
        print(f"- {assumption};")
    print(f"- a process scores {service_per_s:,.0f} records/s, {chosen.samples} samples each;")
    print(f"- a restore replays {chosen.replayed:,} records of a partition, {restore_s:.2f} s;")
    print(f"- {UTILISATION:.0%} of a core is planned for; the load doubles at once.\n")
    print("| samples/s | partitions | processes | added at once | restores | behind | back after |")
    print("|---|---|---|---|---|---|---|")
    for samples_per_s in (1e6, 1e7, 1e8):
        load = samples_per_s / chosen.samples
        for n_partitions in (10, 100, 1_000):
            for share in (0.0, 0.25):
                group = Group(n_partitions, load, service_per_s, restore_s, share)
                cells = f"{samples_per_s:,.0f} | {n_partitions:,} | {row_of(group)}"
                print(f"| {cells} |", flush=True)


def row_of(group: Group) -> str:
    """Return how a group answers when its load doubles."""
    n_before = math.ceil(group.n_wanted / 2)
    step = f"{group.step_share:.0%}" if group.step_share else "1"
    if group.n_wanted > group.n_partitions:
        return f"{group.n_wanted:,} needed | {step} | - | too few partitions | -"
    course = play(group, n_before)
    return (
        f"{n_before:,} to {course.n_processes:,} | {step} | {course.n_restores:,} | "
        f"{course.behind_s_max:,.0f} s | {course.seconds:,.0f} s"
    )


if __name__ == "__main__":
    main()
