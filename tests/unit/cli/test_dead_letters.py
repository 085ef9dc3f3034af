"""The commands on dead letters, on a broker in this process."""

import base64
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from stream_detector import cli
from stream_detector.cli.dead_letter_views import describe_value
from stream_detector.clients.memory import PAUSE, Fault, MemoryBroker, StoredRecord
from stream_detector.core.codec.dead_letters import REDRIVEN_FROM, encode_dead_letter, without_time
from stream_detector.core.records import OutputRecord, RecordMetadata, Rejected
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordShapeError,
)

TIME_MS = 1_767_225_600_000
BYTES_MAX = 2_000_000


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("dead-letters", 2)
    made.create_topic("telemetry", 4)
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, topics=(), **__: made.connect(topics=topics)
    )
    return made


@pytest.fixture
def run(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Return a runner of `dead-letters` on that broker; what is typed is the answer it gets."""
    del broker  # needed for its side effect
    monkeypatch.setenv("COLUMNS", "200")
    for name in list(os.environ):
        if name.startswith("STREAM_DETECTOR_"):
            monkeypatch.delenv(name)

    def run_here(line: str, typed: str | None = None) -> Ended:
        monkeypatch.setattr(sys, "argv", ["stream-detector", "dead-letters", *line.split(" ")])
        answers = io.StringIO(typed)
        monkeypatch.setattr(answers, "isatty", lambda: typed is not None)
        monkeypatch.setattr(sys, "stdin", answers)
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return Ended(code, *capfd.readouterr())

    return run_here


def dead_letter(
    offset: int,
    error: DataError | None = None,
    partition: int = 2,
    value: bytes | None = b"{oops",
    **changes: Any,
) -> OutputRecord:
    """Return what `detect` writes of a record of `telemetry`."""
    metadata = RecordMetadata(
        "telemetry", partition, offset, TIME_MS + offset, b"pump-7", [("label", b"1")]
    )
    rejected = Rejected(0, error or RecordDecodeError("not JSON"))
    metadata = metadata._replace(**changes)
    return encode_dead_letter(rejected, value, metadata, "dead-letters", BYTES_MAX)


def incomplete(offset: int, bytes_max: int = 400, **parts: Any) -> OutputRecord:
    """Return what `detect` writes of a record of `telemetry` that is too large."""
    parts = {"value": bytes(1_234), "key": b"pump-7"} | parts
    metadata = RecordMetadata("telemetry", 2, offset, TIME_MS + offset, parts["key"], ())
    rejected = Rejected(0, RecordDecodeError("not JSON"))
    return encode_dead_letter(rejected, parts["value"], metadata, "dead-letters", bytes_max)


def feed(broker: MemoryBroker, *records: OutputRecord, partition: int = 0) -> None:
    broker.feed("dead-letters", records, partition)


def sent(broker: MemoryBroker, topic: str = "telemetry") -> list[StoredRecord]:
    return broker.records(topic)


def lines_of_json(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_help_of_all_three_teaches(run: Run) -> None:
    assert {"list", "show", "redrive"} <= set(run("--help").out.split())
    text = ""
    for name, options in {
        "list": "--topic --error --key --limit --json",
        "show": "PARTITION:OFFSET --topic --json --raw",
        "redrive": "--topic --to --error --key --limit --dry-run --yes --foreign",
    }.items():
        text = run(f"{name} --help").out
        assert len(text.split()) > 40
        assert [word for word in options.split() if word not in text] == []
    assert "still bad comes back as a new dead letter" in " ".join(text.split())


def test_list_counts_by_class_and_stage_and_shows_the_newest(
    run: Run, broker: MemoryBroker
) -> None:
    shape = Rejected(0, RecordShapeError("expected 140 steps"), "check")
    metadata = RecordMetadata("vitals", 0, 9, TIME_MS + 86_400_000, b"bed-1", ())
    feed(broker, *(dead_letter(offset) for offset in range(30)))
    feed(
        broker,
        encode_dead_letter(shape, bytes(1_500), metadata, "dead-letters", BYTES_MAX),
        partition=1,
    )
    ended = run("list --limit 3")
    assert (ended.code, ended.err) == (0, "")
    rows = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert rows[0] == "dead letters on dead-letters: 31"
    times = "2026-01-01 00:00:00.000 2026-01-01 00:00:00.029"
    assert f"30 RecordDecodeError decode 0 0 {times}" in rows
    assert "the newest 3" in rows
    assert rows[-4:-1] == [
        *(
            f"0:{n} telemetry[2]@{n} 2026-01-01 00:00:00.0{n} pump-7 5 "
            "decode RecordDecodeError: not JSON"
            for n in (28, 29)
        ),
        "1:0 vitals[0]@9 2026-01-02 00:00:00.000 bed-1 1,500 "
        "check RecordShapeError: expected 140 steps",
    ]


def test_on_a_narrow_terminal_no_number_is_cut(
    run: Run, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(broker, dead_letter(123_456_789, key=b"k" * 300, value=bytes(1_234_567)))
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("list").out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    words = " ".join(lines).split()
    assert {"0:0", "1,234,567", "2026-01-02", "10:17:36.789"} <= set(words)


def test_list_with_json_prints_only_the_dead_letters(run: Run, broker: MemoryBroker) -> None:
    feed(broker, *(dead_letter(offset) for offset in range(30)))
    ended = run("list --json")
    assert ended.err == ""
    listed = lines_of_json(ended.out)
    assert [each["offset"] for each in listed] == list(range(30))
    assert listed[7] == {
        "topic": "dead-letters",
        "partition": 0,
        "offset": 7,
        "timestamp_ms": TIME_MS + 7,
        "key": "pump-7",
        "stage": "decode",
        "error": "RecordDecodeError",
        "message": "not JSON",
        "source": {"topic": "telemetry", "partition": 2, "offset": 7},
        "redriven_from": None,
        "left_out": {},
        "n_value_bytes": 5,
    }
    newest = lines_of_json(run("list --json --limit 2").out)
    assert [each["offset"] for each in newest] == [28, 29]


def test_list_takes_a_class_and_a_key(run: Run, broker: MemoryBroker) -> None:
    shape = RecordShapeError("too short")
    feed(broker, dead_letter(0, key=b"a"), dead_letter(1, shape, key=b"a"))
    feed(broker, dead_letter(2, shape, key=b"\xff"), dead_letter(3, shape, key=None))

    def offsets(line: str) -> list[int]:
        return [each["source"]["offset"] for each in lines_of_json(run(line).out)]

    assert offsets("list --json --error RecordShapeError") == [1, 2, 3]
    assert offsets("list --json --key a") == [0, 1]
    assert offsets("list --json --key a --error RecordShapeError") == [1]
    assert offsets(r"list --json --key \xff") == [2]
    out = run("list --key a --error RecordShapeError").out
    assert out.startswith("dead letters on dead-letters: 1 of 4, --error RecordShapeError --key a")


def test_an_empty_list_names_what_the_topic_holds_instead(run: Run, broker: MemoryBroker) -> None:
    assert run("list") == (0, "", "no dead letter on dead-letters\n")
    assert run("list --json") == (0, "", "")
    feed(broker, dead_letter(0))
    ended = run("list --error RecordShape")
    assert ended.err == "no dead letter on dead-letters fits --error RecordShape\n"
    assert ended.out.startswith("all dead letters: 1\n")
    assert "RecordDecodeError" in ended.out


def test_a_record_that_is_no_dead_letter_is_listed_as_such(run: Run, broker: MemoryBroker) -> None:
    feed(broker, OutputRecord("", None, None), dead_letter(4))
    assert "not a dead letter" in run("list").out
    (foreign, _) = lines_of_json(run("list --json").out)
    assert foreign.pop("left_out") == {}
    assert [name for name, value in foreign.items() if value is not None] == [
        "topic",
        "partition",
        "offset",
        "timestamp_ms",
    ]


def test_control_characters_of_records_are_escaped(run: Run, broker: MemoryBroker) -> None:
    key, message = b"\x1b[31m[bold]k", "\x1b]0;title\x07 [/red]"
    value = b'{"a": "\\u009b\xc2\x9b"}'
    feed(broker, dead_letter(0, RecordDecodeError(message), key=key, value=value))
    for line in ("list", "show 0:0", "redrive --dry-run"):
        ended = run(line)
        assert ended.code == 0
        text = ended.out + ended.err
        assert all(each.isprintable() or each == "\n" for each in text)
        assert r"\x1b[31m[bold]k" in text


def test_show_prints_everything(run: Run, broker: MemoryBroker) -> None:
    feed(broker, dead_letter(41, value=b'{"values": [1, 2.5, null], "unit": "\xc2\xb5V"}'))
    lines = run("show 0:0").out.splitlines()
    assert lines == [
        "dead-letters[0]@0",
        "  original       telemetry[2]@41",
        "  time           2026-01-01T00:00:00.041+00:00",
        "  stage          decode",
        "  class          RecordDecodeError",
        "  message        not JSON",
        "  key            pump-7",
        "headers: 7",
        "  label: 1",
        "  __connect.errors.topic: telemetry",
        "  __connect.errors.partition: 2",
        "  __connect.errors.offset: 41",
        "  __connect.errors.stage: decode",
        "  __connect.errors.exception.class.name: RecordDecodeError",
        "  __connect.errors.exception.message: not JSON",
        "value: 41 bytes, JSON",
        "{",
        '  "values": [1, 2.5, null],',
        '  "unit": "µV"',
        "}",
    ]


def test_show_and_list_say_what_was_changed(run: Run, broker: MemoryBroker) -> None:
    changed = without_time(dead_letter(41))
    feed(broker, changed)
    shown = run("show 0:0").out
    assert "  time           2026-01-01T00:00:00.041+00:00" in shown
    assert "  changed        timestamp 1767225600041, because the topic refused it" in shown
    assert "2026-01-01 00:00:00.041" in run("list").out


def test_show_reads_the_one_record_alone(run: Run, broker: MemoryBroker) -> None:
    broker.feed("dead-letters", [dead_letter(0), PAUSE, dead_letter(1), dead_letter(2)], 0)
    broker.feed("dead-letters", [PAUSE, dead_letter(3)], 1)
    assert "original       telemetry[2]@2" in run("show 0:2").out
    assert run("list").code == 4  # whoever reads all meets what was put between


def test_show_with_json_has_every_byte(run: Run, broker: MemoryBroker) -> None:
    everything = bytes(range(256))
    feed(
        broker, dead_letter(0, key=b"\xff", value=everything, headers=[("h", None), ("h", b"\x80")])
    )
    document = json.loads(run("show 0:0 --json").out)
    assert document["key"] == r"\xff"
    assert base64.b64decode(document["key_base64"]) == b"\xff"
    assert base64.b64decode(document["value_base64"]) == everything
    assert document["headers"][:2] == [
        {"name": "h", "value_base64": None},
        {"name": "h", "value_base64": "gA=="},
    ]


@pytest.mark.parametrize("value", [b"\x00\xff\r\n", b"", None])
def test_show_raw_writes_the_value_and_nothing_else(
    run: Run, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, value: bytes | None
) -> None:
    feed(broker, dead_letter(0, value=value))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))
    assert run("show 0:0 --raw").code == 0
    assert written.getvalue() == (value or b"")


@pytest.mark.parametrize(("time_ms", "time"), [(-1, "none"), (0, "1970-01-01T00:00:00.000+00:00")])
def test_show_of_an_empty_foreign_record(
    run: Run, broker: MemoryBroker, time_ms: int, time: str
) -> None:
    feed(broker, OutputRecord("", None, None, timestamp_ms=time_ms))
    assert ("1970-01-01 00:00" in run("list").out) == (time_ms == 0)
    assert run("show 0:0").out.splitlines() == [
        "dead-letters[0]@0",
        f"  time           {time}",
        "  class          not a dead letter",
        "  key            none",
        "headers: 0",
        "value: none, a tombstone",
    ]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (b"", ["value: empty"]),
        (b"{oops\n\x1b[2J", ["value: 10 bytes, binary", "000000  7b 6f 6f 70 73 0a 1b 5b 32"]),
        (b"plain\ttext\nof two", ["value: 17 bytes, text", r"plain\ttext", "of two"]),
        (b"\xff\x00AB", ["value: 4 bytes, binary", "000000  ff 00 41 42"]),
        (
            b"\x1f ~\x7f\xff",
            ["value: 5 bytes, binary", f"{'000000  1f 20 7e 7f ff':<57}. ~.."],
        ),
        (b"[" * 200_000, ["value: 200,000 bytes, text", "[" * 8_192]),
        (b'["[\\n 1 ]", 1]', ["value: 14 bytes, JSON", "[", r'  "[\n 1 ]",', "  1", "]"]),
        (b"[[1, 2],\n[NaN]]", ["value: 15 bytes, JSON", "[", "  [1, 2],", "  [NaN]", "]"]),
        (b'"\\ud800"', ["value: 8 bytes, JSON", r'"\ud800"']),
        (b"12345678901234567890123", ["value: 23 bytes, JSON", "12345678901234567890123"]),
    ],
)
def test_a_value_is_json_or_text_or_a_hex_dump(value: bytes, lines: list[str]) -> None:
    shown = list(describe_value(value))
    assert all(line.startswith(start) for line, start in zip(shown, lines, strict=False))
    assert len(shown) - len(lines) == (1 if len(value) > 10_000 else 0)


def test_of_a_large_value_the_beginning_is_shown() -> None:
    *dump, last = describe_value(b"\xff" * 1_000)
    assert len(dump) == 1 + 32
    assert last == "... 488 more bytes; --raw writes the whole value"
    *text, last = describe_value(b"a" * 10_000)
    assert [len(line) for line in text[1:]] == [8_192]
    assert last == "... 1,808 more characters; --raw writes the whole value"


@pytest.mark.parametrize(("n_characters", "is_cut"), [(8_192, False), (8_193, True)])
def test_of_a_long_key_the_beginning_is_shown(
    run: Run, broker: MemoryBroker, n_characters: int, is_cut: bool
) -> None:
    feed(broker, OutputRecord("", b"k" * n_characters, None))
    shown = run("show 0:0").out
    assert ("k" * 8_192 in shown, "... 1 more characters" in shown) == (True, is_cut)
    assert ("more characters" in shown) == is_cut


def test_redrive_sends_the_record_as_it_was(run: Run, broker: MemoryBroker) -> None:
    headers = [("a", b"\xff"), ("a", b""), ("__connect.errors.topic", b"of another queue")]
    feed(broker, dead_letter(0), dead_letter(41, key=b"\xff\x00", value=None, headers=headers))
    ended = run("redrive 0:1 --yes")
    assert (ended.code, ended.out) == (0, "")
    assert "dead-letters: 1 of 2 records to send; 1 to telemetry\n" in ended.err
    assert "1 of 1 records sent and acknowledged\n" in ended.err
    (record,) = sent(broker)
    assert record.value is None
    assert record.metadata._replace(offset=0) == RecordMetadata(
        *("telemetry", 2, 0, TIME_MS + 41, b"\xff\x00"),
        (*headers, (REDRIVEN_FROM, b"dead-letters[0]@1")),
    )


def test_redrive_takes_a_class_a_key_and_a_limit(run: Run, broker: MemoryBroker) -> None:
    shape = RecordShapeError("too short")
    feed(broker, *(dead_letter(offset, shape) for offset in range(3)), partition=1)
    feed(broker, dead_letter(10, shape, key=b"a"), dead_letter(11), dead_letter(12, shape))

    def redriven(line: str) -> list[bytes]:
        broker.create_topic("telemetry", 4)
        assert run(f"redrive --yes {line}").code == 0
        return sorted(dict(each.metadata.headers)[REDRIVEN_FROM] or b"" for each in sent(broker))

    def marks(*places: str) -> list[bytes]:
        return [f"dead-letters[{each[0]}]@{each[2:]}".encode() for each in places]

    assert redriven("--error RecordDecodeError") == marks("0:1")
    assert redriven("--key a") == marks("0:0")
    assert redriven("--error RecordShapeError --limit 3") == marks("0:0", "0:2", "1:0")
    assert redriven("1:2 0:1") == marks("0:1", "1:2")
    assert len(redriven("--limit 99")) == 6


def test_more_than_one_flush_sends_all_in_their_order(run: Run, broker: MemoryBroker) -> None:
    feed(broker, *(dead_letter(offset) for offset in range(2_500)))
    assert "2,500 of 2,500 records sent" in run("redrive --yes").err
    assert [each.metadata.timestamp_ms - TIME_MS for each in sent(broker)] == list(range(2_500))
    assert broker.n_calls["flush"] == 3


def test_a_failed_redrive_prints_how_many_were_acknowledged(run: Run, broker: MemoryBroker) -> None:
    feed(broker, *(dead_letter(offset) for offset in range(1_200)))
    broker.faults.append(Fault("flush", PAUSE, nth=2))
    ended = run("redrive --yes")
    assert ended.code == 4
    assert "1,000 of 1,200 records sent and acknowledged\n" in ended.err
    assert ended.err.splitlines()[-1].startswith("error: ")


def test_a_dry_run_prints_what_would_be_sent_and_sends_nothing(
    run: Run, broker: MemoryBroker
) -> None:
    feed(broker, dead_letter(0), dead_letter(1, key=None, value=None), OutputRecord("", None, b""))
    ended = run("redrive --dry-run")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "0:0 to telemetry[2]  key pump-7  RecordDecodeError  5 bytes",
        "0:1 to telemetry[2]  key -  RecordDecodeError  a tombstone",
    ]
    assert "2 of 3 records to send" in ended.err
    assert "left out 1, not a dead letter (--foreign sends such too)" in ended.err
    assert run("redrive --dry-run --to vitals").code == 4
    broker.create_topic("vitals")
    assert run("redrive --dry-run --to vitals").out.startswith("0:0 to vitals  key pump-7")
    assert sent(broker) == sent(broker, "vitals") == []


@pytest.mark.parametrize(("typed", "n_sent"), [("y\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_on_a_terminal_redrive_asks(
    run: Run, broker: MemoryBroker, typed: str, n_sent: int
) -> None:
    feed(broker, dead_letter(0))
    ended = run("redrive", typed)
    assert ended.code == 0
    assert "send them?" in ended.err
    assert ("nothing was sent" in ended.err) == (n_sent == 0)
    assert len(sent(broker)) == n_sent


def test_a_record_that_is_no_dead_letter_is_sent_only_when_asked(
    run: Run, broker: MemoryBroker
) -> None:
    feed(broker, OutputRecord("", b"k", b"v", [("a", b"1")]), dead_letter(0))
    assert run("redrive --yes 0:0").err.startswith(
        "dead-letters: 0 of 2 records to send; left out 1"
    )
    assert sent(broker) == []
    assert run("redrive --yes --foreign --to telemetry 0:0").code == 0
    (record,) = sent(broker)
    assert (record.metadata.key, record.value) == (b"k", b"v")
    assert record.metadata.headers == (("a", b"1"), (REDRIVEN_FROM, b"dead-letters[0]@0"))


def test_what_is_incomplete_is_listed_and_shown_as_such(run: Run, broker: MemoryBroker) -> None:
    feed(broker, dead_letter(0), incomplete(1), incomplete(2, key=b"k" * 500))
    rows = [" ".join(line.split()) for line in run("list").out.splitlines()]
    times = "2026-01-01 00:00:00.000 2026-01-01 00:00:00.002"
    assert f"3 RecordDecodeError decode 0 2 {times}" in rows
    assert rows[-3].endswith(
        "pump-7 - incomplete, value left out; decode RecordDecodeError: not JSON"
    )
    assert "- - incomplete, value, key left out; decode" in rows[-2]
    listed = lines_of_json(run("list --json").out)
    assert [each["left_out"] for each in listed] == [
        {},
        {"value": 1_234},
        {"value": 1_234, "key": 500},
    ]
    lines = run("show 0:2").out.splitlines()
    lacks = "lacks value (1,234 bytes), key (500 bytes); the whole record is at telemetry[2]@2"
    assert lines[:2] == ["dead-letters[0]@2", f"  incomplete     {lacks}"]
    assert "  key            left out" in lines
    assert lines[-1] == "value: left out"
    assert "  key            pump-7" in run("show 0:1").out.splitlines()


def test_a_value_that_was_left_out_is_not_written_raw(run: Run, broker: MemoryBroker) -> None:
    feed(broker, incomplete(9))
    ended = run("show 0:0 --raw")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: --raw: 0:0 lacks value (1,234 bytes); the whole record is at telemetry[2]@9; "
        "read it from there\n"
    )


@pytest.mark.parametrize("flags", ["--yes", "--yes --to telemetry --foreign"])
def test_what_is_incomplete_is_never_sent(run: Run, broker: MemoryBroker, flags: str) -> None:
    feed(broker, dead_letter(0), *(incomplete(offset) for offset in range(1, 24)))
    lines = run(f"redrive {flags}").err.splitlines()
    assert lines[0] == (
        "dead-letters: 1 of 24 records to send; 1 to telemetry; refused 23, incomplete"
    )
    assert lines[1] == "0:1 lacks value (1,234 bytes); the whole record is at telemetry[2]@1"
    assert lines[20].startswith("0:20 lacks value")
    assert lines[21:] == [
        "... and 3 more, which `dead-letters list` shows",
        "1 of 1 records sent and acknowledged",
    ]
    assert [each.value for each in sent(broker)] == [b"{oops"]

    lines = run(f"redrive {flags} 0:3").err.splitlines()
    assert lines[0] == "dead-letters: 0 of 24 records to send; refused 1, incomplete"
    assert lines[1:] == ["0:3 lacks value (1,234 bytes); the whole record is at telemetry[2]@3"]
    assert len(sent(broker)) == 1


def test_a_redriven_record_that_fails_again_names_its_dead_letter_once(
    run: Run, broker: MemoryBroker
) -> None:
    feed(broker, dead_letter(0))
    for number in range(3):
        assert run(f"redrive --yes 0:{number}").code == 0
        back = sent(broker)[-1]
        rejected = Rejected(0, RecordDecodeError("not JSON"))
        feed(
            broker,
            encode_dead_letter(rejected, back.value, back.metadata, "dead-letters", BYTES_MAX),
        )
    listed = lines_of_json(run("list --json").out)
    marks = ["dead-letters[0]@0", "dead-letters[0]@1", "dead-letters[0]@2"]
    assert [each["redriven_from"] for each in listed] == [None, *marks]
    assert " 4 RecordDecodeError decode 3 0 " in " ".join(run("list").out.split())
    lines = run("show 0:3").out.splitlines()
    assert "  redriven from  dead-letters[0]@2" in lines
    assert "headers: 8" in lines


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("list --topic absent", 4, "no such topic on memory: absent"),
        ("show 0:0 --topic absent", 4, "no such topic on memory: absent"),
        ("redrive --yes --topic absent", 4, "no such topic on memory: absent"),
        ("list --limit 0", 2, "--limit"),
        ("show", 2, "PARTITION:OFFSET"),
        ("show 17", 2, "expected PARTITION:OFFSET such as 0:17, received '17'"),
        ("show 0:0 --json --raw", 2, "--json, --raw: expected one of them"),
        ("show 2:0", 2, "2:0: dead-letters has the partitions 0 to 1, received 2"),
        ("show 0:1", 2, "0:1: dead-letters[0] holds the offsets 0 to 0"),
        ("show 1:0", 2, "1:0: dead-letters[1] holds no record"),
        ("redrive", 2, "no terminal to ask on; give --yes, or --dry-run"),
        ("redrive --yes 0:0 0:1", 2, "0:1: dead-letters[0] holds the offsets 0 to 0"),
        ("redrive --yes --to dead-letters", 2, "expected another topic than that of the dead"),
        ("redrive --yes --foreign", 2, "--foreign: such records name no original topic"),
        ("redrive --yes --to absent", 4, "no such topic on {servers}: absent; make it with"),
        ("purge", 2, "No such command 'purge'"),
    ],
)
def test_bad_input_is_one_line_and_sends_nothing(
    run: Run, broker: MemoryBroker, line: str, code: int, words: str
) -> None:
    feed(broker, dead_letter(0))
    ended = run(line)
    assert ended.code == code
    error = ended.err.splitlines()[-1]
    assert error.startswith("error: ")
    assert words.format(servers="127.0.0.1:9092") in error
    assert ended.out == ""
    assert sent(broker) == []


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ({"topic": "gone"}, 4, "no such topic on 127.0.0.1:9092: gone"),
        ({"topic": "dead-letters"}, 2, "1 dead letters came from dead-letters itself"),
        ({"partition": 4}, 2, "telemetry has 4 partitions, and a dead letter came from its part"),
    ],
)
def test_nothing_is_sent_where_one_has_nowhere_to_go(
    run: Run, broker: MemoryBroker, source: dict[str, Any], code: int, words: str
) -> None:
    feed(broker, dead_letter(0), dead_letter(1, **source))
    ended = run("redrive --yes")
    assert ended.code == code
    assert words in ended.err.splitlines()[-1]
    assert sent(broker) == []


def test_an_original_topic_that_is_not_utf_8_is_listed_and_nowhere_to_go(
    run: Run, broker: MemoryBroker
) -> None:
    record = dead_letter(1)
    headers = dict(record.headers) | {"__connect.errors.topic": b"caf\xe9"}
    feed(broker, record._replace(headers=list(headers.items())))
    assert r"caf\xe9[2]@1" in run("list").out
    ended = run("redrive --yes")
    assert ended.code == 4
    assert r"no such topic on 127.0.0.1:9092: caf\xe9" in ended.err


def test_the_key_chooses_where_the_partition_is_gone(run: Run, broker: MemoryBroker) -> None:
    feed(broker, dead_letter(0, partition=7))
    assert run("redrive --yes --to telemetry").code == 0
    assert len(sent(broker)) == 1
