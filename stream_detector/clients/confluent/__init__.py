"""The client on confluent-kafka (librdkafka): an extra, several times the throughput."""
