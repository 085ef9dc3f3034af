"""Whoever writes a record, a file or a bundle cannot forge or hide what a person reads.

One nasty text goes through every place where a key, a header, a name, a path or a message comes to
a terminal, a file or the log.
"""

import csv
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from alerts import make_alert
from halving_bundle import make_bundle  # tests/support
from present import present

from stream_detector import cli
from stream_detector.bundle.manifest import MANIFEST, digest, dump_manifest
from stream_detector.cli import terminal
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.alert import Alert, Source, encode_alert
from stream_detector.core.codec.dead_letters import encode_dead_letter
from stream_detector.core.codec.image_format import encode_image
from stream_detector.core.records import BundleReference, OutputRecord, RecordMetadata, Rejected
from stream_detector.core.scoring.explanation import Explanation, FeatureExplanation
from stream_detector.errors import RecordDecodeError
from stream_detector.log_lines import set_up_logging
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.telemetry import log_event, logger
from stream_detector.text import printable

MODELS = Path(__file__).parents[3] / "models"
NASTY = "=1+1 \x1b[31m\x9b2J\u202eyek\nerror: forged\r\u2028[/red][bold] :bomb: \x7f"
"""ESC, C1 (a CSI in one character), right-to-left override, line breaks, Rich's markup and emoji
codes, the beginning of a formula."""

FILE_NAME = NASTY.replace("/", "") + "\udcff"
"""As a file may be called: no slash, and a byte that is not UTF-8."""

TIME_MS = 1_767_225_600_000


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    for topic in ("alerts", "dead-letters", "telemetry"):
        made.create_topic(topic, 1)
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: made.connect(**options)
    )
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a runner of the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")

    def run_here(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return Ended(code, *capsys.readouterr())

    return run_here


def require_harmless(*texts: str) -> None:
    """Fail where a text has a character that a terminal obeys, or a line that was forged."""
    for text in texts:
        assert [each for each in text if not each.isprintable() and each != "\n"] == []
        assert [line for line in text.split("\n") if line.startswith("error: forged")] == []


def window_recipe() -> Recipe:
    changes = ("data.name=csv", "data.path=windows.csv", "window.steps=4", "network.units=[3,2]")
    return load_recipe(MODELS / "synthetic-ecg-dense.toml", changes)


def sample_recipe() -> Recipe:
    changes = {
        "data.name": "csv",
        "data.path": "samples.csv",
        "window.steps": 2,
        "window.stride": 2,
        "window.features": 1,
        "window.sample_interval_ms": 10,
        "network.units": "[3,2]",
    }
    return load_recipe(MODELS / "mitdb-dense.toml", [f"{key}={changes[key]}" for key in changes])


def nasty_alert(**changes: Any) -> Alert:
    key = NASTY.encode() + b"\xff"
    metadata = RecordMetadata("telemetry", 3, 41, 0, key, [("reference", NASTY.encode())])
    explanation = Explanation(
        TIME_MS,
        TIME_MS,
        (FeatureExplanation(0, 1.0, (0.5,), (2.5,), NASTY),),
        (1.0,),
        (TIME_MS,),
        0.0,
        0,
    )
    bundle = BundleReference(NASTY, NASTY)
    made = make_alert(metadata, (TIME_MS, TIME_MS), (0.5, 0.2, "high"), bundle, explanation)
    return replace(made, **changes)


def alert_record(alert: Alert) -> OutputRecord:
    return encode_alert(alert, "alerts", b"", 0)


FOREIGN: dict[str, bytes] = {
    "markup": b'{"a":"[/foo]"}',
    "nasty": NASTY.encode(),
    "not UTF-8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "lone surrogate": b'{"key":"\\ud800"}',
    "empty": b"",
    "field": json.dumps({NASTY: 1}).encode(),
    "offset": json.dumps(
        json.loads(alert_record(nasty_alert()).value or b"")
        | {"source": {"topic": "t", "partition": 0, "offset": 10**400}}
    ).encode(),
    "start": json.dumps(
        json.loads(alert_record(nasty_alert()).value or b"") | {"window_start_ms": 10**400}
    ).encode(),
}
"""Values on the alerts topic that are not alerts."""


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_record_is_skipped_and_the_alert_behind_it_is_shown(
    run: Run, broker: MemoryBroker, name: str
) -> None:
    records = [OutputRecord("alerts", None, FOREIGN[name]), alert_record(nasty_alert())]
    broker.feed("alerts", records)
    ended = run("alerts", "--from-beginning", "--stop-when-idle", "10ms")
    assert ended.code == 0
    assert ended.err.startswith("skipped a record that is not an alert")
    assert len(ended.err.splitlines()) == len(ended.out.splitlines()) == 1
    require_harmless(ended.out, ended.err)


@pytest.mark.parametrize(
    "explanation",
    [
        replace(present(nasty_alert().explanation), features=()),
        replace(
            present(nasty_alert().explanation), worst_start_ms=-(2**63), worst_end_ms=2**63 - 1
        ),
    ],
    ids=["without features", "a long span"],
)
def test_an_odd_alert_is_described(
    run: Run, broker: MemoryBroker, explanation: Explanation
) -> None:
    odd = nasty_alert(explanation=explanation, source=Source(NASTY * 999, 2**62, 2**62))
    broker.feed("alerts", [alert_record(odd)])
    ended = run("alerts", "--from-beginning", "--stop-when-idle", "10ms")
    assert (ended.code, ended.err, len(ended.out.splitlines())) == (0, "", 1)
    assert len(ended.out) < 1_000
    require_harmless(ended.out)


def test_alerts_as_json_are_lines_that_read_back_equal(run: Run, broker: MemoryBroker) -> None:
    alert = nasty_alert()
    value = alert_record(alert).value or b""
    pretty = json.dumps(json.loads(value), indent=1, ensure_ascii=False).encode()
    broker.feed("alerts", [alert_record(alert), OutputRecord("alerts", None, pretty)])
    ended = run("alerts", "--json", "--from-beginning", "--stop-when-idle", "10ms")
    lines = ended.out.split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [json.loads(value)] * 2
    require_harmless(ended.out, ended.err)


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=str)
def test_the_doctor_names_keys_without_harm(
    run: Run, broker: MemoryBroker, tmp_path: Path, flags: list[str]
) -> None:
    make_bundle(tmp_path / "bundle", sample_recipe())
    key = NASTY.encode() + b"\xff"
    values = [b'{"values": [[1.0]], "timestamp_ms": %d}' % (TIME_MS + n * 500) for n in range(9)]
    values += [NASTY.encode(), b'{"values": [[1.0, 2.0]]}']
    records = [OutputRecord("telemetry", key, value, (), TIME_MS) for value in values]
    broker.feed("telemetry", records)
    ended = run("doctor", "bundle", "--for", "100ms", *flags)
    assert ended.code in (0, 1)
    assert "unexpected" not in ended.err
    assert ended.out
    require_harmless(ended.out, ended.err)


@pytest.fixture
def letters(broker: MemoryBroker) -> None:
    """Put a dead letter of which everything is nasty, and a foreign record, on their topic."""
    key = NASTY.encode() + b"\xff"
    headers = [(NASTY, NASTY.encode()), ("content-type", key)]
    metadata = RecordMetadata(NASTY, 0, 7, TIME_MS, key, headers)
    rejected = Rejected(0, RecordDecodeError(NASTY))
    values = (NASTY.encode(), json.dumps({NASTY: NASTY}).encode(), key, b"")
    made = [
        encode_dead_letter(rejected, value, metadata, "dead-letters", 1_000_000) for value in values
    ]
    broker.feed("dead-letters", made)
    raw = [(name, key) for name, _ in made[0].headers]  # nobody has escaped these
    broker.feed("dead-letters", [OutputRecord("dead-letters", key, key, raw)])
    bytes_max = 1_000
    metadata = metadata._replace(headers=())
    letter = encode_dead_letter(rejected, bytes(2_000), metadata, "dead-letters", bytes_max)
    broker.feed("dead-letters", [letter])


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    "line",
    [
        ["list"],
        ["list", "--key", NASTY],
        ["list", "--error", NASTY],
        ["list", "--json"],
        *(["show", f"0:{offset}"] for offset in range(6)),
        *(["show", f"0:{offset}", "--json"] for offset in range(6)),
        ["show", "0:99"],
        ["show", NASTY],
        ["redrive", "--dry-run", "--to", "telemetry"],
        ["redrive", "--dry-run", "--to", "telemetry", "--foreign"],
        ["redrive", "--dry-run", "--to", NASTY],
        ["redrive", "--dry-run"],
        ["redrive", "--yes", "--to", "telemetry"],
        ["list", "--topic", NASTY],
    ],
    ids=str,
)
def test_dead_letters_are_shown_without_harm(run: Run, line: list[str]) -> None:
    ended = run("dead-letters", *line)
    assert ended.code in (0, 2, 4)
    assert "unexpected" not in ended.err
    assert ended.out or ended.err
    require_harmless(ended.out, ended.err)


@pytest.mark.usefixtures("letters")
def test_dead_letters_as_json_read_back_equal(run: Run) -> None:
    found = [json.loads(line) for line in run("dead-letters", "list", "--json").out.splitlines()]
    assert found[0]["key"] == NASTY + "\\xff"
    assert found[0]["source"]["topic"] == NASTY
    shown = json.loads(run("dead-letters", "show", "0:0", "--json").out)
    assert NASTY in [each["name"] for each in shown["headers"]]


@pytest.mark.parametrize(
    ("value", "code"),
    [(b"pump \xc2\xb5\n\t[0]", 0), (b"a\x1b[31m", 2), (b"a\rb", 2), (b"\x9b", 2), (b"\xc2\x9b", 2)],
)
def test_a_raw_value_goes_to_a_terminal_only_where_it_is_text(
    run: Run, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, value: bytes, code: int
) -> None:
    broker.feed("dead-letters", [OutputRecord("dead-letters", None, value)])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    ended = run("dead-letters", "show", "0:0", "--raw")
    assert ended.code == code
    assert ended.out.encode() == (b"" if code else value)


def test_the_keys_of_scores_are_cells_that_nothing_obeys(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", window_recipe())
    with (tmp_path / "windows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["key", *"abcd"], [NASTY, 1, 2, 3, 4], ["-5", 4, 3, 2, 1]])
    for command in ("score", "reconstruct"):
        to_pipe = run(command, "bundle", "windows.csv")
        assert run(command, "bundle", "windows.csv", "--out", "out.csv").code == 0
        assert (tmp_path / "out.csv").read_text() == to_pipe.out
        rows = list(csv.reader(io.StringIO(to_pipe.out)))
        assert [row[0] for row in rows[1:]] == ["'" + printable(NASTY), "-5"]
        require_harmless(to_pipe.out, to_pipe.err)


def test_the_names_of_features_are_cells_that_nothing_obeys(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", sample_recipe())
    rows: list[list[Any]] = [
        ["key", "timestamp_ms", NASTY],
        *([NASTY, time_ms, 1] for time_ms in (0, 10, 20)),
    ]
    with (tmp_path / "samples.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    ended = run("reconstruct", "bundle", "samples.csv")
    assert ended.code == 0
    found = list(csv.reader(io.StringIO(ended.out)))
    assert found[0] == ["key", "timestamp_ms", "'" + printable(NASTY)]
    assert found[1][0] == "'" + printable(NASTY)
    require_harmless(ended.out, ended.err)


def test_images_may_have_any_name(run: Run, tmp_path: Path) -> None:
    changes = ("data.name=csv", "data.path=w.csv", "window.steps=2", "window.features=3")
    make_bundle(tmp_path / "bundle", load_recipe(MODELS / "fashion-basic.toml", changes))
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / f"{FILE_NAME}.png").write_bytes(encode_image(np.zeros((2, 3), np.uint8), 1, "png"))
    ended = run("score", "bundle", "images")
    assert ended.code == 0
    (_, row) = csv.reader(io.StringIO(ended.out))
    assert row[0] == f"'{printable(FILE_NAME)}.png"
    require_harmless(ended.out, ended.err)
    assert run("reconstruct", "bundle", "images", "--out", tmp_path / "made").code == 0
    (made,) = (tmp_path / "made").iterdir()
    require_harmless(made.name)


def test_a_marked_key_and_name_are_read_back(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", sample_recipe())
    rows: list[list[Any]] = [
        ["key", "timestamp_ms", "+5V"],
        *(["=a", time_ms, 1] for time_ms in (0, 10, 20)),
    ]
    with (tmp_path / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    once, twice = tmp_path / "once.csv", tmp_path / "twice.csv"
    assert run("reconstruct", "bundle", "samples.csv", "--out", once).code == 0
    assert run("reconstruct", "bundle", once, "--out", twice).code == 0
    heads = [path.read_text().splitlines()[:2] for path in (once, twice)]
    assert [head[0] for head in heads] == ["key,timestamp_ms,'+5V"] * 2
    assert [head[1][:5] for head in heads] == ["'=a,0"] * 2


@pytest.mark.parametrize("name", ["x[/red]", NASTY], ids=["markup", "nasty"])
def test_a_bundle_of_an_odd_name_is_refused_without_harm(
    run: Run, tmp_path: Path, name: str
) -> None:
    make_bundle(tmp_path / "bundle", window_recipe())
    path = tmp_path / "bundle" / MANIFEST
    values = json.loads(path.read_bytes()) | {"name": name}
    del values["version"]
    path.write_bytes(dump_manifest(values | {"version": digest(values)}))
    ended = run("evaluate", "bundle", "--dataset", "windows.csv")
    assert ended.code == 3
    assert "unexpected" not in ended.err
    require_harmless(ended.out, ended.err)


def test_a_data_set_may_have_any_name(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", window_recipe())
    windows = np.random.default_rng(0).normal(size=(10, 4)).tolist()
    rows = [[number % 2, *row] for number, row in enumerate(windows)]
    with (tmp_path / FILE_NAME).with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([["label", *"abcd"], *rows])
    ended = run("evaluate", "bundle", "--dataset", FILE_NAME + ".csv")
    assert ended.code == 0
    assert f" on {printable(FILE_NAME)}" in ended.out
    require_harmless(ended.out, ended.err)
    as_json = run("evaluate", "bundle", "--dataset", FILE_NAME + ".csv", "--json").out
    assert json.loads(as_json)["dataset"].startswith(FILE_NAME)
    require_harmless(as_json)


@pytest.mark.parametrize(
    "line",
    [
        ["score", FILE_NAME, "windows.csv"],
        ["detect", FILE_NAME],
        ["train", FILE_NAME],
        ["replay", FILE_NAME + ".csv"],
        ["detect", "bundle", "--settings", FILE_NAME],
        ["detect", "bundle", "--stop-when-idle", NASTY],
        ["detect", "bundle", "--client", NASTY],
        ["broker", "--topics", NASTY],
        ["alerts", "--" + NASTY],
        [NASTY],
    ],
    ids=lambda line: str([printable(word) for word in line]),
)
def test_an_error_is_one_line_of_plain_text(run: Run, line: list[str]) -> None:
    ended = run(*line)
    assert ended.code > 1
    assert ended.err.startswith("error: ")
    assert ended.err.endswith("\n")
    require_harmless(ended.err)
    assert len(ended.err.splitlines()) == 1


def test_an_error_does_not_say_more_than_fits_a_terminal(run: Run) -> None:
    assert len(run("train", "a" * 100_000).err) == terminal.NOTE_CHARACTERS_MAX + 1


@contextmanager
def terminal_shown() -> Iterator[io.StringIO]:
    """Make standard error a terminal, and check what the block shows of the nasty text there."""
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "isatty", lambda: True)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "500")
        patch.setattr(sys, "stderr", stream)
        yield stream
    text = stream.getvalue()
    assert r"\u202eyek" in text
    assert "[/red][bold] :bomb:" in text
    assert not {"\x9b", "\u202e", "\u2028", "\x7f"} & set(text)
    assert "\x1b[31m" not in text
    assert "\nerror: forged" not in text


def test_a_progress_bar_says_what_it_is_about() -> None:
    with terminal_shown() as shown:
        with terminal.progress_bar() as progress:
            progress.add_task(NASTY, total=3)
        assert "0/3" in shown.getvalue()


def test_what_is_waited_for_is_plain_text() -> None:
    with terminal_shown(), terminal.waiting(NASTY):
        pass


def test_a_question_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with terminal_shown():
        assert terminal.is_agreed(NASTY)


def test_a_table_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(NASTY, (NASTY, "b"), [(NASTY, 1.5)])
    out = capsys.readouterr().out
    assert out.replace("\n", "").count(r"\u202eyek") == 3
    require_harmless(out)


def test_json_reads_back_equal(capsys: pytest.CaptureFixture[str]) -> None:
    values = {NASTY: FILE_NAME, "n": [np.float32("nan"), np.int64(3), float("inf"), 0.5, None]}
    terminal.print_json(values)
    out = capsys.readouterr().out
    assert json.loads(out) == {NASTY: FILE_NAME, "n": [None, 3, None, 0.5, None]}
    require_harmless(out)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_line_is_one_line(log_format: Any) -> None:
    set_up_logging(logging.INFO, log_format)
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    log_event(logging.WARNING, "dead-letters", reason=NASTY)
    logging.getLogger("kafka.conn").warning("broker %s", NASTY)
    assert len(stream.getvalue().splitlines()) == 2
    require_harmless(stream.getvalue())


def test_what_a_library_logs_is_a_note(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "lastResort", None)
    terminal.set_up_streams()
    assert logging.lastResort is not None
    for level in (logging.INFO, logging.WARNING):
        record = logging.LogRecord("kafka", level, "", 0, "broker %s", (NASTY,), None)
        if level >= logging.lastResort.level:
            logging.lastResort.handle(record)
    err = capsys.readouterr().err
    assert err == f"warning: broker {printable(NASTY)}\n"


def test_what_is_logged_twice_of_a_file_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "lastResort", None)
    terminal.set_up_streams()
    assert logging.lastResort is not None
    for name in ("stream_detector", "kafka"):
        for level in (logging.WARNING, logging.WARNING, logging.ERROR):
            logging.lastResort.handle(logging.LogRecord(name, level, "", 0, "again", (), None))
    err = capsys.readouterr().err
    assert err.splitlines() == [
        "warning: again",
        "error: again",
        *["warning: again", "warning: again", "error: again"],
    ]


def test_standard_output_takes_any_text(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("w", encoding="ascii") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        terminal.set_up_streams()
        terminal.write_line("µ漢" + FILE_NAME)
    assert out.read_text(encoding="utf-8") == "µ漢" + printable(FILE_NAME) + "\n"


def test_of_many_foreign_records_few_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    skips = terminal.Skips()
    for number in range(1, 1_001):
        skips(ValueError(f"number {number}"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] + lines[9:] == [
        "skipped a record that is number 1",
        "skipped a record that is number 2",
        "skipped a record that is number 10",
        "skipped 100 records so far, the last of them number 100",
        "skipped 1,000 records so far, the last of them number 1000",
    ]
