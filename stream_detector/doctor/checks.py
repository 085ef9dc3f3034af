"""The checks: what an examination found, in words, and what to do about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stream_detector.core.detector import WindowDetector
from stream_detector.core.state.new_keys import n_places
from stream_detector.core.windowing.diagnosis import (
    WHAT_TO_DO,
    Reason,
    Unscored,
    samples_apart,
)
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.doctor.clock_check import check_clock
from stream_detector.doctor.examination import Examination
from stream_detector.doctor.findings import (
    N_SHOWN,
    Finding,
    Status,
    check_rejected,
    count_keys,
    duration_text,
    shown_key,
)
from stream_detector.doctor.reading import Reading
from stream_detector.text import printable

OUTSIDE_SHARE_MAX = 0.05
"""Share of the values that may lie outside of the range trained on."""

ANOMALOUS_SHARE_MAX = 0.5
"""Share of anomalous windows above which the bundle is probably another sensor's."""

N_KEYS_MIN, KEYS_SHARE_MAX = 20, 0.8
"""Keys from which on, as a share of the records, keys probably name records and not series."""

FAST_MAX = 0.75
"""Shortest time between samples, in intervals of the bundle."""


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found.

    Parameters
    ----------
    findings
        In the order in which they are shown.
    would_score
        Whether a window was scored, or some series is on its way to its first window.
    n_records, n_windows, n_anomalous, n_keys, n_keys_scored
        Records read, windows scored, those of them that are anomalous, keys, and keys of which a
        window was scored; each whole window has a key of its own.
    """

    findings: Sequence[Finding]
    would_score: bool
    n_records: int
    n_windows: int
    n_anomalous: int
    n_keys: int
    n_keys_scored: int


def make_report(examination: Examination, reading: Reading, now_ms: int) -> Report:
    """Return what all checks say.

    Parameters
    ----------
    examination
        Of the records that were read.
    reading
        How they were read.
    now_ms
        This machine's time.
    """
    series = _Series.of(examination)
    findings = [
        _check_records(examination, reading),
        _check_format(examination),
        _check_features(examination),
        _check_keys(examination),
        _check_partitioning(examination),
        check_clock(examination, now_ms),
        *series.check(),
        _check_values(examination),
        *_check_unknown_keys(examination),
        _check_scored(examination, series),
    ]
    would_score = examination.n_windows > 0 or series.n_on_their_way > 0
    if not examination.n_records:
        findings = findings[:1]
    return Report(
        findings=findings,
        would_score=would_score,
        n_records=examination.n_records,
        n_windows=examination.n_windows,
        n_anomalous=examination.n_anomalous,
        n_keys=sum(key is not None for key in examination.partitions_of),
        n_keys_scored=series.n_scored,
    )


def _check_records(examination: Examination, reading: Reading) -> Finding:
    """Check that there are records."""
    found = f"{examination.n_records:,} read of about {reading.n_kept:,} kept"
    found += f", {reading.n_partitions} partitions"
    if not examination.n_records:
        advice = "see that something sends to this topic, or name another with --topic"
        return Finding("records", "problem", found, advice)
    if not reading.is_complete:
        found += "; the newest were not reached"
        return Finding("records", "warning", found, "read for longer, with --for 60s")
    return Finding("records", "ok", found)


def _check_format(examination: Examination) -> Finding:
    """Check that the records can be decoded."""
    advice = (
        "name the format with --content-type and the content_type setting, send the header, or say "
        "with [input] where in the records things are"
    )
    finding = check_rejected(examination, "format", "format", advice)
    return finding or Finding("format", "ok", "all records could be decoded")


def _check_features(examination: Examination) -> Finding:
    """Check that each sample, or window, has as many values as the bundle expects."""
    detector = examination.detector
    shape = f"{len(examination.scaler.offset)} features"
    if isinstance(detector, WindowDetector):
        shape = f"{detector.shape[0]} steps of {shape}"
    advice = f"send {shape}, or train a bundle for what is sent"
    finding = check_rejected(examination, "features", "features", advice)
    return finding or Finding("features", "ok", f"the bundle expects {shape}, and so it is")


def _check_keys(examination: Examination) -> Finding:
    """Check that each record says of which series it is."""
    advice = "set the key of each record to the name of its series, or say where it is: input.key"
    finding = check_rejected(examination, "keys", "keys", advice)
    if finding is not None:
        return finding
    keys = [key for key in examination.partitions_of if key is not None]
    found = count_keys(len(keys), keys)
    is_of_samples = not isinstance(examination.detector, WindowDetector)
    if is_of_samples and len(keys) >= max(N_KEYS_MIN, KEYS_SHARE_MAX * examination.n_records):
        found += f"; {examination.n_records:,} records, so that most keys have one record"
        return Finding("keys", "warning", found, advice)
    return Finding("keys", "ok", found)


def _check_partitioning(examination: Examination) -> Finding:
    """Check that each key is on one partition."""
    known = examination.partitions_of.items()
    spread = [key for key, found in known if key is not None and len(found) > 1]
    if not spread:
        return Finding("partitioning", "ok", "each key is on one partition")
    found = f"on several partitions: {count_keys(len(spread), spread)}"
    # A whole window stands for itself, wherever it lies.
    is_window = isinstance(examination.detector, WindowDetector)
    status: Status = "ok" if is_window else "problem"
    return Finding("partitioning", status, found, WHAT_TO_DO["key_on_several_partitions"])


@dataclass(frozen=True, slots=True)
class _Series:
    """Checks of records that are samples; of whole windows there are none.

    Parameters
    ----------
    examination
        Of the records.
    found
        Series that are not scored; None where records are whole windows.
    n_scored, n_on_their_way
        Series of which a window was scored, and those in warm-up whose samples fit so far.
    """

    examination: Examination
    found: Unscored | None
    n_scored: int
    n_on_their_way: int

    @classmethod
    def of(cls, examination: Examination) -> "_Series":
        """Return what is known of the series."""
        diagnosis = examination.diagnosis
        if diagnosis is None:
            return cls(examination, None, examination.n_windows, 0)
        found = diagnosis.find()
        warming = found.with_reason("warm_up")
        health = diagnosis.health
        n_on_their_way = int((health.n_intervals[warming] > 0).sum())
        return cls(examination, found, len(examination.scored_keys), n_on_their_way)

    def check(self) -> Iterator[Finding]:
        """Yield the findings on rate, gaps, missing values and warm-up."""
        diagnosis = self.examination.diagnosis
        if diagnosis is None or self.found is None:
            return
        yield self._check_rate(diagnosis.rules)
        yield self._of_reason("duplicates", "duplicates") or self._check_repeats()
        n_gaps, gap_ms = self.examination.n_gaps, diagnosis.rules.gap_ms_max
        seen = f"{n_gaps:,} gaps of more than {gap_ms:g} ms"
        yield self._of_reason("gaps", "gaps") or Finding("gaps", "ok", seen)
        if diagnosis.rules.peaks is not None:
            seen = "every key that was searched has peaks"
            yield self._of_reason("peaks", "no_peaks") or Finding("peaks", "ok", seen)
        values = self.examination.values
        n_missing, n_values = int(values.n_missing.sum()), int(values.n_present.sum())
        share = n_missing / max(n_missing + n_values, 1)
        seen = f"{share:.1%} of the values are missing"
        yield self._of_reason("missing values", "missing_values") or Finding(
            "missing values", "ok", seen
        )
        yield self._check_warm_up(diagnosis.rules)

    def _of_reason(self, check: str, reason: Reason) -> Finding | None:
        """Return a finding on the series that have a reason, None where none has."""
        diagnosis = self.examination.diagnosis
        if diagnosis is None or self.found is None:
            return None
        slots = self.found.with_reason(reason).tolist()
        if not slots:
            return None
        keys = [diagnosis.keyed_state.keys[slot] or b"" for slot in slots[:N_SHOWN]]
        detail = printable(diagnosis.describe(slots[0], reason))
        found = f"{count_keys(len(slots), keys)}: {detail}"
        return Finding(check, "problem", found, WHAT_TO_DO[reason])

    def _check_rate(self, rules: WindowRules) -> Finding:
        """Check that samples come at the interval that the bundle expects."""
        finding = self._of_reason("rate", "interval")
        if finding is not None:
            return finding
        interval_ms, expected = (
            self.examination.interval_ms,
            f"expected {rules.sample_interval_ms:g}",
        )
        if np.isnan(interval_ms):
            return Finding("rate", "ok", f"no key had two samples yet, {expected} ms between them")
        found = f"received {samples_apart(interval_ms)}, {expected}"
        if interval_ms < FAST_MAX * rules.sample_interval_ms:
            return Finding("rate", "warning", found, WHAT_TO_DO["interval"])
        return Finding("rate", "ok", found)

    def _check_repeats(self) -> Finding:
        """Return how many samples repeat another."""
        counts = self.examination.samples
        seen = f"{counts['duplicate']:,} of {counts.total():,} samples repeat another"
        return Finding("duplicates", "ok", seen)

    def _check_warm_up(self, rules: WindowRules) -> Finding:
        """Check that every key has had a complete window."""
        finding = self._of_reason("warm-up", "warm_up")
        if finding is None:
            return Finding("warm-up", "ok", "every key has had a complete window")
        found = f"{finding.found}; {'a window' if rules.peaks is None else 'a search'} takes "
        found += duration_text(rules.frame.span_ms)
        n_again = self._n_again()
        if n_again:
            found += f"; {n_again:,} of these had windows before, and started over"
        return finding._replace(status="warning", found=found)

    def _n_again(self) -> int:
        """Return how many keys are in warm-up once more."""
        diagnosis = self.examination.diagnosis
        if diagnosis is None or self.found is None:
            return 0
        slots, keys = self.found.with_reason("warm_up").tolist(), diagnosis.keyed_state.keys
        return sum(keys[slot] in self.examination.scored_keys for slot in slots)


def _check_values(examination: Examination) -> Finding:
    """Check that the values lie where those lay that the bundle was trained on."""
    finding = check_rejected(
        examination, "value range", "values", "send the unit and the sensor that was trained on"
    )
    if finding is not None:
        return finding
    values = examination.values
    if not values.n_present.any():
        return Finding("value range", "ok", "no value could be read")
    shares = values.n_outside / np.maximum(values.n_compared, 1)  # (n_features,)
    worst = int(np.argmax(shares))
    features = examination.detector.features
    digits = 12 if features.origin else 6  # float32 holds 7, and an origin adds to them
    lowest, highest = (f"{each[worst]:.{digits}g}" for each in (values.lowest, values.highest))
    found = f"feature {printable(features.names[worst])}: {lowest} to {highest}"
    if shares[worst] > OUTSIDE_SHARE_MAX:
        found += f", {shares[worst]:.0%} far outside of what was trained on"
        advice = "compare unit and sensor with those of the training data"
        return Finding("value range", "warning", found, advice)
    return Finding("value range", "ok", found)


def _check_scored(examination: Examination, series: _Series) -> Finding:
    """Check that windows would be scored, and that most of them are normal."""
    n_windows, n_anomalous = examination.n_windows, examination.n_anomalous
    n_all = n_windows + examination.n_incomplete
    share = n_windows / n_all if n_all else 0.0
    found = f"{n_windows:,} windows scored, {share:.0%} of the complete ones"
    if series.found is not None:
        n_keys = len(examination.partitions_of) - (None in examination.partitions_of)
        found += f"; {series.n_scored:,} of {n_keys:,} keys"
    if not n_windows and series.n_on_their_way:
        return Finding("scored", "warning", f"{found}; keys are in warm-up", "wait for a window")
    if not n_windows:
        return Finding("scored", "problem", found, "mend the first problem above")
    found += f"; {n_anomalous / n_windows:.0%} of the windows anomalous"
    if n_anomalous > ANOMALOUS_SHARE_MAX * n_windows:
        return Finding("scored", "warning", found, "see that the bundle was trained on this signal")
    return Finding("scored", "ok", found)


def _check_unknown_keys(examination: Examination) -> Iterator[Finding]:
    """Check that training knew all keys, where each has a scale of its own."""
    scales, unknown = examination.detector.features.key_scales, list(examination.unknown_keys)
    if scales is None:
        return
    if not unknown:
        yield Finding("known keys", "ok", f"training knew all keys ({len(scales):,} in all)")
        return
    yield Finding(
        "known keys",
        "warning",
        f"keys not known to training: {count_keys(len(unknown), unknown)}; training knew "
        f"{len(scales):,}, such as {', '.join(map(shown_key, scales.keys[:N_SHOWN]))}",
        f"{_of_new_keys(examination)}: train again with data of these keys, or send the keys that "
        "it was trained on",
    )


def _of_new_keys(examination: Examination) -> str:
    """Return what becomes of keys that training did not know."""
    n_samples = examination.detector.features.warm_up_samples
    if not n_samples:
        return "their windows have the median scale of all known keys"
    return (
        f"a new key is not scored before it has sent {n_samples:,} samples, from which it gets a "
        f"scale; of a partition's new keys {n_places(len(examination.detector.features)):,} get "
        "one, and others have the median scale of all known keys"
    )
