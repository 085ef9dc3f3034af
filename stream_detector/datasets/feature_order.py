"""Features of data in the order of a bundle's, matched by name."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stream_detector.core.features import Features
from stream_detector.datasets.base import SampleDataset
from stream_detector.errors import DatasetError


def in_order(dataset: SampleDataset, features: Features) -> SampleDataset:
    """Return a data set whose features are in the order of a bundle's, matched by name.

    Raises
    ------
    DatasetError
        If a feature is missing, or one is unknown; the message lists both.
    """
    places = match_features(dataset.feature_names, features, f"data {dataset.name}")
    train, test = (
        replace(part, values=np.ascontiguousarray(part.values[:, places]))
        for part in (dataset.train, dataset.test)
    )
    names = tuple(dataset.feature_names[at] for at in places)
    return replace(dataset, train=train, test=test, feature_names=names)


def match_features(received: Sequence[str], features: Features, where: str) -> list[int]:
    """Return the column of each feature of a bundle.

    Parameters
    ----------
    received
        Names of the columns.
    features
        The features of the bundle. If the data that it was trained on named none, columns of
        other names are taken in their order.
    where
        Of what these are the columns, for the message.

    Raises
    ------
    DatasetError
        If a feature is missing, or a column is none of them; the message lists both.
    """
    if not features.are_named and len(received) == len(features):
        return list(range(len(features)))
    try:
        return features.places_in(received)
    except ValueError as error:
        message = f"{where}: {error}; give those that the bundle was trained on, in any order"
        raise DatasetError(message) from None
