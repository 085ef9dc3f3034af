"""The highest anomaly score of each key in each short time: what the swim lanes show.

A ring of columns, one for each `BIN_MS` of event time, and a row for each key. Memory is bounded by
`KEYS_MAX`: where a further key comes, those without a record for the longest go.
"""

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.timestamps import AHEAD_MS_MAX
from stream_detector.web.alert_board import name_of

KEYS_MAX = 20_000
"""Most keys that are kept."""

BIN_MS = 20_000
N_BINS = 180
"""Width of a cell in event time, and cells of a lane: an hour."""

SHOWN_MAX = 200
"""Most lanes in one picture, those with the highest scores."""

SILENT_MS = 60_000
"""A key without a record for so long is silent."""

LEVEL_NORMAL_MAX = 100
"""Highest level of a cell whose score is at most 1; level 0 has no score."""

_N_LEVELS_BEYOND = 154
_LEVELS_A_UNIT = 20.0
_FREED_SHARE = 10
_IN_USE_MS = 2**62
"""Of a key that is being heard of: later than any time."""


@dataclass(slots=True)
class Lanes:
    """Scores by key and time, for any number of threads."""

    n_left_out: int = 0
    _rows: dict[str, int] = field(default_factory=dict)
    _free: list[int] = field(default_factory=lambda: list(range(KEYS_MAX))[::-1])
    _cells: NDArray[np.float32] = field(
        default_factory=lambda: np.full((KEYS_MAX, N_BINS), np.nan, np.float32)
    )
    _seen_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(KEYS_MAX, np.int64))
    _newest_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(KEYS_MAX, np.int64))
    _partitions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(KEYS_MAX, np.int64))
    _is_warm: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(KEYS_MAX, np.bool_))
    _newest: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, keys: Sequence[str], partitions: NDArray[np.int64], now_ms: int) -> None:
        """Take note of the keys of records that came now.

        Parameters
        ----------
        keys
            Key of each record. Length n_records.
        partitions
            Where each record is, shape (n_records,).
        now_ms
            Time of the machine.
        """
        with self._lock:
            rows = self._rows_of(keys)
            self._seen_ms[rows], self._partitions[rows] = now_ms, partitions

    @property
    def newest_ms(self) -> int:
        """Return the newest event time of all keys, to a cell; 0 where there is none."""
        return max(0, (self._newest + 1) * BIN_MS)

    def place_of(self, key: str) -> tuple[int | None, int]:
        """Return the partition of a key, None where it is not known, and its newest event time.

        That is the newest of all keys, 0 where there is none, while the key has no score.
        """
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                return None, self.newest_ms
            return int(self._partitions[row]), int(self._newest_ms[row]) or self.newest_ms

    def add(
        self,
        keys: Sequence[str],
        times_ms: NDArray[np.int64],
        anomaly_scores: NDArray[np.float64],
        now_ms: int,
    ) -> None:
        """Add scored windows.

        Parameters
        ----------
        keys
            Key of each window. Length n_windows.
        times_ms
            Event time at which each ends, shape (n_windows,).
        anomaly_scores
            Score / threshold, shape (n_windows,).
        now_ms
            Time of the machine.
        """
        with self._lock:
            bins = times_ms // BIN_MS  # (n_windows,)
            is_known = times_ms <= now_ms + AHEAD_MS_MAX
            if is_known.any():
                self._advance(int(bins[is_known].max()))
            rows = self._rows_of(keys)
            self._is_warm[rows] = True
            self._seen_ms[rows] = now_ms
            is_kept = is_known & (bins > self._newest - N_BINS)
            np.maximum.at(self._newest_ms, rows[is_known], times_ms[is_known])
            places = rows[is_kept], bins[is_kept] % N_BINS
            np.fmax.at(self._cells, places, anomaly_scores[is_kept].astype(np.float32))

    def picture(self, search: str, now_ms: int) -> dict[str, Any]:
        """Return the lanes with the highest scores, as values that JSON has.

        Parameters
        ----------
        search
            Only keys that contain this text, in any case; all where it is empty.
        now_ms
            Time of the machine.
        """
        wanted = search.casefold()
        with self._lock:
            found = [(key, row) for key, row in self._rows.items() if wanted in key.casefold()]
            rows = np.array([row for _, row in found], np.intp)  # (n_found,)
            with np.errstate(invalid="ignore"):
                worst = np.fmax.reduce(self._cells[rows], axis=1, initial=-1.0)  # (n_found,)
            order = np.argsort(-worst, kind="stable")[:SHOWN_MAX].tolist()
            columns = np.arange(self._newest - N_BINS + 1, self._newest + 1) % N_BINS
            lanes = [
                {
                    "key": found[at][0],
                    "name": name_of(found[at][0]),
                    "worst": float(worst[at]) if worst[at] >= 0 else None,
                    "cells": base64.b64encode(_levels(self._cells[rows[at], columns])).decode(),
                }
                for at in order
            ]
            end_ms = (self._newest + 1) * BIN_MS
            counts = self._counts(now_ms)
        return {
            **counts,
            "n_found": len(found),
            "lanes": lanes,
            "bin_ms": BIN_MS,
            "n_bins": N_BINS,
            "end_ms": end_ms,
        }

    def counts(self, now_ms: int) -> dict[str, int]:
        """Return how many keys have scores, have none yet, and are silent."""
        with self._lock:
            return self._counts(now_ms)

    def _counts(self, now_ms: int) -> dict[str, int]:
        """Return the same, with the lock held."""
        rows = np.fromiter(self._rows.values(), np.intp, len(self._rows))
        is_silent = now_ms - self._seen_ms[rows] > SILENT_MS
        is_warm = self._is_warm[rows]
        return {
            "n_keys": len(rows),
            "n_warm": int((is_warm & ~is_silent).sum()),
            "n_warming": int((~is_warm & ~is_silent).sum()),
            "n_silent": int(is_silent.sum()),
            "n_left_out": self.n_left_out,
        }

    def _advance(self, newest: int) -> None:
        """Empty the columns of times that begin."""
        if newest <= self._newest:
            return
        first = max(self._newest + 1, newest - N_BINS + 1)
        self._cells[:, np.arange(first, newest + 1) % N_BINS] = np.nan
        self._newest = newest

    def _rows_of(self, keys: Sequence[str]) -> NDArray[np.intp]:
        """Return the row of each key, far fewer than `KEYS_MAX`; new ones get theirs."""
        known = [self._rows[key] for key in keys if key in self._rows]
        self._seen_ms[known] = _IN_USE_MS
        for key in dict.fromkeys(keys):
            if key not in self._rows:
                if not self._free:
                    self._make_room()
                row = self._rows[key] = self._free.pop()
                self._cells[row], self._is_warm[row], self._newest_ms[row] = np.nan, False, 0
                self._seen_ms[row] = _IN_USE_MS
        return np.array([self._rows[key] for key in keys], np.intp)

    def _make_room(self) -> None:
        """Free the rows of a tenth of the keys, those without a record for the longest."""
        by_age = sorted(self._rows, key=lambda key: int(self._seen_ms[self._rows[key]]))
        for key in by_age[: KEYS_MAX // _FREED_SHARE]:
            self._free.append(self._rows.pop(key))
            self.n_left_out += 1


def _levels(scores: NDArray[np.float32]) -> bytes:
    """Return cells as bytes: 0 without a score, 1 to 100 up to a score of 1, and above beyond."""
    known = np.where(np.isnan(scores), 0.0, scores)
    normal = 1 + np.floor(known * (LEVEL_NORMAL_MAX - 1))
    beyond = np.minimum(np.floor((known - 1) * _LEVELS_A_UNIT), _N_LEVELS_BEYOND)
    levels = np.where(known > 1, LEVEL_NORMAL_MAX + 1 + beyond, normal)
    return np.where(np.isnan(scores), 0, levels).astype(np.uint8).tobytes()
