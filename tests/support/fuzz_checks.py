"""What must hold whatever the records are: shared by hypothesis tests and the fuzzer's targets."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import orjson
import simdjson
from detectors import make_sample_detector, make_window_detector, with_network
from fuzz_records import INTERVAL_MS, Sent, batch_of
from present import present

from stream_detector.core.alerting.alert import RaisedAlert, encode_alert
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.codec.dead_letters import encode_dead_letter
from stream_detector.core.codec.formats import ContentType
from stream_detector.core.codec.json_format import read_plain_window, read_window
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import BundleReference, FloatArray, Rejected
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.windowing.rules import WindowRules

N_RULES = 2**32
SEVERITIES = (("warning", 1.0), ("critical", 3.0))


class Chosen:
    """Choices made by one number, so that a fuzzer can make them too."""

    def __init__(self, number: int) -> None:
        self._number = number

    def of(self, *options: Any) -> Any:
        """Return one of the options."""
        self._number, at = divmod(self._number, len(options))
        return options[at]


def reconstruct(windows: FloatArray) -> FloatArray:
    """Reconstruct each window from its own values only, as a small network does."""
    means = windows.mean(axis=1, keepdims=True)
    shrunk: FloatArray = np.tanh(windows * np.float32(0.5) + means * np.float32(0.1))
    return shrunk


def check_windows(number: int, sent: Sequence[Sent]) -> set[str]:
    """Check one batch of records that are whole windows, or are not; return what happened.

    Parameters
    ----------
    number
        Chooses shape, format and slices, 0 to `N_RULES` - 1.
    sent
        Any records.
    """
    chosen = Chosen(number)
    content_type = chosen.of("json", "json", "float32")
    shape = chosen.of((4, 1), (2, 2))
    detector = _detector(shape, chosen.of(1_000, 3), chosen.of("mae", "mse"))
    step = with_network(detector, reconstruct).step(
        detector.initial_state(), batch_of(sent), content_type
    )
    scored, rejected = step.scores.indices.tolist(), [each.index for each in step.rejected]
    assert scored == sorted(scored)
    assert rejected == sorted(rejected)
    assert sorted(scored + rejected) == list(range(len(sent)))
    assert sum(step.counts.records.values()) == len(sent)
    assert step.counts.records["dead_letter"] == len(rejected)
    check_dead_letters(sent, step.rejected)
    check_alerts(step.alerts)
    check_parsers_agree(sent, shape)
    kept = [sent[index] for index in scored]
    again = with_network(detector, reconstruct).step(
        detector.initial_state(), batch_of(kept), content_type
    )
    assert published_by([(kept, again)]) == published_by([(sent, step)])
    return outcomes([step])


def check_parsers_agree(sent: Sequence[Sent], shape: tuple[int, int]) -> None:
    """Check that what the fast way of reading JSON takes, the explaining way reads the same."""
    parser = simdjson.Parser()
    for value in {each.value for each in sent if each.value}:
        fast = read_plain_window(parser, value, shape[0])
        if fast is not None:
            buffer, timestamp_ms = read_window(value, (shape[0], 1))
            assert (bytes(fast[0]), fast[1]) == (buffer, timestamp_ms)


def check_samples(number: int, sent: Sequence[Sent]) -> set[str]:
    """Check a stream of records that hold samples or do not, in batches; return what happened.

    Parameters
    ----------
    number
        Chooses the rules, the format and the size of the batches, 0 to `N_RULES` - 1.
    sent
        Any records, in their order.
    """
    chosen = Chosen(number)
    n_per_batch, content_type = chosen.of(7, 30, 100, 1), chosen.of("json", "json", "float32")
    detector = _sample_detector(chosen)
    batches = [sent[at : at + n_per_batch] for at in range(0, len(sent), n_per_batch)]
    steps = _steps(detector, batches, content_type)
    kept: list[Sent] = []
    for batch, step in steps:
        check_sample_counts(len(batch), step)
        check_dead_letters(batch, step.rejected)
        gone = {each.index for each in step.rejected if each.stage != "order"}
        kept += [each for index, each in enumerate(batch) if index not in gone]
    check_alerts(list(chain.from_iterable(step.alerts for _, step in steps)))
    # The bad ones taken out, and all in one batch: nobody else may notice.
    assert published_by(_steps(detector, [kept], content_type)) == published_by(steps)
    return outcomes([step for _, step in steps])


def check_sample_counts(n_records: int, step: Step) -> None:
    """Check that what a step counted adds up to what there was."""
    counts = step.counts
    numbers = chain(counts.records.values(), counts.windows.values(), counts.samples.values())
    assert all(number >= 0 for number in numbers)
    assert sum(counts.records.values()) == n_records
    n_rejected = counts.records.get("dead_letter", 0) + counts.records.get("late", 0)
    rejected = [each.index for each in step.rejected]
    assert rejected == sorted(set(rejected))
    assert len(rejected) == n_rejected
    n_scored = counts.windows.get("normal", 0) + counts.windows.get("anomalous", 0)
    assert len(step.scores) == n_scored
    assert np.isfinite(step.scores.scores).all()


def check_dead_letters(sent: Sequence[Sent], rejected: Sequence[Rejected]) -> None:
    """Check that each dead letter is its record byte for byte, with a reason."""
    for each in rejected:
        record = sent[each.index]
        letter = encode_dead_letter(each, record.value, record.metadata, "dead-letters", 2**62)
        headers = list(record.headers or ())
        assert (letter.key, letter.value) == (record.key, record.value)
        assert list(letter.headers)[: len(headers)] == headers
        reasons = dict(letter.headers[len(headers) :])
        assert reasons["__connect.errors.offset"] == str(record.offset).encode()
        assert reasons["__connect.errors.exception.message"]


def check_alerts(alerts: Sequence[RaisedAlert]) -> None:
    """Check that alerts can be written, and that each opens once and closes once at most."""
    events: dict[str, list[str]] = {}
    for _, alert, key in alerts:
        written = encode_alert(alert, "alerts", key, 0)
        assert orjson.loads(written.value or b"")["alert_id"] == alert.alert_id
        assert written.key == key
        of_alert = events.setdefault(alert.alert_id, [])
        of_alert.append(alert.event)
        assert alert.event_number == len(of_alert)
        assert present(alert.anomaly_score) > 1
    for names in events.values():
        assert names[0] == "open"
        assert all(name != "close" and after != "open" for name, after in pairwise(names))


def published_by(steps: Sequence[tuple[Sequence[Sent], Step]]) -> tuple[Any, ...]:
    """Return all that steps say of records that are not dead letters, by the records' offsets."""
    offsets: list[int] = []
    errors = starts = ends = b""
    alerts: list[Any] = []
    late: list[Any] = []
    for sent, step in steps:
        offsets += [sent[index].offset for index in step.scores.indices.tolist()]
        errors += step.scores.scores.tobytes()
        if step.scores.start_ms is not None and step.scores.end_ms is not None:
            starts += step.scores.start_ms.tobytes()
            ends += step.scores.end_ms.tobytes()
        alerts += [(sent[index].offset, alert, key) for index, alert, key in step.alerts]
        late += [
            (sent[each.index].offset, str(each.error))
            for each in step.rejected
            if each.stage == "order"
        ]
    return offsets, errors, starts, ends, alerts, late


def outcomes(steps: Sequence[Step]) -> set[str]:
    """Return the names of the outcomes of records, of errors, and of reasons of alerts."""
    found: set[str] = set()
    for step in steps:
        found |= {name for name, n_records in step.counts.records.items() if n_records}
        found |= {type(each.error).__name__ for each in step.rejected}
        found |= {alert.reason for _, alert, _ in step.alerts}
    return found


def _steps(
    detector: SampleDetector, batches: Sequence[Sequence[Sent]], content_type: ContentType
) -> list[tuple[Sequence[Sent], Step]]:
    """Return each batch with its step, the state carried on."""
    state: Any = detector.initial_state()
    steps = []
    for batch in batches:
        step = with_network(detector, reconstruct).step(state, batch_of(batch), content_type)
        steps.append((batch, step))
        state = step.state
    return steps


def _detector(shape: tuple[int, int], model_rows_max: int, error_kind: Any) -> WindowDetector:
    """Return a detector of whole windows."""
    offset, scale = (
        np.array([-1, 0.5], np.float32)[: shape[1]],
        np.array([0.7, 3], np.float32)[: shape[1]],
    )
    return make_window_detector(
        bundle=BundleReference("b", "v"),
        shape=shape,
        sample_interval_ms=INTERVAL_MS,
        scaler=Scaler("min-max", offset, scale),
        error_kind=error_kind,
        threshold=0.8,
        severities=SEVERITIES,
        model_rows_max=model_rows_max,
    )


def _sample_detector(chosen: Chosen) -> SampleDetector:
    """Return a detector of samples of two features, its rules chosen."""
    n_steps = chosen.of(3, 1, 4)
    windows = WindowRules(
        n_steps=n_steps,
        n_features=2,
        stride=chosen.of(1, 2, 5),
        sample_interval_ms=INTERVAL_MS,
        gap_ms_max=2.5 * INTERVAL_MS,
        allowed_lateness_ms=chosen.of(0, 35, 10),
        missing=chosen.of("hold", "interpolate", "reject"),
        missing_share_max=0.4,
        key_ttl_ms=chosen.of(300, 100_000),
    )
    alerting = AlertRules(
        open_after=chosen.of(1, 2),
        open_within=2,
        update_interval_ms=chosen.of(20, 100),
        close_after_ms=chosen.of(10, 50),
        cooldown_ms=chosen.of(0, 30),
        open_ms_max=60,
        flood_alerts_max=chosen.of(1, 3),
        flood_window_ms=200,
        severities=SEVERITIES,
    )
    model_rows_max = chosen.of(1_000, 3)
    scaler = Scaler("min-max", np.array([-1, 0.5], np.float32), np.array([0.7, 3], np.float32))
    bundle = BundleReference("b", "v")
    return make_sample_detector(
        windows, alerting, model_rows_max, bundle=bundle, scaler=scaler, threshold=0.8
    )
