"""`AutoencoderDetector`: a bundle as an estimator of scikit-learn, for tables and arrays."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stream_detector.assembly import Served, open_bundle
from stream_detector.bundle import Bundle, Content, read_content, renamed, write_content
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.scoring.explanation import Explanation
from stream_detector.errors import ConfigError
from stream_detector.estimator.inputs import Given, take
from stream_detector.estimator.making import NAME, Wishes, in_python, prepare
from stream_detector.estimator.running import alerts_of, explain_row, score_rows
from stream_detector.files import AnyPath
from stream_detector.inspection.recipe_text import recipe_name
from stream_detector.training import train

_PARAMETERS = (*("window", "record", "columns", "interval_s", "false_alarms_per_day", "overrides"),)
_STATE = "_content"


class AutoencoderDetector:
    """Find anomalies in tables and arrays with the detector that runs on Kafka.

    `fit` decides the recipe as `stream-detector init` does, and trains it as `train` does; the
    result is a bundle, which `save` writes for `detect`. Scores are those of the command line, bit
    for bit. It follows scikit-learn's conventions (`get_params`, `clone`, `Pipeline`) and needs
    scikit-learn for nothing. `fit` needs the train extra; arrays are scored without it.

    Parameters
    ----------
    window
        "auto" takes the length that suits the data; else the number of steps of a window.
    record
        What a row is: "samples", from which windows are cut, or a whole "window". "auto" takes an
        array of three dimensions for windows, and so one of two with 16 columns or more, or a table
        with so many numbered columns and no time, as `init` does.
    columns
        What the columns of a table are: any of key, time, time_format, label, normal_label and
        features, as in `[data]` of a recipe; "" says that there is no such column. Those that are
        not said are found, but for those that `ignored` names. An index of dates is a column too,
        called time if it has no name. Where each row has the value of one feature, feature_name and
        feature_value say in which columns.
    interval_s
        Seconds between two rows of data without times.
    false_alarms_per_day
        False alarms of a key that you accept.
    overrides
        Changes to the recipe that is made, each as in `train --set`, such as "training.epochs=5".

    Attributes
    ----------
    recipe_ : Recipe
        The recipe that was trained.
    warnings_ : tuple of str
        What to know of the bundle before trusting it.
    n_features_in_ : int
        Number of columns that were given.
    feature_names_in_ : ndarray of str
        Their names; only where a table was given.

    Examples
    --------
    >>> detector = AutoencoderDetector(window=20)
    >>> detector
    AutoencoderDetector(window=20)
    >>> detector.set_params(record="samples").get_params()["record"]
    'samples'
    """

    def __init__(
        self,
        window: int | str = "auto",
        *,
        record: str = "auto",
        columns: Mapping[str, Any] | None = None,
        interval_s: float = 1.0,
        false_alarms_per_day: float = 0.2,
        overrides: Sequence[str] = (),
    ) -> None:
        self.window = window
        self.record = record
        self.columns = columns
        self.interval_s = interval_s
        self.false_alarms_per_day = false_alarms_per_day
        self.overrides = overrides

    def fit(self, X: Any, y: object = None) -> Self:
        """Decide the recipe and train it.

        Parameters
        ----------
        X
            A DataFrame, or an array of shape (n_samples, n_features), (n_windows, n_steps) or
            (n_windows, n_steps, n_features). Rows that a label marks as anomalous are not trained
            on; spans that are unlike the rest of their key are left out.
        y
            Ignored, as scikit-learn's pipelines need it. Labels are a column of the table.

        Returns
        -------
        The same detector.

        Raises
        ------
        ValueError, TypeError
            If X has no such shape, or a parameter no such value: the caller's mistake.
        ConfigError
            If a column that was named is not there, an override does not fit, or the train extra is
            not installed.
        DatasetError
            If the data cannot be used, or hold too little.
        """
        del y
        given = take(X)
        wishes = Wishes(*(getattr(self, name) for name in _PARAMETERS))
        try:
            recipe, data = prepare(given, wishes)
        except ConfigError as error:
            raise in_python(error) from None
        with tempfile.TemporaryDirectory() as folder:
            bundle = train(recipe, Path(folder) / NAME, data=data)
            self._adopt(bundle.path)
        self._note_columns(given)
        return self

    def decision_function(self, X: Any) -> Any:
        """Return the anomaly score of each row: above 1 is anomalous.

        Parameters
        ----------
        X
            As in `fit`. A table has the same columns, in any order; labels are not needed.

        Returns
        -------
        Float64, shape (n_rows,); of a table a Series with its index. The score of a window is its
        own, that of a sample the one of the newest window of its key that ends with it or before
        it. NaN where there is none yet.

        Raises
        ------
        ValueError
            If the detector is not fitted, or X has no such shape: the caller's mistake.
        DatasetError
            If X lacks a column, or a value cannot be used.
        """
        given = self._take(X)
        return _like(X, score_rows(given, self._open()), "anomaly_score")

    def predict(self, X: Any) -> Any:
        """Return whether each row is anomalous: 0 normal, 1 anomalous.

        Parameters
        ----------
        X
            As in `decision_function`.

        Returns
        -------
        Int64, shape (n_rows,); of a table a Series with its index. 1 iff the anomaly score is above
        1; a row without a score is 0.
        """
        given = self._take(X)
        is_anomalous = score_rows(given, self._open()) > 1
        return _like(X, is_anomalous.astype(np.int64), "is_anomalous")

    def fit_predict(self, X: Any, y: object = None) -> Any:
        """Return `fit(X).predict(X)`."""
        return self.fit(X, y).predict(X)

    def alerts(self, X: Any) -> list[Alert]:
        """Return the events of alerts that `detect` would publish for these rows.

        Parameters
        ----------
        X
            As in `decision_function`.

        Returns
        -------
        In the order in which they would be published: `open`, `update` and `close`.
        """
        return alerts_of(self._take(X), self._open())

    def explain(self, X: Any, at: Any = None) -> Explanation:
        """Return what is unusual in a row: the explanation that an alert about it has.

        Parameters
        ----------
        X
            As in `decision_function`.
        at
            Label of the row in the index of a table, such as a time; number of the row of an array.
            Where it means several rows, the one with the highest score is taken, as of all rows
            with None.

        Raises
        ------
        KeyError, IndexError
            If there is no such row: the caller's mistake.
        ValueError
            If the row has no score.
        """
        rows = np.arange(len(X))
        if at is not None:
            given = self._take(X)
            rows = np.atleast_1d(rows[at if given.index is None else given.index.get_loc(at)])
        return explain_row(self._take(X), self._open(), rows)

    def plot(self, X: Any, *, key: str | None = None) -> NDArray[Any]:
        """Draw the signal, its reconstruction, the score with the threshold, and the alerts.

        Needs matplotlib, which the train extra brings.

        Parameters
        ----------
        X
            As in `decision_function`. Of windows the first hundred are drawn one after the other.
        key
            Of samples of several keys the one to draw; None takes the one with the highest score.

        Returns
        -------
        The axes of matplotlib: one for each feature, and one for the score.
        """
        from stream_detector.estimator.drawing import draw  # noqa: PLC0415  (loads matplotlib)

        return draw(self._take(X), self._open(), key)

    def save(self, path: AnyPath, *, overwrite: bool = False) -> Bundle:
        """Write the bundle that `stream-detector detect` runs.

        The bundle is named after its folder unless `overrides` name it: alerts carry the name, and
        the consumer group has it.

        Parameters
        ----------
        path
            Its folder; the parents are made.
        overwrite
            Replace a bundle of another name.

        Raises
        ------
        ConfigError
            If the folder is there and is not a bundle, or one of another name.
        BundleError
            If it cannot be written.
        """
        served, content = self._open(), self._content
        if served.bundle.manifest.name == NAME:
            content = renamed(content, recipe_name(Path(path).name))
        bundle = write_content(path, content, overwrite=overwrite)
        self._adopt(bundle.path)
        return bundle

    @classmethod
    def load(cls, path: AnyPath) -> Self:
        """Return the detector of a bundle, whatever trained it.

        Parameters
        ----------
        path
            The bundle's folder.

        Raises
        ------
        BundleError
            If the bundle is missing, changed, made for something else, or fails its self-test.
        """
        detector = cls()
        detector._adopt(Path(path))
        return detector

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` changes nothing, since none is an estimator."""
        del deep
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        for name, value in params.items():
            if name not in _PARAMETERS:
                known = ", ".join(_PARAMETERS)
                message = f"expected one of the parameters {known}, received {name!r}"
                raise ValueError(message)
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks of estimators."""
        from sklearn.utils import InputTags, Tags, TargetTags  # noqa: PLC0415  (it asks, so it is here)

        is_nan_missing = self.record != "window"
        inputs = InputTags(two_d_array=True, three_d_array=True, allow_nan=is_nan_missing)
        return Tags(None, TargetTags(required=False), input_tags=inputs)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the detector was fitted or loaded."""
        return hasattr(self, _STATE)

    def __repr__(self) -> str:
        """Return the parameters that differ from the defaults."""
        plain = type(self)().get_params()
        own = {name: each for name, each in self.get_params().items() if each != plain[name]}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in own.items())})"

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the loaded network, which cannot be copied."""
        return {name: each for name, each in vars(self).items() if name != "_served"}

    def _adopt(self, path: Path) -> None:
        """Take the bundle of a folder as this detector's; the folder may go then."""
        served = open_bundle(path)
        self._content: Content = read_content(served.bundle)
        self._served = served
        manifest = served.bundle.manifest
        self.recipe_ = manifest.recipe
        self.warnings_: tuple[str, ...] = tuple(manifest.warnings)

    def _open(self) -> Served:
        """Return the loaded bundle; after a copy or a pickle it is loaded again."""
        self._require_fitted()
        if not hasattr(self, "_served"):
            with tempfile.TemporaryDirectory() as folder:
                self._served = open_bundle(write_content(Path(folder) / NAME, self._content).path)
        return self._served

    def _require_fitted(self) -> None:
        """Refuse a detector without a bundle, in scikit-learn's way where that is installed."""
        if hasattr(self, _STATE):
            return
        message = "this AutoencoderDetector is not fitted yet: call fit or load first"
        try:
            from sklearn.exceptions import NotFittedError  # noqa: PLC0415  (optional)
        except ImportError:
            raise ValueError(message) from None
        raise NotFittedError(message)

    def _note_columns(self, given: Given) -> None:
        """Keep what scikit-learn keeps of the columns."""
        self.n_features_in_ = len(given.names)
        if given.index is not None:
            self.feature_names_in_ = np.array(given.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _take(self, X: Any) -> Given:
        """Return what a program gave, with the names of the features where it has none."""
        self._require_fitted()
        served = self._open()
        given = take(X, served.bundle.features.names)
        expected = getattr(self, "n_features_in_", None)
        is_array = given.index is None and given.window_shape is None
        if is_array and expected is not None and not hasattr(self, "feature_names_in_"):
            received = len(given.names)
            if received != expected:
                message = (
                    f"X has {received} features, but AutoencoderDetector is expecting {expected} "
                    "features as input"
                )
                raise ValueError(message)
        return given


def score(bundle: AnyPath, data: Any) -> Any:
    """Score data in memory with a bundle: the anomaly score of each row, above 1 is anomalous.

    Parameters
    ----------
    bundle
        The bundle's folder.
    data
        As in `AutoencoderDetector.decision_function`, which this is of one call.

    Raises
    ------
    BundleError
        If the bundle cannot be used.
    DatasetError
        If the data cannot be used.
    """
    return AutoencoderDetector.load(bundle).decision_function(data)


def _like(data: Any, values: NDArray[Any], name: str) -> Any:
    """Return values with the index of a table where the data are one."""
    index = getattr(data, "index", None)
    if index is None or not hasattr(data, "iloc"):
        return values
    from pandas import Series  # noqa: PLC0415  (it is loaded, since the data are of it)

    return Series(values, index=index, name=name)
