"""Batches of windows that are read from a file while a network is fitted to them.

The order of windows is drawn anew in each epoch, as far as memory allows: row groups are read in
random order, and so many windows at a time are mixed as may be held::

    row groups of the file     0 1 2 3 4 5
    as drawn for an epoch      4 1 | 0 5 | 3 2
    mixed, and cut in batches  [4 and 1] [0 and 5] [3 and 2]

Two windows of one row group are never further apart than that. Where all windows can be held, or
the rows of the file are in random order, this is as good as a draw of all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.datasets.window_stream import WindowStream
from stream_detector.recipes.training import TrainingSection
from stream_detector.training.pairs import PREFETCHED, Pairs, with_noise


@dataclass(frozen=True, slots=True)
class StreamedPairs:
    """Inputs and targets of a network, read and scaled in each epoch.

    Parameters
    ----------
    stream
        The windows.
    scaler
        Scales them.
    noise, seed
        Of the training.
    n_mixed
        How many windows are held to be mixed; a part of a row group may come on top.
    """

    stream: WindowStream
    scaler: Scaler
    noise: float
    seed: int
    n_mixed: int

    @property
    def n_windows(self) -> int:
        """Return the number of windows of an epoch."""
        return len(self.stream)

    def arguments(self, training: TrainingSection) -> dict[str, Any]:
        """Return what Keras' `fit` is to be called with, as to windows and batches."""
        import tensorflow  # noqa: PLC0415  (slow to load)

        windows = tensorflow.TensorSpec((None, *self.stream.source.shape), tensorflow.float32)
        batches = tensorflow.data.Dataset.from_generator(
            lambda: self._epochs(training), output_signature=(windows, windows)
        )
        return {
            "x": batches.prefetch(PREFETCHED),
            "steps_per_epoch": -(-self.n_windows // training.batch_size),
        }

    def batches(self, epoch: int, batch_size: int) -> Iterator[Pairs]:
        """Yield the batches of an epoch, counted from 0, each window once; the last may be smaller.

        The same epoch of the same seed has the same batches.
        """
        rng = np.random.default_rng([self.seed, epoch])
        rest: Pairs | None = None
        for held in self._held(rng):
            order = rng.permutation(held.n_windows)  # (n_held,)
            n_before = 0 if rest is None else rest.n_windows
            # What is left of the windows before is completed to a batch with the first of these.
            ends = np.arange(batch_size - n_before, len(order) + 1, batch_size).tolist()
            for start, end in zip([0, *ends], ends, strict=False):
                yield _joined(rest, _of(held, order[start:end]))
                rest = None
            rest = _joined(rest, _of(held, order[ends[-1] if ends else 0 :]))
        if rest is not None and rest.n_windows:
            yield rest

    def _epochs(self, training: TrainingSection) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Yield the batches of all epochs, one after the other.

        TensorFlow takes the memory of an array without a copy and may write into it, so inputs and
        targets must not be one array here: weights were seen to depend on chance.
        """
        for epoch in range(training.epochs):
            for inputs, targets in self.batches(epoch, training.batch_size):
                yield inputs, targets.copy()

    def _held(self, rng: np.random.Generator) -> Iterator[Pairs]:
        """Yield as many windows as may be held, of row groups in random order."""
        parts: list[Pairs] = []
        n_held = 0
        for pairs in self._pairs(rng.permutation(len(self.stream.source.starts))):
            parts.append(pairs)
            n_held += pairs.n_windows
            if n_held >= self.n_mixed:
                yield _concatenated(parts)
                parts, n_held = [], 0
        if n_held:
            yield _concatenated(parts)

    def _pairs(self, order: NDArray[np.intp]) -> Iterator[Pairs]:
        """Yield the windows of row groups, with the noise that a window has in every epoch."""
        before, noise = -1, np.random.default_rng()
        for number, windows in self.stream.parts(order.tolist()):
            if number != before:
                before, noise = number, np.random.default_rng([self.seed, number])
            yield with_noise(self.scaler.transform(windows), self.noise, noise)


def _of(pairs: Pairs, rows: NDArray[np.intp]) -> Pairs:
    """Return some windows; what is one array stays one."""
    inputs = pairs.inputs[rows]
    return Pairs(inputs, inputs if pairs.targets is pairs.inputs else pairs.targets[rows])


def _joined(first: Pairs | None, second: Pairs) -> Pairs:
    """Return windows, and others after them."""
    return second if first is None else _concatenated([first, second])


def _concatenated(parts: list[Pairs]) -> Pairs:
    """Return the windows of some parts; what is one array stays one."""
    inputs = np.concatenate([part.inputs for part in parts])
    if all(part.targets is part.inputs for part in parts):
        return Pairs(inputs, inputs)
    return Pairs(inputs, np.concatenate([part.targets for part in parts]))
