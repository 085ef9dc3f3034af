r"""The text beside a committed offset, as it is stored in Kafka.

confluent-kafka returns committed metadata without its length, so that whatever follows it in memory
comes along. A line feed marks the end.

Examples
--------
>>> encode_commit_metadata('{"restore": 17}')
'{"restore": 17}\n'
>>> decode_commit_metadata(b'{"restore": 17}\nwhatever')
'{"restore": 17}'
>>> decode_commit_metadata(b"written by another program")
''
"""


def encode_commit_metadata(metadata: str) -> str:
    """Return commit metadata with the line feed that marks its end.

    Parameters
    ----------
    metadata
        One line of text; empty stays empty.

    Raises
    ------
    ValueError
        If the metadata holds a line feed: a caller's mistake.
    """
    if "\n" in metadata:
        message = f"metadata must be one line of text, received {metadata!r}"
        raise ValueError(message)
    return metadata and f"{metadata}\n"


def decode_commit_metadata(committed: bytes) -> str:
    """Return the text before the end mark, empty where another program wrote the metadata."""
    metadata, end, _ = committed.partition(b"\n")
    return metadata.decode() if end else ""
