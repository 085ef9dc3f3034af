"""Timeouts and sizes that hold for every client.

They are read where they are used, so that a test can shorten one for all clients at once.
"""

CONNECT_TIMEOUT_MS = 4_000
"""Longest wait for the first answer of a broker. The caller decides whether to try again."""

REQUEST_TIMEOUT_MS = 10_000
"""Longest wait for the answer to one request, for example a commit."""

CLOSE_TIMEOUT_MS = 3_000
"""Longest wait for a connection to close in an orderly way; after that it is dropped."""

PROBE_AFTER_S = 5.0
"""A poll that has returned nothing for this long asks the broker whether it is still there: both
libraries keep returning nothing after every broker has gone."""

SESSION_TIMEOUT_MS = 10_000
"""How soon the group gives the partitions of a dead member to another one. Both libraries send
heartbeats from threads of their own, so a long batch does not make a member look dead."""

HEARTBEAT_MS = 1_000
"""How soon a member learns that the group is rebalancing. A partition moves in two rounds, and
each round waits for a heartbeat."""

POLL_INTERVAL_MAX_MS = 300_000
"""How soon a member that is alive but does not poll loses its partitions. The loop takes smaller
batches long before that."""

TRANSACTION_TIMEOUT_MS = 15_000
"""How soon a broker aborts the transaction of a process that stands still. Until then readers see
nothing behind that transaction; afterwards the process is fenced."""

FLUSH_IN_TRANSACTION_MS = 10_000
"""Longest time from the beginning of a transaction to its last acknowledgement. It is well below
`TRANSACTION_TIMEOUT_MS`, so that a slow broker causes a retry of the batch and does not end the
process."""

METADATA_MAX_AGE_MS = 15_000
"""How soon a client notices a moved leader or a new partition at the latest."""

NEW_TOPIC_MS = 2_000
"""How long a topic may be unknown before it counts as missing: right after its creation some
brokers of a cluster do not know it yet, and any broker may be the one that is asked."""

UNACKNOWLEDGED_RECORDS_MAX = 10_000
"""Most records that may be sent and not yet acknowledged; the next one waits."""

UNACKNOWLEDGED_BYTES_MAX = 64 * 1024 * 1024
"""The same limit in bytes of keys and values."""

PRODUCE_BYTES_MAX = 32 * 1024 * 1024
"""Largest record that a client sends. It is above Kafka's own default, so that
`max.message.bytes` of the topic decides and no large dead letter is refused on this side."""
