"""How records that other programs write are read: where key, time and features stand in them.

Pure, and a description only: `stream_detector.core.codec.mapped_samples` reads records by it. The
table `[input]` of a recipe is its form on disk; without that table there is no mapping, and records
look as `stream_detector.core.codec.json_format` says.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from stream_detector.core.codec.paths import Path, parse_path

TimeUnit = Literal["s", "ms", "us", "ns", "iso8601"]
"""In which unit a time is, or that it is a date as ISO 8601 writes it; one without zone is UTC."""

TIME_UNITS: tuple[TimeUnit, ...] = get_args(TimeUnit)

TO_MS: dict[TimeUnit, tuple[float, float]] = {
    "s": (1e3, 1.0),
    "ms": (1.0, 1.0),
    "us": (1.0, 1e3),
    "ns": (1.0, 1e6),
}
"""By what a number in each unit is multiplied, and then divided, to be milliseconds."""

HEADER = "header:"
"""Before the name of a header, in place of a path."""


class Place(NamedTuple):
    """Where the key or the time of a record is.

    Parameters
    ----------
    text
        As the recipe has it, for messages.
    header
        Name of the header, in lower case; empty where it is in the value.
    path
        Where in the value.

    Examples
    --------
    >>> Place.parse("header:Device"), Place.parse("tags.host").path
    (Place(text='header:Device', header='device', path=((),)), (('tags', 'host'),))
    """

    text: str
    header: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Return the place that a text means.

        Raises
        ------
        ValueError
            If it is no path; the message says where it cannot be read.
        """
        if text.startswith(HEADER):
            return cls(text, text.removeprefix(HEADER).strip().lower(), ((),))
        return cls(text, "", parse_path(text))


def is_inside(place: Place | None) -> bool:
    """Return whether a place is in the value of a record."""
    return place is not None and not place.header


class FeaturePath(NamedTuple):
    """Where one feature is.

    Parameters
    ----------
    name
        Of the feature.
    text
        The path as the recipe has it, for messages.
    path
        Where in a reading.
    """

    name: str
    text: str
    path: Path


class TagPlaces(NamedTuple):
    """Where a reading says which feature it is of, and what the value is."""

    name: Place
    value: Place


@dataclass(frozen=True, slots=True)
class InputMapping:
    """Where key, time and features stand in records.

    Parameters
    ----------
    format
        Name of the format of records whose headers name none and for which no setting does.
    key
        Where the key is; None is the record's own.
    time, time_unit
        Where the time is, and in which unit; None is the record's own.
    features
        Where each feature is, in the order of the bundle; empty where `values` or `tags` say it.
    values
        Where the array of values is, as in records without a mapping.
    tags
        Where a reading says of which feature it is; None where a reading has all features.
    readings
        Where the array of readings is; None where the record is one reading.
    is_text
        Whether numbers may be text.
    may_lack
        Whether a record may lack features, which are then missing values.
    skips_others
        Whether a record whose readings are all of other features is only counted; else it is a dead
        letter.
    deleted
        Where null says that a row was deleted, as a record without a value does; such records are
        only counted. None where they are dead letters.
    delimiter
        Between two cells of a line of CSV.
    schema
        That of all records of a format with schemas, as a `Schema` of
        `stream_detector.core.codec.schemas`; None where each record names its own.
    """

    format: str = "json"
    key: Place | None = None
    time: Place | None = None
    time_unit: TimeUnit = "ms"
    features: tuple[FeaturePath, ...] = ()
    values: Place | None = None
    tags: TagPlaces | None = None
    readings: Place | None = None
    is_text: bool = False
    may_lack: bool = False
    skips_others: bool = False
    deleted: Place | None = None
    delimiter: str = ","
    schema: Any = None
