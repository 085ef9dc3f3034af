"""The calibrated checks of a bundle as arrays, and back; the recipe says which checks there are."""

import io
from collections.abc import Mapping
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle.arrays import UNREADABLE, check_archive
from stream_detector.bundle.manifest import CHECKS
from stream_detector.core.scoring.check_scorer import Checks
from stream_detector.core.scoring.checks import (
    ALL_FEATURES,
    CHECK_KINDS,
    Looks,
    looks_of,
)
from stream_detector.core.scoring.members import COMBINES, Members, n_errors
from stream_detector.core.scoring.neighbours import Neighbours
from stream_detector.core.scoring.normal_scores import N_KEPT_MAX, NormalScores
from stream_detector.core.scoring.relations import Relations
from stream_detector.core.scoring.rhythm import RhythmLimits
from stream_detector.core.scoring.tails import SHAPE_MAX, Tail
from stream_detector.errors import BundleIntegrityError
from stream_detector.text import shorten

Arrays = dict[str, NDArray[Any]]

CHECKS_BYTES_MAX = 256 * 1024 * 1024
"""Largest file of checks."""

N_PEAKS_MAX = 1_048_576
"""Most clusters of calibration windows."""


def dump_checks(checks: Checks) -> bytes:
    """Return checks as the content of an .npz file."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {**pack_checks(checks)}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def load_checks(path: Path, content: bytes, n_steps: int, n_features: int) -> Checks:
    """Return the checks from the content of an .npz file; nothing in it is executed.

    Raises
    ------
    BundleIntegrityError
        If it is not as `dump_checks` wrote it.
    """
    try:
        check_archive(content, CHECKS_BYTES_MAX)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in arrays.files}
        return unpack_checks(found, n_steps, n_features)
    except UNREADABLE as error:
        reason = shorten(repr(error))
        message = f"bundle {path}: {CHECKS} cannot be read: {reason}; train the bundle again"
        raise BundleIntegrityError(message) from None


def pack_checks(checks: Checks) -> Arrays:
    """Return checks as arrays by name; `unpack_checks` returns the same checks."""
    members, looks, normal = checks.members, checks.looks, checks.normal
    arrays: Arrays = {
        "n_short": np.array(checks.n_short),
        "n_peak": np.array(checks.n_peak),
        "has_errors": np.array(members.has_errors),
        "combine": np.array(COMBINES.index(members.combine)),
        "member_middles": members.middles,
        "member_widths": members.widths,
        "look_checks": np.array([CHECK_KINDS.index(each) for each in looks.checks], np.int8),
        "look_middles": looks.middles,
        "look_scales": looks.scales,
        "look_is_off": looks.signs == 0,
        "n_windows": np.array(normal.n_windows),
        "scores": normal.scores,
        "rhythm": np.empty(0) if checks.rhythm is None else np.array(astuple(checks.rhythm)),
        "tail": np.empty(0),
        "peaks": np.empty(0),
    }
    if checks.relations is not None:
        arrays["relation_weights"] = checks.relations.weights
        arrays["relation_offsets"] = checks.relations.offsets
    if normal.tail is not None:
        tail = normal.tail
        arrays["tail"] = np.array([tail.base, tail.scale, tail.shape, tail.days])
        arrays["peaks"] = tail.peaks
    for number, each in enumerate(members.neighbours):
        arrays[f"n_nearest_{number}"] = np.array(
            [each.n_last, each.n_nearest, -1 if each.feature is None else each.feature]
        )
        arrays[f"middle_{number}"] = each.middle
        arrays[f"axes_{number}"] = each.axes
        arrays[f"factors_{number}"] = each.factors
        arrays[f"prototypes_{number}"] = each.prototypes
    return arrays


def unpack_checks(arrays: Mapping[str, NDArray[Any]], n_steps: int, n_features: int) -> Checks:
    """Return the checks that `pack_checks` made arrays of.

    Parameters
    ----------
    arrays
        By name.
    n_steps, n_features
        Shape of the bundle's windows.

    Raises
    ------
    KeyError
        If one is missing.
    ValueError
        If one has another shape or type than it must, or a value that nothing could be scored with.
    """
    n_short = _integer(arrays["n_short"], 2, n_steps)
    n_peak = _integer(arrays["n_peak"], 2, n_steps)
    numbers = _array(arrays["look_checks"], np.int8, (None,))
    if not len(numbers) or numbers.min() < 0 or numbers.max() >= len(CHECK_KINDS):
        message = f"look_checks: expected numbers of checks, received {numbers[:8]}"
        raise ValueError(message)
    kinds = [CHECK_KINDS[number] for number in dict.fromkeys(numbers.tolist())]
    n_neighbours = sum(name.startswith("prototypes_") for name in arrays)
    neighbours = [
        _neighbours(arrays, number, n_steps, n_features) for number in range(n_neighbours)
    ]
    compared = {each.feature for each in neighbours} - {None}
    if compared not in (set(), set(range(n_features))):
        message = f"neighbours: expected those of all {n_features} features or of none"
        raise ValueError(message)
    has_errors = bool(_array(arrays["has_errors"], np.bool_, ()))
    combine = COMBINES[_integer(arrays["combine"], 0, len(COMBINES) - 1)]
    is_one = combine == "together"
    bare = looks_of(
        kinds,
        n_features,
        has_courses=bool(compared) and is_one,
        has_errors=has_errors and is_one,
    )
    if [CHECK_KINDS[number] for number in numbers.tolist()] != list(bare.checks):
        message = f"look_checks: expected {len(bare)} looks of {kinds}, received {len(numbers)}"
        raise ValueError(message)
    looks = Looks(
        bare.checks,
        bare.statistics,
        bare.features,
        bare.signs,
        middles=_array(arrays["look_middles"], np.float64, (len(bare),)),
        scales=_positive(arrays["look_scales"], (len(bare),)),
    ).without(_array(arrays["look_is_off"], np.bool_, (len(bare),)))
    n_members = n_errors(combine, n_features) + n_neighbours
    members = Members(
        neighbours,
        middles=_array(arrays["member_middles"], np.float64, (n_members,)),
        widths=_positive(arrays["member_widths"], (n_members,)),
        has_errors=has_errors,
        combine=combine,
    )
    normal, rhythm = _normal_scores(arrays), _rhythm(arrays)
    is_judged = (looks.is_of("relation") & (looks.signs != 0)).any()
    relations = _relations(arrays, n_features) if is_judged else None
    return Checks(n_short, n_peak, members, looks, normal, rhythm, relations)


def _relations(arrays: Mapping[str, NDArray[Any]], n_features: int) -> Relations:
    """Return how features belong together."""
    weights = _array(arrays["relation_weights"], np.float32, (2 * n_features, n_features))
    return Relations(
        weights=np.ascontiguousarray(weights),
        offsets=_array(arrays["relation_offsets"], np.float32, (n_features,)),
    )


def _rhythm(arrays: Mapping[str, NDArray[Any]]) -> RhythmLimits | None:
    """Return when peaks come normally; None without the check `rhythm`."""
    numbers = _array(arrays["rhythm"], np.float64, (None,))
    if not len(numbers):
        return None
    n_numbers = len(fields(RhythmLimits))
    if len(numbers) != n_numbers:
        message = f"rhythm: expected {n_numbers} numbers, received {len(numbers)}"
        raise ValueError(message)
    limits = RhythmLimits(*numbers.tolist())
    is_ordered = 0 < limits.low_ms < limits.median_ms < limits.high_ms
    if not is_ordered or not limits.change_max > 1 or not limits.pause_ms > 0:
        message = f"rhythm: expected ascending limits above 0, received {limits}"
        raise ValueError(message)
    return limits


def _neighbours(
    arrays: Mapping[str, NDArray[Any]], number: int, n_steps: int, n_features: int
) -> Neighbours:
    """Return one group of nearest neighbours."""
    counts = arrays[f"n_nearest_{number}"]
    if counts.shape != (3,):
        message = f"n_nearest_{number}: expected 3 numbers, received shape {counts.shape}"
        raise ValueError(message)
    n_last, feature = _integer(counts[0], 1, n_steps), _integer(counts[2], -1, n_features - 1)
    n_values = n_last * (n_features if feature == ALL_FEATURES else 1)
    axes = _array(arrays[f"axes_{number}"], np.float32, (n_values, None))
    prototypes = _array(arrays[f"prototypes_{number}"], np.float32, (None, axes.shape[1]))
    return Neighbours(
        n_last=n_last,
        n_nearest=_integer(counts[1], 1, len(prototypes)),
        feature=None if feature == ALL_FEATURES else feature,
        middle=_array(arrays[f"middle_{number}"], np.float32, (n_values,)),
        axes=np.ascontiguousarray(axes),
        factors=_array(arrays[f"factors_{number}"], np.float32, (axes.shape[1],)),
        prototypes=np.ascontiguousarray(prototypes),
    )


def _normal_scores(arrays: Mapping[str, NDArray[Any]]) -> NormalScores:
    """Return what normal windows scored."""
    scores = _array(arrays["scores"], np.float64, (None,))
    if not 1 <= len(scores) <= N_KEPT_MAX or (np.diff(scores) < 0).any():
        message = f"scores: expected 1 to {N_KEPT_MAX} ascending numbers, received {len(scores)}"
        raise ValueError(message)
    n_windows = _integer(arrays["n_windows"], 1, 2**53)
    numbers = _array(arrays["tail"], np.float64, (None,))
    peaks = _array(arrays["peaks"], np.float64, (None,))
    if not len(numbers):
        return NormalScores(scores, n_windows, None)
    if len(numbers) != 4 or len(peaks) > N_PEAKS_MAX:  # noqa: PLR2004  (what a tail consists of)
        message = f"tail: expected 4 numbers, received {len(numbers)}"
        raise ValueError(message)
    base, scale, shape, days = numbers.tolist()
    if not (scale > 0 and days > 0 and 0 <= shape <= SHAPE_MAX) or (np.diff(peaks) > 0).any():
        message = f"tail: expected scale and days above 0 and descending peaks, received {numbers}"
        raise ValueError(message)
    return NormalScores(scores, n_windows, Tail(base, scale, shape, days, peaks))


def _array(array: NDArray[Any], kind: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return an array that has this type and shape, None for any length, and finite values."""
    fits = len(array.shape) == len(shape) and all(
        expected in (None, received) for expected, received in zip(shape, array.shape, strict=True)
    )
    if array.dtype != kind or not fits or not np.isfinite(array).all():
        message = (
            f"expected finite {np.dtype(kind)} of shape {shape}, received {array.dtype} of "
            f"{array.shape}"
        )
        raise ValueError(message)
    return array


def _positive(array: NDArray[Any], shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """Return an array of numbers above 0."""
    found = _array(array, np.float64, shape)
    if not (found > 0).all():
        message = f"expected numbers above 0, received {found[:8]}"
        raise ValueError(message)
    return found


def _integer(array: NDArray[Any], least: int, most: int) -> int:
    """Return an integer within limits."""
    found = np.asarray(array)
    if found.shape or found.dtype.kind != "i" or not least <= int(found) <= most:
        message = f"expected an integer from {least} to {most}, received {str(found)[:32]}"
        raise ValueError(message)
    return int(found)
