"""A live page on the stream: what is open, where it was, and what a key looked like.

Reads topics in no group and writes nothing. It knows ports, the core and the bundle, never a client
or an engine.
"""
