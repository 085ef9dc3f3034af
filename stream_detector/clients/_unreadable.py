"""What stands in a batch for a record that a library could not read whole, in the same words."""

from collections.abc import Iterable, Sequence

from stream_detector.core.records import Unreadable
from stream_detector.errors import RecordDecodeError
from stream_detector.text import shorten


def without_bad_names(
    headers: Iterable[tuple[str, bytes | None]], names: Sequence[bytes | None], n_left_out: int
) -> Unreadable:
    """Return headers of which some have names that are not UTF-8.

    Parameters
    ----------
    headers
        The others.
    names
        The bad names in order, the first of them known. Length >= 1.
    n_left_out
        Bytes of names and values that are missing, as far as they are known.
    """
    received = shorten(repr(names[0]), 100)
    if len(names) > 1:
        received += f" and {len(names) - 1} more"
    message = (
        f"headers: expected names in UTF-8, received {received}; such a header cannot be read or "
        "written and is left out: correct the producer"
    )
    return Unreadable(headers, RecordDecodeError(message), {"headers": n_left_out})


def undecodable(reason: object) -> Unreadable:
    """Return what stands for each record of a batch that cannot be decoded.

    Parameters
    ----------
    reason
        As the library says it.
    """
    message = (
        f"the batch of records that holds this offset cannot be decoded: {reason}; its checksum is "
        "right, so it was sent like this: correct the producer, or its compression"
    )
    nothing = {"value": 0, "key": 0, "headers": 0}
    return Unreadable((), RecordDecodeError(message), nothing)
