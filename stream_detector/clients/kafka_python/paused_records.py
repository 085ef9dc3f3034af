"""Let kafka-python return to partitions that were paused with records at hand.

The library parks the records that it holds of a partition when that is paused. It takes them up
again only once it holds none of another partition, and takes an empty remainder of one for records.
Until then it does not fetch from the resumed partition either, which may be for ever.
"""

from typing import Any


def let_parked_records_return(consumer: Any) -> None:
    """Drop an empty remainder, so that the next poll takes up parked records.

    Parameters
    ----------
    consumer
        Of the library.
    """
    fetcher = consumer._fetcher  # noqa: SLF001
    if not fetcher._next_partition_records:  # noqa: SLF001
        fetcher._next_partition_records = None  # noqa: SLF001
