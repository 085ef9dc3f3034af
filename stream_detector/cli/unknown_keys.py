"""What commands say of keys that training did not know, where each key has a scale of its own."""

from collections.abc import Sequence

from stream_detector.cli.terminal import say
from stream_detector.core.features import Features
from stream_detector.core.state.new_keys import n_places
from stream_detector.text import shorten

_N_KEYS_SHOWN = 5


def warn_of_unknown_keys(
    keys: Sequence[str], features: Features, n_warm_up: int | None = None
) -> None:
    """Say which keys training did not know, where each key has a scale of its own.

    Parameters
    ----------
    keys
        Keys of the data.
    features
        Of the bundle.
    n_warm_up
        How many windows have no score because their key had no scale yet; None where that is not
        known.
    """
    unknown = features.unknown_keys(keys)
    if not unknown:
        return
    shown = ", ".join(shorten(each, 64) for each in unknown[:_N_KEYS_SHOWN])
    n_samples = features.warm_up_samples
    what = "their windows have the median scale of all keys that were known"
    if n_samples:
        counted = "" if n_warm_up is None else f" (here {n_warm_up:,} windows)"
        what = (
            f"each gets a scale from its first {n_samples:,} samples, before which it has no score"
            f"{counted}; the first {n_places(len(features)):,} such keys do, and further ones have "
            "the median scale of all keys that were known"
        )
    say(
        f"warning: keys not known to training: {len(unknown):,}, such as {shown}; {what}: train "
        "again with their data"
    )
