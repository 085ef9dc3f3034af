"""The client on kafka-python: pure Python, the default."""
