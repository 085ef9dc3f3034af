"""Values about peaks and their rhythm that are valid one by one and do not fit together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream_detector.recipes.peaks import PAUSE_SHARE_MAX, PAUSE_SHARE_MIN, PeaksSection
from stream_detector.recipes.scaling import ScalingSection
from stream_detector.recipes.section import is_number


def peak_problems(window: Mapping[str, Any], peaks: object) -> Iterator[str]:
    """Yield a table `[peaks]` without its windows, or bands that the samples cannot show."""
    is_aligned = window.get("align") == "peaks"
    if is_aligned != isinstance(peaks, Mapping):
        received = "none" if is_aligned else f"one with window.align = {window.get('align')!r}"
        yield f"peaks: expected with window.align = 'peaks', and only there, received {received}"
    if not is_aligned or not isinstance(peaks, Mapping):
        return
    if "stride" in window:
        yield (
            "window.stride: expected only with align = 'stride', received "
            f"{window['stride']!r} with 'peaks': there is a window round each peak"
        )
    features, chosen = window.get("features", 1), peaks.get("features")
    if isinstance(chosen, Sequence) and any(is_number(at) and at >= features for at in chosen):
        yield f"peaks.features: expected numbers below {features}, received {chosen!r}"
    interval = window.get("sample_interval_ms")
    if isinstance(interval, int | float) and interval > 0:
        yield from _frequency_problems(peaks, float(interval))


def _frequency_problems(peaks: Mapping[str, Any], interval_ms: float) -> Iterator[str]:
    """Yield bands of `[peaks]` that the samples cannot show, and times of too few samples."""
    for key in ("band_hz", "keep_band_hz"):
        band = peaks.get(key)
        if not isinstance(band, Sequence) or not band or not all(map(is_number, band)):
            continue
        if list(band) != sorted({*band}) or band[-1] > 500 / interval_ms:
            yield (
                f"peaks.{key}: expected two frequencies, the lower one first, up to "
                f"{500 / interval_ms:g} Hz, half the samples a second, received {list(band)!r}"
            )
    for key, least in (("refractory_ms", 6), ("search_ms", 8), ("context_ms", 8)):
        value = peaks.get(key)
        if isinstance(value, int | float) and value < least * interval_ms:
            yield (
                f"peaks.{key}: expected at least {least} sample intervals, "
                f"{least * interval_ms:g}, received {value!r}"
            )


def key_scale_problems(window: Mapping[str, Any], scaling: Mapping[str, Any]) -> Iterator[str]:
    """Yield a scale of a new key's first samples, where windows round peaks hold no samples."""
    if scaling.get("per_key") is not True or window.get("align") != "peaks":
        return
    default = ScalingSection.model_fields["warm_up_samples"].default
    received = scaling.get("warm_up_samples", default)
    if received != 0:
        yield (
            "scaling.warm_up_samples: expected 0 with scaling.per_key and window.align = 'peaks', "
            f"received {received!r}: a key has the scale of its windows there, which its first "
            "samples do not tell; with 0, one that training did not know has the median of all keys"
        )


def rhythm_problems(tables: Mapping[str, Mapping[str, Any]], checks: object) -> Iterator[str]:
    """Yield a check `rhythm` without peaks or pauses, and pauses that nothing looks at."""
    given = checks if isinstance(checks, Sequence) else []
    kinds = [each.get("kind") for each in given if isinstance(each, Mapping)]
    align, peaks = tables["window"].get("align", "stride"), tables["peaks"]
    pause_ms, search_ms, context_ms = (
        peaks.get(key, PeaksSection.model_fields[key].default)
        for key in ("pause_ms", "search_ms", "context_ms")
    )
    if "rhythm" in kinds and align != "peaks":
        yield (
            f"check: expected 'rhythm' only with window.align = 'peaks', received it with {align!r}"
        )
    elif "rhythm" in kinds and pause_ms is None:
        yield "peaks.pause_ms: expected a time with the check 'rhythm', received none"
    elif "rhythm" not in kinds and pause_ms is not None:
        yield f"peaks.pause_ms: expected only with the check 'rhythm', received {pause_ms!r}"
    if kinds and all(each == "rhythm" for each in kinds):
        yield "check: expected another kind beside 'rhythm', which looks at no window"
    if not all(map(is_number, (pause_ms, search_ms, context_ms))):
        return
    # A frame reports one pause, which must not begin after a peak of its own.
    if pause_ms < PAUSE_SHARE_MIN * search_ms:
        yield (
            f"peaks.pause_ms: expected at least {PAUSE_SHARE_MIN:g} times search_ms = "
            f"{search_ms!r}, received {pause_ms!r}"
        )
    if pause_ms > PAUSE_SHARE_MAX * context_ms:
        yield (
            f"peaks.pause_ms: expected at most {PAUSE_SHARE_MAX:g} times context_ms = "
            f"{context_ms!r}, received {pause_ms!r}: after that noise counts as peaks"
        )
