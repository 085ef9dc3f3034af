"""Schemas of records: read from text, and fetched from a Schema Registry.

What is here fits `stream_detector.core.codec.schemas.Schema` and
`stream_detector.ports.SchemaSource`. The libraries underneath come with the extra `registry`.
"""
