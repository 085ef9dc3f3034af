"""Records of a JSON Schema, which are plain JSON: what is in them is said by `[input]` alone."""

from collections.abc import Sequence
from typing import Any

import orjson

from stream_detector.core.codec.avro_columns import AvroLayout
from stream_detector.core.codec.json_format import read_document
from stream_detector.core.codec.mapping import InputMapping


class JsonSchema:
    """Reads values of any JSON Schema, as `stream_detector.core.codec.schemas.Schema`.

    Nothing is checked by the schema: a record that a producer's own check let pass has what
    `[input]` looks for, or is rejected for that.
    """

    layout: AvroLayout | None = None

    def read_document(self, value: bytes) -> Any:
        """Return what a value holds."""
        return read_document(value, InputMapping())

    def read_documents(self, values: Sequence[bytes]) -> list[Any] | None:
        """Return what many values hold, None where one of them is no JSON."""
        try:
            return list(map(orjson.loads, values))
        except ValueError:
            return None
