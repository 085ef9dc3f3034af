"""Which keys of records can be used, whatever the records hold.

Pure. A key is in the alert of its record three times: as the Kafka key, in a header and in the
value. Whoever sends a record chooses the key, so its length is limited before anything is judged.
"""

from collections.abc import Sequence

import numpy as np

from stream_detector.errors import DataError, RecordValueError

KEY_BYTES_MAX = 4096
"""Longest series key: the state of a key must not be larger for its name than for its window."""


def unusable_keys(keys: Sequence[bytes | None], *, is_required: bool) -> dict[int, DataError]:
    """Return the reason of each record whose key is too long or, where one is required, missing.

    Parameters
    ----------
    keys
        Key of each record, None where it has none. Length n_records.
    is_required
        Whether a record must have a key that is not empty, as samples must.

    Returns
    -------
    Reasons by row. No records give none.

    Examples
    --------
    >>> unusable_keys([b"pump-7", None, b""], is_required=False)
    {}
    >>> list(unusable_keys([b"pump-7", None, b""], is_required=True))
    [1, 2]
    """
    longest = max(map(len, filter(None, keys)), default=0)
    if longest <= KEY_BYTES_MAX and (not is_required or all(keys)):
        return {}
    lengths = np.array([len(key or b"") for key in keys], np.int64)  # (n_records,)
    is_unusable = lengths > KEY_BYTES_MAX  # (n_records,)
    if is_required:
        is_unusable |= lengths == 0
    least = 1 if is_required else 0
    unusable: dict[int, DataError] = {}
    for row in np.flatnonzero(is_unusable).tolist():
        received = f"{lengths[row]:,} bytes" if lengths[row] else "no key"
        unusable[row] = RecordValueError(
            f"key: expected a name of the series, {least} to {KEY_BYTES_MAX:,} bytes, received "
            f"{received}; set the record's key"
        )
    return unusable
