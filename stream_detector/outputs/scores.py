"""Read scores from the topic to which `detect` publishes them."""

from collections.abc import Callable, Iterator

from stream_detector.core.score_records import PublishedScore, decode_score
from stream_detector.errors import DataError
from stream_detector.outputs.alerts import read_batches
from stream_detector.settings import ConnectionSettings


def read_scores(
    settings: ConnectionSettings,
    topic: str,
    on_problem: Callable[[DataError], None],
    *,
    from_beginning: bool = False,
    idle_s: float | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Iterator[PublishedScore]:
    """Yield the scores of a topic as they come; joins no group and commits nothing.

    Parameters
    ----------
    settings
        How to reach Kafka.
    topic
        The topic of the scores.
    on_problem
        Takes what is wrong with a record that holds no score.
    from_beginning
        Start with the oldest score kept, else with the next one published.
    idle_s
        Stop after so many seconds without a record; None never stops.
    is_stopping
        Asked between polls; stops where it returns True.

    Raises
    ------
    BrokerError
        If the topic does not exist or no broker answers.
    """
    batches = read_batches(
        settings, topic, from_beginning=from_beginning, idle_s=idle_s, is_stopping=is_stopping
    )
    for batch in batches:
        for index, value in enumerate(batch.values):
            if value is None:
                continue
            metadata = batch.metadata(index)
            try:
                yield decode_score(metadata.key, value, metadata.headers)
            except DataError as problem:
                on_problem(problem)
