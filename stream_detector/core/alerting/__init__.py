"""Alerts: the published value, how one is tracked, and when it opens, is updated and closes."""
