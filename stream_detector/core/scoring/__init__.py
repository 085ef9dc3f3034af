"""Scores of windows: scaling, scorers, thresholds and explanations."""
