"""One plain sentence about what is unusual.

Pure. A scorer says in numbers what it looked at (`CheckFacts`), a detector brings these to the
signal's unit, and the sentence is made of them here::

    flat    pressure stayed at 4.02 for 60 s; it normally varies by 0.03 to 0.21
    same    pressure stayed at 4.02 for 12 s without any change; it normally changes within 9 s
    peak    pressure jumped by 1.2 within 1 s; its largest steps are normally 0.05 to 0.21
    spike   pressure reached 6.2; it is normally between 3.9 and 4.3
    noise   vibration varies by 0.9; it normally varies by 0.03 to 0.21
    level   temperature is at 71.2; it is normally between 55 and 68
    slope   temperature rose by 3.1 within 60 s; it normally changes by -0.5 to 0.5
    never   alarm was at 1; in training it was always 0
    related power is at 3.1; going by the other features, it is normally between 5 and 5.4
    shape   the course of pressure differs from what was learnt: observed 6.2 instead of 4 to 4.3
            for 41 s

Of a feature that counts by its logarithm, what is no value is a factor::

    peak    traffic dropped by a factor of 9 within 1 min; its largest steps are normally a factor
            of 1.2 to 3

Of when peaks come, with the check `rhythm`::

    early   a peak came 0.42 s after the one before; normally 0.7 to 0.95 s
    missing no peak for at least 3 s; normally one comes after 0.7 to 0.95 s

Where the unit of a feature is known, it follows what was observed: `pressure reached 6.2 bar; it is
normally between 3.9 and 4.3`.

Where a scorer gives no numbers, the sentence is of the explanation::

    pressure: observed 6.2 where 4.1 was expected, for 41 s
    rows 3 to 9, columns 4 to 12 differ

What was not believed is added::

    ...; V1 was not believed: more than ten times as large as usual
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from stream_detector.core.features import LinearUnit
from stream_detector.core.scoring.explanation import (
    Explanation,
    ImageExplanation,
    RhythmExplanation,
    UnreliableReason,
)
from stream_detector.core.scoring.logarithmic import FACTOR_MAX
from stream_detector.core.scoring.quantities import (
    NOTHING,
    PART,
    duration_text,
    duration_unit,
    number_text,
)
from stream_detector.text import quoted, shorten

SENTENCE_CHARACTERS_MAX = 256
"""Longest sentence."""

_NAME_CHARACTERS_MAX = 64
"""How much of a feature's name is in it."""

_UNRELIABLE_CHARACTERS_MAX = 128
"""How much of it may say what was not believed."""

_N_UNRELIABLE_NAMED = 3

_AS_LARGE: Mapping[UnreliableReason, str] = {
    "noise": "more than ten times as large as usual",
    "off": "less than a tenth as large as usual",
}

_OF_UNKNOWN_KEY = "; training did not know this key, which has the scale of all keys"

_VALUE_DIGITS = 6
"""Digits of a value that does not change."""

_STUCK_SHARE = 0.1
"""A feature that varies by less than this part of the least that is normal stays where it is."""

FactKind = Literal[
    "flat", "same", "peak", "spike", "noise", "level", "slope", "never", "related", "shape"
]
"""What was looked at: values, or differences."""

OF_VALUES: frozenset[FactKind] = frozenset(("same", "spike", "level", "never", "related", "shape"))
"""Of which the numbers are values."""


class CheckFacts(NamedTuple):
    """What a check looked at in a window, and what is normal there.

    Parameters
    ----------
    feature
        Which feature, counted from 0.
    kind
        What was looked at: how much the feature varied (`flat`, `noise`), its largest step, below
        zero where it went down (`peak`), its value (`spike` of one step, `level` of all, `shape`,
        `same` of one that no longer changes, `never` of one that never moved in training, `related`
        of one that does not fit the others), or how far it moved (`slope`).
    observed
        That number, in the unit of the windows that were scored.
    duration_ms
        Over which time; 0 where that is unknown or one sample.
    low, high
        Between which two such numbers is normal, low <= high; None where that is unknown, or where
        one side has no end.
    at
        Of `flat`, the value at which the feature stayed; None where that is unknown.
    changes_within_ms
        Of `same`, the time within which the feature normally changes.
    is_factor
        Whether numbers that are no values are factors, above 0, below 1 where the feature went
        down: it counts by its logarithm.
    """

    feature: int
    kind: FactKind
    observed: float
    duration_ms: float
    low: float | None = None
    high: float | None = None
    at: float | None = None
    changes_within_ms: float = 0.0
    is_factor: bool = False

    @property
    def is_stuck(self) -> bool:
        """Return whether the feature varied by next to nothing of what is normal."""
        nothing = 1.0 if self.is_factor else 0.0
        least = nothing if self.low is None else self.low
        return self.observed - nothing <= _STUCK_SHARE * (least - nothing)

    def in_unit(self, unit: LinearUnit) -> "CheckFacts":
        """Return the same facts in the unit of the signal."""
        convert = unit.value if self.kind in OF_VALUES else unit.difference
        if self.is_factor:
            return self._replace(at=None if self.at is None else unit.value(self.at))
        return self._replace(
            observed=convert(self.observed),
            low=None if self.low is None else convert(self.low),
            high=None if self.high is None else convert(self.high),
            at=None if self.at is None else unit.value(self.at),
        )


Facts = CheckFacts | RhythmExplanation
"""What a check looked at: numbers of one feature, or when peaks came."""


def sentence_of(explanation: Explanation, facts: Facts | None, name: str, unit: str = "") -> str:
    """Say in one sentence what is unusual in a window.

    Parameters
    ----------
    explanation
        In the unit of the signal, its features with their names.
    facts
        What decided, in the unit of the signal; None where the scorer gives no such numbers.
    name
        Name of the feature that the facts are about; not used where they are about none.
    unit
        What that feature is measured in, or the worst one of the explanation where there are no
        facts; "" where that is not known.

    Returns
    -------
    At most `SENTENCE_CHARACTERS_MAX` characters, all printable.

    Examples
    --------
    >>> explanation = Explanation(0, 60_000, (), (1.0,), (0, 60_000), 0.0, 0)
    >>> facts = CheckFacts(0, "flat", 0.0, 60_000, low=0.03, high=0.21, at=4.02)
    >>> sentence_of(explanation, facts, "pressure")
    'pressure stayed at 4.02 for 60 s; it normally varies by 0.03 to 0.21'
    """
    if isinstance(facts, RhythmExplanation):
        sentence = _of_rhythm(facts)
    elif facts is not None:
        sentence = _of_facts(facts, _shown(name), unit)
    elif explanation.image is not None:
        sentence = _of_image(explanation.image)
    else:
        sentence = _of_error(explanation, unit)
    unreliable = shorten(_of_unreliable(explanation), _UNRELIABLE_CHARACTERS_MAX)
    return shorten(sentence, SENTENCE_CHARACTERS_MAX - len(unreliable)) + unreliable


def of_unknown_key(sentence: str) -> str:
    """Return a sentence that says too that the key has no scale of its own, though others have.

    Examples
    --------
    >>> of_unknown_key("pressure: observed 6.2 where 4.1 was expected, for 41 s")[-65:]
    '; training did not know this key, which has the scale of all keys'
    """
    return shorten(sentence, SENTENCE_CHARACTERS_MAX - len(_OF_UNKNOWN_KEY)) + _OF_UNKNOWN_KEY


def no_data_sentence(feature: str | None, duration_ms: float, *, is_over: bool) -> str:
    """Say in one sentence which data are or were missing.

    Parameters
    ----------
    feature
        Name of the feature without a value; None where the key sends nothing.
    duration_ms
        For how long.
    is_over
        Whether it has ended.

    Examples
    --------
    >>> no_data_sentence(None, 300_000, is_over=False)
    'the key has sent nothing for 5 min'
    >>> no_data_sentence("humidity", 90_000, is_over=True)
    'humidity had no value for 90 s'
    """
    has = "" if is_over else "has "
    what = f"the key {has}sent nothing"
    if feature is not None:
        what = f"{_shown(feature)} {'had' if is_over else 'has had'} no value"
    return f"{what}{_for(duration_ms)}"


def _of_facts(facts: CheckFacts, name: str, unit: str) -> str:
    """Say what a check found."""
    observed, band = _texts(facts, unit)
    normally = "" if band is None else f"; it normally varies by {band}"
    if facts.kind == "noise":
        return f"{name} varies by {observed}{normally}"
    if facts.kind == "flat":
        if facts.at is None or not facts.is_stuck:
            return f"{name} varied by only {observed}{_for(facts.duration_ms)}{normally}"
        beside = abs(facts.at) if facts.is_factor else _width(facts)
        at = _measured(number_text(facts.at, beside), unit)
        return f"{name} stayed at {at}{_for(facts.duration_ms)}{normally}"
    if facts.kind in OF_VALUES:
        return _of_value(facts, name, unit)
    return _of_change(facts, name, unit)


def _of_value(facts: CheckFacts, name: str, unit: str) -> str:
    """Say where a feature is, and where it normally is."""
    observed, band = _texts(facts, unit)
    if facts.kind == "same":
        at, within = f"{facts.observed:.{_VALUE_DIGITS}g}", duration_text(facts.changes_within_ms)
        stayed = f"{name} stayed at {_measured(at, unit)}{_for(facts.duration_ms)}"
        return f"{stayed} without any change; it normally changes within {within}"
    if facts.kind == "never":
        return f"{name} was at {observed}; in training it was always {band}"
    if facts.kind == "shape":
        instead = "" if band is None else f" instead of {band}"
        what = f"observed {observed}{instead}{_for(facts.duration_ms)}"
        return f"the course of {name} differs from what was learnt: {what}"
    by_others = "going by the other features, " if facts.kind == "related" else ""
    between = "" if band is None else f"; {by_others}it is normally {_between(band)}"
    return f"{name} {'reached' if facts.kind == 'spike' else 'is at'} {observed}{between}"


def _measured(number: str, unit: str) -> str:
    """Return a number with its unit, if that is known."""
    return f"{number} {unit}" if unit else number


def _of_rhythm(rhythm: RhythmExplanation) -> str:
    """Say when a peak came, and when it normally does."""
    low_ms, high_ms = rhythm.low_ms, rhythm.high_ms
    unit, size_ms = duration_unit(high_ms)

    def text(duration_ms: float) -> str:
        return number_text(duration_ms / size_ms, (high_ms - low_ms) / size_ms)

    normal = f"{text(low_ms)} to {text(high_ms)} {unit}"
    if rhythm.kind == "missing":
        return (
            f"no peak for at least {duration_text(rhythm.pause_ms)}; normally one comes after "
            f"{normal}"
        )
    if rhythm.interval_ms is None:
        since = f"at least {duration_text(rhythm.pause_ms)}"
    else:
        since = f"{text(rhythm.interval_ms)} {unit}"
    what = f"a peak came {since} after the one before"
    if rhythm.kind == "irregular" and rhythm.before_ms is not None:
        return (
            f"{what}, and that came after {text(rhythm.before_ms)} {unit}; normally they differ by "
            f"a factor of {number_text(rhythm.change_max, rhythm.change_max - 1)} at most"
        )
    return f"{what}; normally {normal}"


def _of_unreliable(explanation: Explanation) -> str:
    """Say which features were not believed, and why; nothing where all were."""
    unreliable = explanation.unreliable
    is_all = len(unreliable) == len(explanation.shares)  # then all count
    found = ""
    for reason, as_large in _AS_LARGE.items():
        names = [_shown(each.name) for each in unreliable if each.reason == reason]
        if not names:
            continue
        named, n_more = names[:_N_UNRELIABLE_NAMED], len(names) - _N_UNRELIABLE_NAMED
        if n_more > 0:
            named.append(f"{n_more} more")
        *first, last = named
        who = f"{', '.join(first)} and {last}" if first else last
        verb = "are" if is_all and first else "is" if is_all else "were" if first else "was"
        found += f"; {who} {verb} {'' if is_all else 'not believed: '}{as_large}"
    return found


def _of_change(facts: CheckFacts, name: str, unit: str) -> str:
    """Say how far a feature moved, in one step or over a time."""
    observed, band = _texts(facts, unit)
    is_step, nothing = facts.kind == "peak", 1.0 if facts.is_factor else 0.0
    up, down = ("jumped", "dropped") if is_step else ("rose", "fell")
    change = observed.removeprefix("-")
    within = f" within {duration_text(facts.duration_ms)}" if facts.duration_ms else ""
    what = "its largest steps are normally" if is_step else "it normally changes by"
    normally = "" if band is None else f"; {what} {band}"
    return f"{name} {down if facts.observed < nothing else up} by {change}{within}{normally}"


def _of_error(explanation: Explanation, unit: str) -> str:
    """Say where the worst feature is farthest from what was expected of it."""
    if not explanation.features:
        return "the window is unlike those that were learnt"
    worst = explanation.features[0]
    name = _shown(worst.name or f"feature {worst.feature}")
    lasts = _for(explanation.worst_end_ms - explanation.worst_start_ms)
    points = [
        (abs(observed - expected), observed, expected)
        for observed, expected in zip(worst.observed, worst.expected, strict=False)
        if observed is not None
    ]
    if not points:
        return f"{name}: no value was observed{lasts}"
    size, *values = max(points, key=lambda point: point[0])
    # Beside the difference, a value near 0 is 0.
    seen, wanted = (number_text(each if abs(each) >= size / 100 else 0.0, size) for each in values)
    what = f"observed {_measured(seen, unit)} where {wanted} was expected"
    return f"{name}: {what}{lasts and ',' + lasts}"


def _of_image(image: ImageExplanation) -> str:
    """Say which part of an image differs."""
    n_rows = image.last_row - image.first_row + 1
    n_columns = image.last_column - image.first_column + 1
    if (n_rows, n_columns) == (image.n_rows, image.n_columns):
        return "the whole image differs"
    rows = _range("row", image.first_row, image.last_row)
    columns = _range("column", image.first_column, image.last_column)
    return f"{rows}, {columns} {'differs' if n_rows == n_columns == 1 else 'differ'}"


def _texts(facts: CheckFacts, unit: str) -> tuple[str, str | None]:
    """Return what was observed, with its unit, and what is normal; None where that is unknown.

    What was observed has fewer digits the farther it is from normal. Where it is so close that it
    would read like the end that it is beyond, both have the digits that tell them apart.
    """
    seen = facts.observed
    if facts.is_factor and facts.kind in ("peak", "slope"):
        seen = max(seen, 1 / seen)
    elif facts.kind == "peak":
        seen = abs(seen)
    ends, width = (facts.low, facts.high), _width(facts)
    beside = width
    if (
        facts.kind not in ("peak", "slope", "never")
        and facts.low is not None
        and facts.high is not None
    ):
        beside = max(facts.low - seen, seen - facts.high, width)
    observed = number_text(seen, beside)
    texts = [None if each is None else number_text(each, width) for each in ends]
    for at, end in enumerate(ends):
        if end is None or texts[at] != observed:
            continue
        beyond = seen - end if at else end - seen
        if beyond > NOTHING * abs(end):
            observed, texts[at] = (number_text(each, PART * beyond) for each in (seen, end))
    band = _band(*texts)
    if not facts.is_factor:
        return _measured(observed, unit), band
    if seen > FACTOR_MAX:
        observed = f"more than {FACTOR_MAX:.0f}"
    return f"a factor of {observed}", band and f"a factor of {band}"


def _band(low: str | None, high: str | None) -> str | None:
    """Return what is normal from the texts of its ends."""
    if low is None or high is None:
        return f"at least {low}" if low else f"at most {high}" if high else None
    return low if low == high else f"{low} to {high}"


def _width(facts: CheckFacts) -> float:
    """Return how wide normal is; 0 where that is unknown, a tenth of the change where it is 0."""
    if facts.low is None or facts.high is None:
        return 0.0
    return facts.high - facts.low or abs(facts.observed - facts.low) / 10


def _between(band: str) -> str:
    """Return a range of values in words."""
    low, to, high = band.partition(" to ")
    return f"between {low} and {high}" if to else band


def _range(what: str, first: int, last: int) -> str:
    """Return which rows or columns."""
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"


def _for(duration_ms: float) -> str:
    """Return for how long; nothing for one sample, or where that is unknown."""
    return f" for {duration_text(duration_ms)}" if duration_ms > 0 else ""


def _shown(name: str) -> str:
    """Return the name of a feature as one word of a sentence."""
    return quoted(name, _NAME_CHARACTERS_MAX)
