"""Say in a dead letter that its record has headers which the client did not hand over."""

from dataclasses import replace

from stream_detector.core.records import (
    RecordBatch,
    RecordMetadata,
    Rejected,
    TopicPartition,
    Unreadable,
)
from stream_detector.core.results import Step
from stream_detector.errors import RecordDecodeError
from stream_detector.ports import Client


def name_lost_headers(client: Client, batch: RecordBatch, step: Step) -> tuple[RecordBatch, Step]:
    """Return a batch and its step with the headers that were lost named as such.

    Without its headers a record has no content type, so it is looked for among the rejected ones:
    one that is judged all the same has the format that records have without a header.

    Parameters
    ----------
    client
        Knows which records have headers that it did not hand over.
    batch, step
        As they were judged.
    """
    places: dict[TopicPartition, list[int]] = {}
    for each in step.rejected:
        metadata = batch.metadata(each.index)
        if not metadata.headers:
            places.setdefault(TopicPartition(*metadata[:2]), []).append(metadata.offset)
    lost = client.lost_headers(places) if places else {}
    if not lost:
        return batch, step

    def lost_of(metadata: RecordMetadata) -> Unreadable | None:
        n_bytes = lost.get((TopicPartition(*metadata[:2]), metadata.offset))
        if n_bytes is None:
            return None
        message = (
            f"headers: the client cannot read as many as this record has ({n_bytes:,} bytes), so "
            "its content type is not known; send fewer headers, or use --client kafka-python"
        )
        return Unreadable((), RecordDecodeError(message), {"headers": n_bytes})

    def metadata_with_lost(index: int) -> RecordMetadata:
        metadata = batch.metadata(index)
        headers = lost_of(metadata)
        return metadata if headers is None else metadata._replace(headers=headers)

    def explained(rejected: Rejected) -> Rejected:
        headers = lost_of(batch.metadata(rejected.index))
        # What was found to be wrong later does not depend on the headers.
        if headers is None or rejected.stage != "decode":
            return rejected
        return replace(rejected, error=headers.error)

    rejected = [explained(each) for each in step.rejected]
    return replace(batch, metadata=metadata_with_lost), replace(step, rejected=rejected)
