"""How many batches of kafka-python one poll begins to read."""

from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from stream_detector.clients.kafka_python.poll_budget import BoundedBatches, PollBudget

ZIPPED = 1


def batches_of(*n_bytes: int) -> tuple[MemoryRecords, list[int]]:
    """Return compressed batches with values of so many bytes, and what each of them holds."""
    data, sizes = b"", []
    for size in n_bytes:
        found = []
        for codec in (ZIPPED, 0):
            builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=10**9)
            builder.append(timestamp=0, key=None, value=bytes(size))
            builder.close()
            found.append(bytes(builder.buffer()))
        data += found[0]
        sizes.append(len(found[1]) - 61)  # without the header of a batch
    return MemoryRecords(data), sizes


def read(batches: BoundedBatches) -> int:
    """Read batches as the library does; return how many came."""
    n_batches = 0
    while (batch := batches.next_batch()) is not None:
        list(batch)
        n_batches += 1
    return n_batches


def test_a_poll_ends_before_the_batch_that_would_be_too_much() -> None:
    for n_less, expected in ((0, 3), (1, 2)):
        batches, (size, *_) = batches_of(1_000, 1_000, 1_000, 1_000)
        budget = PollBudget(3 * size - n_less)
        assert read(BoundedBatches(batches, budget)) == expected


def test_a_batch_is_read_whatever_it_holds() -> None:
    budget = PollBudget(1)
    for _ in range(2):
        batches, _ = batches_of(1_000, 1_000)
        assert read(BoundedBatches(batches, budget)) == 1
        budget.begin_poll()


def test_the_fetches_of_a_poll_share_its_budget() -> None:
    for n_less, expected in ((0, 1), (1, 0)):
        first, (size, _) = batches_of(1_000, 1_000)
        second, _ = batches_of(1_000, 1_000, 1_000)
        budget = PollBudget(3 * size - n_less)
        assert read(BoundedBatches(first, budget)) == 2
        assert read(BoundedBatches(second, budget)) == expected
