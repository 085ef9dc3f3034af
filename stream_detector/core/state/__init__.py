"""Keyed state of a detector, and from where in a partition it can be restored."""
