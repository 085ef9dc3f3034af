"""The table `[input]` of a recipe: where key, time and features are in the records of a topic."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from stream_detector.core.codec.formats import DocumentFormat
from stream_detector.core.codec.mapping import (
    HEADER,
    TIME_UNITS,
    FeaturePath,
    InputMapping,
    Place,
    TagPlaces,
    TimeUnit,
)
from stream_detector.core.codec.paths import parse_path
from stream_detector.errors import ConfigError
from stream_detector.recipes.presets import PRESETS, PresetName
from stream_detector.recipes.section import Section
from stream_detector.text import printable, shorten

SCHEMA_BYTES_MAX = 1_048_576
"""Longest text of a schema."""

_OBJECT, _TAGS = ("values",), ("feature_name", "feature_value")
"""Keys that say where features are, in either of two ways."""

_SCHEMAS = {"avro_schema": "avro", "protobuf_schema": "protobuf"}
"""Keys with the schema of all records, and the format of these."""

_JSON_STARTS = ("{", "[", '"')
"""How the text of an Avro schema begins, which no name of a file does."""


def _path(text: str) -> str:
    """Accept a path."""
    try:
        parse_path(text)
    except ValueError as error:
        kind, context = "bad_path", {"why": str(error)}
        message = "Input should be a path such as payload.temp; {why}"
        raise PydanticCustomError(kind, message, context) from None
    return text


def _place(text: str) -> str:
    """Accept a path, or a header."""
    if not text.startswith(HEADER):
        return _path(text)
    if not text.removeprefix(HEADER).strip():
        kind, message = "bad_header", "Input should be a name after header:"
        raise PydanticCustomError(kind, message)
    return text


PathText = Annotated[str, Field(max_length=1_024), AfterValidator(_path)]
PlaceText = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(_place)]


class InputSection(Section):
    """Where key, time and features are in the records of a topic.

    Without this table records look as [Record formats](record-formats.md) says. A path is names
    with dots between them: [Your records as they are](../how-to/your-records.md) has examples. For
    a run, `detect --set input.KEY=VALUE` and the table `[input]` of a settings file change a key.
    """

    preset: PresetName | None = Field(
        default=None,
        description="Form of the records of a common program; keys beside it win over what it says",
    )
    format: DocumentFormat | None = Field(
        default=None,
        description="Format of records whose content-type header names none, unless the setting "
        "content_type does; json if not given",
    )
    key: PlaceText | None = Field(
        default=None,
        description="The key of the series: header:NAME or a path in the value; the Kafka key if "
        "not given",
    )
    time: PlaceText | None = Field(
        default=None,
        description="The time: header:NAME or a path in the value; timestamp_ms in the value, else "
        "the Kafka record's time, if not given",
    )
    time_unit: TimeUnit | Literal["auto"] | None = Field(
        default=None,
        description="Unit of that time: s, ms, us, ns, or iso8601 for dates, where one without a "
        "zone is UTC; ms if not given. auto takes the unit of the training file, when the bundle "
        "is made",
    )
    values: PathText | None = Field(
        default=None,
        description="The object with the features by name, or the array of values; "
        'values if not given, "" is the record itself',
    )
    features: dict[str, PathText] | None = Field(
        default=None,
        description="Paths of features that are elsewhere, or have another name in the record: "
        'temperature = "payload.temp"; with feature_name, the name that stands for a feature',
    )
    feature_name: PathText | None = Field(
        default=None,
        description="One feature a record or reading: the path of its name; features of the same "
        "time are one sample",
    )
    feature_value: PathText | None = Field(
        default=None, description="With feature_name: the path of the value"
    )
    readings: PathText | None = Field(
        default=None,
        description="An array of readings in one record, all of one series: its path; all other "
        "paths are then those in a reading, key and time also in what is around it",
    )
    delimiter: Annotated[str, Field(pattern=r'^[^"\r\n]$')] | None = Field(
        default=None, description="csv only: what stands between two cells; a comma if not given"
    )
    avro_schema: Annotated[str, Field(min_length=1, max_length=SCHEMA_BYTES_MAX)] | None = Field(
        default=None,
        description="File with the Avro schema of all records, which do not name one in a Schema "
        "Registry. The bundle holds its text",
    )
    protobuf_schema: Annotated[str, Field(min_length=1, max_length=SCHEMA_BYTES_MAX)] | None = (
        Field(default=None, description="Likewise: the .proto file that describes all records")
    )
    protobuf_message: str | None = Field(
        default=None,
        description="The message of that file that a record is; needed if it has several",
    )
    numbers: Literal["number", "text"] | None = Field(
        default=None,
        description="text: numbers may be text, and words such as unavailable are missing values; "
        "number if not given",
    )
    absent: Literal["reject", "missing"] | None = Field(
        default=None,
        description="A feature that a record does not have: reject makes it a dead letter, missing "
        "a missing value, as long as there is another feature; reject if not given",
    )

    other_features: Literal["reject", "skip"] | None = Field(
        default=None,
        description="With feature_name, a record whose features are all others than the bundle's: "
        "reject makes it a dead letter, skip only counts it; reject if not given",
    )
    deletions: Literal["reject", "skip"] | None = Field(
        default=None,
        description="Records without a value (tombstones), or with null in the place of `values`: "
        "reject makes them dead letters, skip only counts them; reject if not given",
    )

    @property
    def is_given(self) -> bool:
        """Whether there is such a table."""
        return any(value is not None for value in self.model_dump().values())

    def resolved(self) -> dict[str, Any]:
        """Return the keys that have a value: the recipe's own, and of its preset's the others.

        Own keys that say where features are take the place of all of the preset's that do.
        """
        own = {name: value for name, value in self.model_dump().items() if value is not None}
        preset = own.pop("preset", None)
        found = dict(PRESETS[preset]) if preset is not None else {}
        for names, others in ((_OBJECT, _TAGS), (_TAGS, _OBJECT)):
            if own.keys() & set(names):
                found = {name: value for name, value in found.items() if name not in others}
        return found | own

    def with_schema_text(self) -> "InputSection":
        """Return the table with the text of the schema whose file it names.

        Raises
        ------
        ConfigError
            If the file cannot be read, is too large, or holds no JSON or no message.
        """
        avro, protobuf = self.avro_schema, self.protobuf_schema
        texts: dict[str, str] = {}
        if avro is not None and avro.lstrip()[:1] not in _JSON_STARTS:
            texts["avro_schema"] = _read_schema("avro_schema", avro, _avro_text)
        if protobuf is not None and "{" not in protobuf:
            texts["protobuf_schema"] = _read_schema("protobuf_schema", protobuf, _protobuf_text)
        return self.model_copy(update=texts) if texts else self

    def decided(self, time_format: str | None) -> "InputSection":
        """Return the table as a bundle holds it: with the unit of "auto", and the schema's text.

        Parameters
        ----------
        time_format
            What `data.time_format` is: the records of the topic are taken to have the times of the
            file. None is milliseconds.

        Raises
        ------
        ConfigError
            If the file's times have a form that records cannot have, or the schema cannot be read.
        """
        table = self.with_schema_text()
        if self.time_unit != "auto":
            return table
        unit = {None: "ms", "iso": "iso8601"}.get(time_format, time_format)
        if unit not in TIME_UNITS:
            message = (
                f"input.time_unit: auto takes the unit of data.time_format, which is "
                f"{time_format!r}; name {', '.join(TIME_UNITS)}"
            )
            raise ConfigError(message)
        return table.model_copy(update={"time_unit": unit})

    def mapping(self, features: Sequence[str]) -> InputMapping | None:
        """Return how records are read that hold these features, None without a table.

        Parameters
        ----------
        features
            Names of the bundle's features, in order.

        Raises
        ------
        ConfigError
            If the table names a feature that the bundle does not have.
        """
        if not self.is_given:
            return None
        found = self.resolved()
        named: Mapping[str, str] = found.get("features", {})
        if found.get("time_unit") == "auto":
            message = (
                "input.time_unit: expected s, ms, us, ns or iso8601, received 'auto', which is "
                "decided when a bundle is made"
            )
            raise ConfigError(message)
        unknown = [name for name in named if name not in features]
        if unknown:
            message = (
                f"input.features: expected names of the bundle's features {', '.join(features)}, "
                f"received {', '.join(unknown)}"
            )
            raise ConfigError(message)
        tags, values = None, found.get("values", "values")
        if "feature_name" in found:
            tags = TagPlaces(*(Place.parse(found[name]) for name in _TAGS))
            paths = [FeaturePath(name, named.get(name, name), ((),)) for name in features]
        else:
            paths = [
                FeaturePath(name, named[name], parse_path(named[name]))
                if name in named
                else _inside(values, name)
                for name in features
            ]
        has_object = tags is None and not named
        return InputMapping(
            format=found.get("format", _format_of(found)),
            key=_place_of(found.get("key")),
            time=_place_of(found.get("time")),
            time_unit=found.get("time_unit", "ms"),
            features=tuple(paths),
            values=Place.parse(values) if has_object else None,
            tags=tags,
            readings=_place_of(found.get("readings")),
            is_text=found.get("numbers") == "text" or found.get("format") == "csv",
            may_lack=found.get("absent") == "missing",
            skips_others=found.get("other_features") == "skip",
            deleted=Place.parse(values) if found.get("deletions") == "skip" else None,
            delimiter=found.get("delimiter", ","),
        )


def parse_input(values: Mapping[str, Any]) -> InputSection:
    """Check a table that is no part of a recipe yet.

    Raises
    ------
    ConfigError
        If a key is unknown, or values do not fit; the message lists every problem.
    """
    problems = list(input_problems(values, "samples"))
    table = InputSection()
    try:
        table = InputSection.model_validate(dict(values))
    except ValidationError as error:
        for each in error.errors(include_url=False):
            place = ".".join(map(str, ("input", *each["loc"])))
            problems.append(f"{place}: {each['msg']}, received {each['input']!r}")
    if problems:
        raise ConfigError(shorten("; ".join(problems)))
    return table


def input_problems(values: Mapping[str, Any], record: object) -> Iterator[str]:
    """Yield the keys of `[input]` that do not fit each other, or what a record holds.

    Parameters
    ----------
    values
        The raw table.
    record
        What `window.record` is.
    """
    if not values:
        return
    if record == "image":
        yield from _image_problems(values)
    preset = values.get("preset")
    of_preset = PRESETS.get(preset, {}) if isinstance(preset, str) else {}  # type: ignore[call-overload]
    for name, other in (_TAGS, _TAGS[::-1]):
        if name in values and other not in {*values, *of_preset}:
            yield f"input.{name}: expected input.{other} beside it, received none"
    if "values" in values and values.keys() & set(_TAGS):
        yield (
            "input.values: expected only without input.feature_name, received "
            f"{values['values']!r} with {values.get('feature_name')!r}"
        )
    if values.get("other_features") is not None and _TAGS[0] not in {*values, *of_preset}:
        yield (
            "input.other_features: expected input.feature_name beside it, received "
            f"{values['other_features']!r} without"
        )
    if values.get("delimiter") is not None and values.get("format") != "csv":
        yield (
            f"input.delimiter: expected only with input.format = 'csv', received "
            f"{values['delimiter']!r} with {values.get('format')!r}"
        )
    yield from _schema_problems(values, of_preset)
    if values.get("time_unit") is not None and "time" not in {*values, *of_preset}:
        yield (
            f"input.time_unit: expected input.time beside it, received {values['time_unit']!r} "
            "without"
        )


def _schema_problems(values: Mapping[str, Any], of_preset: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys about schemas that do not fit the format, or each other."""
    given = [name for name in _SCHEMAS if values.get(name) is not None]
    for name in given:
        expected = _SCHEMAS[name]
        own_format = values.get("format", of_preset.get("format", expected))
        if own_format != expected:
            yield (
                f"input.{name}: expected only with input.format = {expected!r}, received it with "
                f"{own_format!r}"
            )
    if len(given) > 1:
        yield f"input.{given[1]}: expected only without input.{given[0]}, received both"
    if values.get("protobuf_message") is not None and "protobuf_schema" not in given:
        yield (
            "input.protobuf_message: expected input.protobuf_schema beside it, received "
            f"{values['protobuf_message']!r} without"
        )


def _image_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that records of images cannot have: there is nothing in them to look in."""
    for name, value in values.items():
        is_header = isinstance(value, str) and value.startswith(HEADER)
        if name not in ("key", "time", "time_unit") or (name != "time_unit" and not is_header):
            yield (
                f"input.{name}: expected only input.key and input.time in headers, as in "
                f"header:device, for window.record = 'image', received {value!r}"
            )


def _format_of(found: Mapping[str, Any]) -> str:
    """Return the format of records where no key names it."""
    return next((each for name, each in _SCHEMAS.items() if name in found), "json")


def _read_schema(key: str, name: str, read: Callable[[bytes], str]) -> str:
    """Return the text of the schema in a file."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(SCHEMA_BYTES_MAX + 1)
        if len(content) > SCHEMA_BYTES_MAX:
            message = f"it has more than {SCHEMA_BYTES_MAX:,} bytes"
            raise ValueError(message)
        return read(content)
    except (OSError, ValueError) as error:
        kind = "an Avro schema as JSON" if key == "avro_schema" else "a Protobuf schema"
        message = f"input.{key}: expected a file with {kind}, received {name}: {error}"
        raise ConfigError(shorten(printable(message))) from None


def _avro_text(content: bytes) -> str:
    """Return JSON without blanks."""
    return orjson.dumps(orjson.loads(content)).decode()


def _protobuf_text(content: bytes) -> str:
    """Return the text of a .proto file."""
    text = content.decode()
    if "{" not in text:  # so that a text is never taken for the name of a file
        message = "it holds no message"
        raise ValueError(message)
    return text


def _place_of(text: str | None) -> Place | None:
    """Return the place that a text means, None for none."""
    return None if text is None else Place.parse(text)


def _inside(values: str, name: str) -> FeaturePath:
    """Return where a feature is that has its name in an object."""
    path = tuple((*steps, name) for steps in parse_path(values))
    return FeaturePath(name, f"{values}.{name}" if values else name, path)
