"""The pure part: arrays and plain values in, arrays and plain values out.

No clock, no I/O, no logging, no environment and no global random state.
"""
