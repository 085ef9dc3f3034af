"""kafka-python's errors, mapped to ours."""

import socket
import struct
from collections.abc import Iterable

from kafka import errors as kafka_errors

from stream_detector.clients import _errors
from stream_detector.errors import BrokerError, missing_topics

# What the library raises: its own errors, and those of sockets, TLS files and its arguments.
LIBRARY_ERRORS = (
    kafka_errors.KafkaError,
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    struct.error,
)

_LOST_PARTITIONS = (
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.MemberIdRequiredError,
    kafka_errors.FencedMemberEpochError,
    kafka_errors.StaleMemberEpochError,
)
_FENCED = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.InvalidProducerIdMappingError,
    kafka_errors.FencedInstanceIdError,
    kafka_errors.UnreleasedInstanceIdError,
    kafka_errors.TransactionCoordinatorFencedError,
)
_DENIED = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
    kafka_errors.SecurityDisabledError,
    kafka_errors.DelegationTokenAuthDisabledError,
    kafka_errors.DelegationTokenNotFoundError,
    kafka_errors.DelegationTokenOwnerMismatchError,
    kafka_errors.DelegationTokenRequestNotAllowedError,
    kafka_errors.DelegationTokenExpiredError,
    kafka_errors.InvalidPrincipalTypeError,
    kafka_errors.PrincipalDeserializationFailureError,
    kafka_errors.UnacceptableCredentialError,
)
_TOO_LARGE = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
)
# Not marked retriable by the library, yet over once the producer or the connection is new.
_UNAVAILABLE = (
    kafka_errors.BrokerNotAvailableError,
    kafka_errors.UnknownBrokerIdError,
    kafka_errors.QuotaViolationError,
    kafka_errors.TransactionAbortedError,
    kafka_errors.TransactionAbortableError,
    kafka_errors.OutOfOrderSequenceNumberError,
    kafka_errors.UnknownProducerIdError,
    kafka_errors.NewLeaderElectedError,
    kafka_errors.StaleBrokerEpochError,
    kafka_errors.OperationNotAttemptedError,
    kafka_errors.KafkaProtocolError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
)


def map_error(
    error: BaseException,
    servers: str,
    topics: Iterable[str] = (),
    transactional_id: str | None = None,
    group: str | None = None,
) -> BrokerError:
    """Return our error for one of kafka-python's.

    Parameters
    ----------
    error
        What the library raised, or what a record's acknowledgement holds.
    servers
        The bootstrap servers, for the message.
    topics
        Topics that were in use, for the message about a missing one.
    transactional_id
        The id that was in use, for the message about one that may not be used.
    group
        The consumer group, for the message about one with other members.
    """
    reason = str(error) or type(error).__name__
    is_id_denied = isinstance(error, kafka_errors.TransactionalIdAuthorizationFailedError)
    if is_id_denied and transactional_id is not None:
        reason += f" ({transactional_id})"
    if isinstance(error, kafka_errors.InconsistentGroupProtocolError) and group is not None:
        reason += f" ({group})"
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return missing_topics(servers, topics)
    for kinds, build in (
        (_DENIED, _errors.denied),
        (_FENCED, _errors.fenced),
        (_LOST_PARTITIONS, _errors.lost_partitions),
        (kafka_errors.InconsistentGroupProtocolError, _errors.foreign_members),
        (_TOO_LARGE, _errors.too_large),
        (kafka_errors.InvalidTimestampError, _errors.bad_timestamp),
        (kafka_errors.InvalidRecordError, _errors.bad_content),
        (kafka_errors.CorruptRecordError, _errors.damaged),
        (_UNAVAILABLE, _errors.unavailable),
    ):
        if isinstance(error, kinds):
            return build(servers, reason)
    # Such a record is lost with another one of its request that is refused.
    if type(error) is kafka_errors.KafkaError and "part of a batch" in reason:
        return _errors.unavailable(servers, reason)
    # What keeps an idempotent producer from its id comes as text in an error of no class.
    if type(error) is kafka_errors.KafkaError and "AuthorizationFailed" in reason:
        return _errors.denied(servers, reason)
    if isinstance(error, kafka_errors.KafkaError) and error.retriable:
        return _errors.unavailable(servers, reason)
    return _errors.refused(servers, reason)
