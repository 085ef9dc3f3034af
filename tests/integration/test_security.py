"""A secured Apache Kafka: TLS, SASL, the standard authoriser, and no secret in any output."""

import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from secure_kafka import CLIENTS, DETECT, GRANTS, MARKER, Grant, SecureKafka, Settings, write_one

from stream_detector.errors import BrokerError

WRONG_PASSWORD = MARKER + "wrong-password"
N_NORMAL, N_ANOMALOUS = 30, 10

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def wait_for_metrics(output: str, n_records: int) -> str:
    """Return the metrics once so many records are done."""
    (address,) = re.findall(r"metrics address=(\S+)", output)
    deadline_s = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            text = str(answer.read().decode())
        counts = re.findall(r"^stream_detector_records_total\{.*\} (\S+)$", text, re.MULTILINE)
        if sum(map(float, counts)) >= n_records:
            return text
        assert time.monotonic() < deadline_s, text
        time.sleep(0.1)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("kind", "source", "delivery"),
    [
        ("sasl", "environment", "exactly_once"),
        ("mutual_tls", "file", "at_least_once"),
    ],
)
def test_the_main_job_with_documented_rights_and_no_secret_shown(
    kind: str,
    source: str,
    delivery: str,
    client: str,
    secure_kafka: SecureKafka,
    halving_bundle: Path,
    windows_csv: Path,
    give_settings: Callable[[Settings, str], list[str]],
    command_line: CommandLine,
) -> None:
    settings = getattr(secure_kafka, kind)()
    common = [*give_settings(settings, source), "--client", client]
    secure_kafka.allow(*GRANTS["producer"])
    sent = command_line.run("replay", windows_csv, *common)
    write_one(client, settings, "telemetry")
    secure_kafka.allow(*(GRANTS["detector"] if delivery == "exactly_once" else DETECT))
    detect = command_line.start(
        *("--debug", "detect", halving_bundle, *common, "--group", "ecg", "--metrics-port", 0),
        *("--delivery", delivery),
    )
    detect.wait_for("ready")
    metrics = wait_for_metrics(detect.output, N_NORMAL + N_ANOMALOUS + 1)
    assert detect.terminate() == 0, detect.output
    assert "n_alerts=10 n_dead_letters=1" in detect.output
    assert "n_retries=0" in detect.output
    secure_kafka.allow(*GRANTS["reader"])
    read = command_line.run(
        *("alerts", *common, "--json", "--from-beginning", "--stop-when-idle", "1s")
    )
    keys = [json.loads(line)["key"] for line in read.stdout.splitlines()][-N_ANOMALOUS:]
    assert sorted(keys) == [f"odd-{row}" for row in range(N_ANOMALOUS)]
    for text in (sent.stdout, sent.stderr, detect.output, metrics, read.stdout, read.stderr):
        assert MARKER not in text


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SASL_SSL", "PLAIN"), ("SASL_PLAINTEXT", "SCRAM-SHA-512"), ("SASL_PLAINTEXT", "PLAIN")],
)
def test_other_ways_to_log_in(
    protocol: str,
    mechanism: str,
    client: str,
    secure_kafka: SecureKafka,
) -> None:
    secure_kafka.allow(*GRANTS["producer"])
    settings = secure_kafka.sasl(security_protocol=protocol, sasl_mechanism=mechanism)
    settings["bootstrap_servers"] = secure_kafka.servers[protocol]
    if protocol == "SASL_PLAINTEXT":
        del settings["ssl_cafile"]
    write_one(client, settings, "telemetry")


@pytest.mark.parametrize("client", CLIENTS)
def test_any_name_will_do_where_names_are_not_checked(
    client: str, secure_kafka: SecureKafka
) -> None:
    secure_kafka.allow(*GRANTS["producer"])
    port = secure_kafka.servers["SASL_SSL"].rpartition(":")[2]
    settings = secure_kafka.sasl(bootstrap_servers=f"localhost:{port}")
    write_one(client, settings | {"ssl_check_hostname": "false"}, "telemetry")
    with pytest.raises(BrokerError, match="not valid for 'localhost'"):
        write_one(client, settings, "telemetry")


def wrong_settings(case: str, secure_kafka: SecureKafka) -> Settings:
    cases = {
        "password": secure_kafka.sasl(sasl_password=WRONG_PASSWORD),
        "mechanism": secure_kafka.sasl(sasl_mechanism="SCRAM-SHA-256"),
        "authority": secure_kafka.sasl(ssl_cafile=str(secure_kafka.certificates.other_authority)),
        "key": secure_kafka.mutual_tls(ssl_key_password=WRONG_PASSWORD),
        "certificate": secure_kafka.mutual_tls(),
    }
    settings = cases[case]
    if case == "certificate":
        for name in ("ssl_certfile", "ssl_keyfile", "ssl_key_password"):
            del settings[name]
    return settings


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("password", 4, "invalid credentials"),
        ("mechanism", 4, "SCRAM-SHA-512,"),
        ("authority", 4, "unable to get local issuer certificate"),
        ("certificate", 4, "alert bad certificate"),
        ("key", 2, "client.key cannot be used"),
    ],
)
def test_what_cannot_go_away_ends_at_once(
    case: str,
    code: int,
    words: str,
    client: str,
    secure_kafka: SecureKafka,
    halving_bundle: Path,
    give_settings: Callable[[Settings, str], list[str]],
    command_line: CommandLine,
) -> None:
    flags = give_settings(wrong_settings(case, secure_kafka), "file")
    detect = ("detect", halving_bundle, *flags, "--client", client, "--metrics-port", 0)
    start_s = time.monotonic()
    done = command_line.run(*detect, check=False)
    assert time.monotonic() - start_s < 30  # a broker that is away is tried for 60 s
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "retrying" not in done.stderr
    assert MARKER not in done.stdout + done.stderr


@pytest.mark.parametrize("client", CLIENTS)
def test_tracebacks_show_no_secret(
    client: str,
    secure_kafka: SecureKafka,
    halving_bundle: Path,
    give_settings: Callable[[Settings, str], list[str]],
    command_line: CommandLine,
) -> None:
    flags = give_settings(wrong_settings("password", secure_kafka), "environment")
    # With transactions the login is refused in another place: where the id is taken.
    once = ("--delivery", "exactly_once")
    done = command_line.run(
        "--debug", "detect", halving_bundle, *flags, "--client", client, *once, check=False
    )
    assert "invalid credentials" in done.stderr
    assert "retrying" not in done.stderr
    assert "Traceback" in done.stderr
    assert MARKER not in done.stdout + done.stderr


def test_a_secured_broker_that_dies_is_waited_for(
    secure_kafka: SecureKafka,
    halving_bundle: Path,
    give_settings: Callable[[Settings, str], list[str]],
    command_line: CommandLine,
) -> None:
    flags = give_settings(secure_kafka.sasl(), "environment")
    secure_kafka.allow(
        *DETECT, Grant("Write", "topic", "telemetry"), Grant("Read", "group", "ecg-", "prefixed")
    )
    running = []
    for client in CLIENTS:
        own = ("--client", client, "--group", f"ecg-{client}", "--metrics-port", 0)
        running.append(command_line.start("detect", halving_bundle, *flags, *own))
    for each in running:
        each.wait_for("ready")
    secure_kafka.kill()
    for each in running:
        each.wait_for("WARNING retrying")
    secure_kafka.start()
    write_one("confluent", secure_kafka.sasl(), "telemetry")
    for each in running:
        wait_for_metrics(each.output, 1)
        assert "denied" not in each.output
        assert each.terminate() == 0, each.output
