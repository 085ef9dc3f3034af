"""Send samples as if they came from machines that run now, without an end that is known."""

from collections.abc import Callable, Iterator

import numpy as np

from stream_detector.core.records import Samples
from stream_detector.ports import Client, Clock
from stream_detector.replay.chunking import rows_of
from stream_detector.replay.samples import SampleReplayOptions, replay_samples

PART_MS = 1_000.0
"""How much is sent before it is asked again whether to stop."""


def replay_live(
    samples: Samples,
    client: Client,
    topic: str,
    *,
    clock: Clock,
    is_stopping: Callable[[], bool] = lambda: False,
    on_part: Callable[[int], None] = lambda _number: None,
) -> None:
    """Send what is due by now at once, and then each sample at its time.

    Parameters
    ----------
    samples
        Samples of any series in the order of their times, which are times of `clock`.
    client
        Sends a record for each; not closed here.
    topic
        Topic to send to. The key of a record names its series.
    clock
        Source of the time.
    is_stopping
        Whether to stop; asked before each second of samples.
    on_part
        Called before each second of samples with its number, from 1.

    Raises
    ------
    BrokerError
        If the broker did not accept a record.
    KeyboardInterrupt
        After all records produced so far have been acknowledged.
    """
    n_due = int(np.searchsorted(samples.times_ms, clock.now_ms(), side="right"))

    def parts() -> Iterator[Samples]:
        first, number = n_due, 0
        while first < len(samples) and not is_stopping():
            number += 1
            on_part(number)
            end_ms = samples.times_ms[first] + PART_MS
            last = int(np.searchsorted(samples.times_ms, end_ms))
            yield rows_of(samples, slice(first, last))
            first = last

    due = rows_of(samples, slice(0, n_due))
    replay_samples(due, client, topic, options=SampleReplayOptions(), clock=clock)
    options = SampleReplayOptions(speed=1.0)
    replay_samples(parts(), client, topic, options=options, clock=clock)
