"""What an alert says of where in its window the error lies. Pure values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeatureExplanation:
    """What was expected of one feature over the worst span, and what was seen.

    Parameters
    ----------
    feature
        Which one, 0 .. n_features - 1.
    share
        Its part of the window's error, range [0, 1].
    expected
        The reconstruction, brought back through the scaler; one value for each of the
        explanation's `times_ms`, unit: the signal's.
    observed
        The signal at the same times, same unit; None where the value was missing and imputed.
    """

    feature: int
    share: float
    expected: tuple[float, ...]
    observed: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class ImageExplanation:
    """Where in an image the error lies.

    Parameters
    ----------
    n_rows, n_columns, n_channels
        Size of the image in pixels, and 1 (grey) or 3 (colour) values of each.
    first_row, last_row
        The unbroken rows around that of the largest error in which none has less than half of
        that error; counted from 0 at the top.
    first_column, last_column
        Likewise the columns, of the error within these rows; counted from 0 at the left.
    share
        Part of the whole error that lies in these rows and columns, range [0, 1].
    heat_map
        Grey PNG in base64: black is no error, white is `heat_map_max`. As large as the image; of a
        large one each pixel is the mean of a square, so that neither side is longer than 64.
    heat_map_max
        The largest error on the heat map, in the unit of the scaled image.
    """

    n_rows: int
    n_columns: int
    n_channels: int
    first_row: int
    last_row: int
    first_column: int
    last_column: int
    share: float
    heat_map: str
    heat_map_max: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where in a window the error lies: when and in which features, or in which pixels.

    Parameters
    ----------
    worst_start_ms, worst_end_ms
        The unbroken span around the step of the largest error in which no step has less than
        half of that error; the times of the window where it is an image.
    features
        At most 3, those with the largest shares, the largest first; none of an image.
    shares
        Each feature's part of the window's error; sums to 1. Empty for an image.
    times_ms
        At most 64 times, spread evenly over the worst span, its first and last step included.
        Empty for an image.
    imputed_share
        Part of the window's values that were missing and imputed, range [0, 1].
    n_gaps
        How often the series started again after a gap in the last `flood_window_ms` before the
        event.
    image
        Which pixels, where the record is an image; else None.
    """

    worst_start_ms: int
    worst_end_ms: int
    features: tuple[FeatureExplanation, ...]
    shares: tuple[float, ...]
    times_ms: tuple[int, ...]
    imputed_share: float
    n_gaps: int
    image: ImageExplanation | None = None
