"""Record formats: bytes to arrays and back.

`formats` is the registry; each format is a module of its own, written against `decoding`. `windows`
and `samples` decode a batch of either record shape; `dead_letters` writes and reads rejected
records.
"""
