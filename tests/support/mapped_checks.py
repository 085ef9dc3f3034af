"""What must hold whatever records are that `[input]` reads: for hypothesis and the fuzzer."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import avro_forms
import numpy as np
import proto_forms
from avro_forms import framed
from fuzz_checks import Chosen
from fuzz_records import HEADERS, INTERVAL_MS, KEYS, N_RULES_BYTES, Sent, batch_of, pack
from input_forms import FORMS, NAMES, PROTOBUF, Form, records_of

from stream_detector.core.codec.formats import ContentType
from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.features import Features
from stream_detector.recipes.input import InputSection
from stream_detector.schemas.avro import AvroSchema
from stream_detector.schemas.mapping import open_mapping

FEATURES = Features(NAMES)
SCHEMAS: dict[int | str, Any] = {99: PROTOBUF}
SCHEMAS |= {number: AvroSchema(each.text) for number, each in enumerate(avro_forms.FORMS)}
NAMING = [
    Form(
        f"{each.name}, of a registry",
        {"format": "avro", **each.table},
        lambda sample, _, number=number, form=each: [
            framed(number, form.encode(sample.key, sample.time_ms, sample.values))
        ],
    )
    for number, each in enumerate(avro_forms.FORMS)
]
NAMING.append(
    Form(
        "protobuf, of a registry",
        {"format": "protobuf", **proto_forms.TABLE},
        lambda each, _: [
            framed(99, proto_forms.encode(PROTOBUF, each.key, each.time_ms, each.values))
        ],
    )
)
READ = [*(form for form in FORMS if form.table and form.n_features == len(NAMES)), *NAMING]
"""Forms whose `[input]` reads any records; the last ones name schemas."""

CONTENT_TYPES: tuple[ContentType | None, ...] = (
    None,
    "json",
    "csv",
    "influx",
    "float32",
    "avro",
    "protobuf",
)


@cache
def mapping_of(form: int) -> InputMapping:
    """Return what reads the records of a form, by its place in `READ`."""
    mapping = open_mapping(InputSection.model_validate(READ[form].table), NAMES)
    assert mapping is not None
    return mapping


def check_any_mapped(number: int, sent: Sequence[Sent]) -> None:
    """Check records of any kind; the number chooses the form and the content type."""
    chosen = Chosen(number)
    check_mapped(mapping_of(chosen.of(*range(len(READ)))), chosen.of(*CONTENT_TYPES), sent)


def check_mapped(
    mapping: InputMapping, content_type: ContentType | None, sent: Sequence[Sent]
) -> None:
    """Check that each record is used or rejected, and means alone what it means among others."""

    def decode(some: Sequence[Sent]) -> Any:
        batch = replace(batch_of(some), schemas=SCHEMAS)
        return decode_mapped_samples(
            batch, content_type, mapping, features=FEATURES, interval_ms=INTERVAL_MS
        )

    batch, samples = decode(sent)
    used, rejected = samples.indices.tolist(), [each.index for each in samples.rejected]
    assert sorted([*used, *rejected]) == list(range(len(sent)))
    assert samples.counts.sum() == len(samples.values) == len(samples.times_ms)
    assert (samples.counts > 0).all()
    ends = np.cumsum(samples.counts)
    for row, count, end in zip(used, samples.counts, ends, strict=True):
        alone, own = decode([sent[row]])
        assert own.values.tobytes() == samples.values[end - count : end].tobytes(), sent[row]
        assert own.times_ms.tolist() == samples.times_ms[end - count : end].tolist()
        assert (np.diff(own.times_ms) >= 0).all()
        assert alone.keys()[0] == batch.keys()[row]
        assert batch.keys()[row]
    for each in samples.rejected:
        [own_rejected] = decode([sent[each.index]])[1].rejected
        assert str(own_rejected.error) == str(each.error)


def mapped_seeds(n_records: int = 12) -> Iterator[bytes]:
    """Yield, for each form, its records with some of other forms and some that are cut short."""
    good = [[each.value or b"" for each in records_of(form, "t")] for form in READ]
    for number, values in enumerate(good):
        draw = random.Random(number)
        records = []
        for at, own in enumerate(values[:n_records]):
            other = draw.choice(good)[at % 2]
            value = draw.choice([own, own, own, own[: draw.randrange(len(own))], other])
            headers = draw.randrange(len(HEADERS)) if draw.random() < 0.2 else 0
            records.append(pack(draw.randrange(len(KEYS)), headers, at, value[:500]))
        yield number.to_bytes(N_RULES_BYTES, "little") + b"".join(records)
