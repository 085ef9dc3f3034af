"""Every error the project raises, as one tree.

::

    StreamDetectorError            exit 1, not retriable
    ├── ConfigError                exit 2; all problems at once
    ├── DataError                  one record: it becomes a dead letter
    │   ├── RecordDecodeError      the bytes are not what the content type says
    │   ├── RecordShapeError       the wrong number of values
    │   ├── RecordValueError       NaN, infinite, or far outside what the bundle can score
    │   ├── RecordSchemaError      its schema is not known, or cannot be used
    │   ├── RecordOrderError       too late to be put in order
    │   ├── RecordDeletionError    a row was deleted; counted only, and no dead letter
    │   ├── RecordSkippedError     it has other features only; counted only, and no dead letter
    │   ├── AlertRefusedError      usable, but Kafka did not take its alert
    │   ├── AlertUndeliveredError  a sink of a route did not take an alert
    │   └── KeyLimitError          its key is new, and its partition has keys_max keys
    ├── DatasetError               exit 6; missing, or its sha256 differs
    │   └── TooLargeError          it does not fit into memory
    ├── BundleError                exit 3; half a model is never served
    │   ├── BundleNotFoundError
    │   ├── BundleIntegrityError   a file changed, or the self-test gave another error
    │   ├── BundleMismatchError    made for other libraries, or for another shape
    │   └── NonFiniteScoreError    finite input gave a non-finite score
    ├── BrokerError                exit 4, once retries are spent
    │   ├── BrokerUnavailableError retriable
    │   ├── DeliveryError          retriable
    │   ├── RecordRefusedError     single records, for their size, time or missing key
    │   └── FencedError            another process took this one's place
    ├── SchemaRegistryError        exit 4: it refused, or is none
    │   └── SchemaRegistryUnavailableError retriable
    ├── StateError                 exit 5; digest or offset cannot be trusted
    └── AllRejectedError           exit 7; detect --fail-when-all-rejected

A message says what happened, where, what was expected, what was received and
what to do about it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

from stream_detector.text import printable, shorten

Refusal = Literal["size", "timestamp", "content"]
"""Why a broker refuses a single record: it is larger than the topic accepts, its time is too far
from the broker's, or something else about it is wrong, as a missing key in a compacted topic."""


class StreamDetectorError(Exception):
    """Anything this project raises on purpose; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1
    retriable: ClassVar[bool] = False


class ConfigError(StreamDetectorError):
    """A recipe, a setting or a flag is wrong; the message lists every problem found."""

    exit_code = 2


class DataError(StreamDetectorError):
    """One record or one row cannot be used; its neighbours can.

    Parameters
    ----------
    message
        What is wrong. It may repeat foreign text: what is not printable in it is escaped, and it is
        cut at `text.ERROR_CHARACTERS_MAX`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shorten(printable(message)))


class RecordDecodeError(DataError):
    """The bytes of a record are not what its content type says."""


class RecordShapeError(DataError):
    """A record holds another number of values than the bundle expects."""


class RecordValueError(DataError):
    """A record holds NaN, an infinity or a value too large to score."""


class RecordSchemaError(DataError):
    """The schema that a record names is not in the registry, or cannot be used."""


class RecordOrderError(DataError):
    """A record arrived too late to be put in order."""


class RecordDeletionError(DataError):
    """A record says that a row was deleted; with `input.deletions` it is only counted."""


class RecordSkippedError(DataError):
    """A record has other features only; with `input.other_features` it is only counted."""


class AlertRefusedError(DataError):
    """The topic of the alerts did not take the alert of a record."""


class AlertUndeliveredError(DataError):
    """A sink of a route did not take an alert."""


class KeyLimitError(DataError):
    """The key of a record is new, and its partition has as many keys with state as it may have."""


class DatasetError(StreamDetectorError):
    """A data set is missing, or its sha256 is not the known one."""

    exit_code = 6


class TooLargeError(DatasetError):
    """Data do not fit into the memory that is free.

    Parameters
    ----------
    problem
        What does not fit, how much it would take, and how much there is.
    remedy
        What to do instead. Who knows more of what the data are for puts another in its place.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        super().__init__(f"{problem}; {remedy}")


class BundleError(StreamDetectorError):
    """A bundle cannot be trusted or used."""

    exit_code = 3


class BundleNotFoundError(BundleError):
    """The bundle's folder, or a file its manifest names, is not there."""


class BundleIntegrityError(BundleError):
    """A file of the bundle is not the one that was written, or its self-test fails."""


class BundleMismatchError(BundleError):
    """The bundle was made for other library versions or for windows of another shape."""


class NonFiniteScoreError(BundleError):
    """The network gave a non-finite score for a finite window."""


class BrokerError(StreamDetectorError):
    """Kafka refused, or the retries are spent."""

    exit_code = 4


class BrokerUnavailableError(BrokerError):
    """No broker answered, or it answered that it cannot serve yet."""

    retriable = True


class DeliveryError(BrokerError):
    """A produced record was not acknowledged."""

    retriable = True


class RecordRefusedError(BrokerError):
    """Kafka refused records for what they are; it may accept the same without that.

    Parameters
    ----------
    message
        What was refused, and why.
    refusals
        What is wrong with records, by their numbers, counted from 0 since the last flush. A
        library may name all records of a request although only one of them is at fault.
    undelivered
        Numbers of all records that were not acknowledged, ascending: the refused ones and those
        that were lost with them.
    """

    def __init__(
        self, message: str, refusals: Mapping[int, Refusal], undelivered: Sequence[int]
    ) -> None:
        super().__init__(message)
        self.refusals = dict(refusals)
        self.undelivered = tuple(undelivered)


class FencedError(BrokerError):
    """Another process took over this one's transactions or group membership."""


class SchemaRegistryError(StreamDetectorError):
    """The schema registry refused a request, or what answers is no schema registry."""

    exit_code = 4


class SchemaRegistryUnavailableError(SchemaRegistryError):
    """The schema registry does not answer, or says that it cannot serve yet."""

    retriable = True


class StateError(StreamDetectorError):
    """The committed metadata or an offset cannot be trusted."""

    exit_code = 5


class AllRejectedError(StreamDetectorError):
    """All records of the topic are rejected, and `detect` was asked to end then."""

    exit_code = 7


def missing_topics(bootstrap_servers: str, topics: Iterable[str]) -> BrokerError:
    """Return the error for topics that do not exist, with the commands that create them."""
    names = list(topics) or ["TOPIC"]
    commands = "; ".join(
        f"kafka-topics.sh --bootstrap-server {bootstrap_servers} --create --topic {name} "
        "--partitions 4"
        for name in names
    )
    message = f"no such topic on {bootstrap_servers}: {', '.join(names)}; make it with: {commands}"
    return BrokerError(message)
