"""Fit a network to windows, in the way that its kind needs."""

from typing import Any

import numpy as np

from stream_detector.recipes.networks import (
    AdversarialNetwork,
    DenseNetwork,
    NetworkSection,
    PcaNetwork,
    VariationalNetwork,
)
from stream_detector.training import components
from stream_detector.training.task import History, Task


def fit_network(network: Any, section: NetworkSection, task: Task) -> History:
    """Fit a network in place.

    Parameters
    ----------
    network
        The result of `stream_detector.networks.build_network` for the same `section`. Afterwards
        it may hold state that only fitting needs: save a new network with its weights.
    section
        The recipe's `[network]`.
    task
        Windows to fit to, and settings.

    Returns
    -------
    `loss` and, with validation, `validation_loss` of each epoch. Both include the terms that the
    kind of network adds to the loss.
    """
    from stream_detector.training import adversarial  # noqa: PLC0415  (loads Keras)

    if isinstance(section, PcaNetwork):
        return components.fit(network, task)
    if isinstance(section, AdversarialNetwork):
        return adversarial.fit(network, section, task)
    return KerasFit(network, section, task).run(task)


def has_keras_loop(section: NetworkSection) -> bool:
    """Return whether Keras' own loop fits networks of this kind."""
    return not isinstance(section, PcaNetwork | AdversarialNetwork)


class KerasFit:
    """A network that Keras' own loop fits as often as asked, each time from its first weights.

    Before its first step TensorFlow traces what a step does, which takes longer than to fit a small
    network. Later fits do without.

    Parameters
    ----------
    network, section
        As in `fit_network`, of a kind that has Keras' loop.
    task
        The first fit. Later ones take as many steps at a time; their windows and epochs may differ.
    """

    def __init__(self, network: Any, section: NetworkSection, task: Task) -> None:
        self.network = network
        self._model = _model_to_fit(network, section, task)
        task.compile(self._model, task.steps_at_a_time())
        self._variables = [*self._model.variables, *self._model.optimizer.variables]
        self._first = [np.array(each) for each in self._variables]

    def run(self, task: Task) -> History:
        """Fit the network; see `fit_network`."""
        import keras  # noqa: PLC0415  (slow to load)

        for variable, value in zip(self._variables, self._first, strict=True):
            variable.assign(value)
        report = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: task.report(epoch + 1, float(logs["loss"])),
        )
        history = self._model.fit(
            **task.fit.arguments(task.training),
            shuffle=False,  # that is done
            validation_data=task.validation and task.validation.batches(task.training.batch_size),
            epochs=task.training.epochs,
            verbose=0,
            callbacks=[report, *_early_stopping(task)],
        ).history
        names = {"loss": "loss", "val_loss": "validation_loss"}
        return {names[name]: [float(loss) for loss in losses] for name, losses in history.items()}


def _model_to_fit(network: Any, section: NetworkSection, task: Task) -> Any:
    """Return the network with what its kind adds to the loss."""
    from stream_detector.training import variational  # noqa: PLC0415  (loads Keras)

    if isinstance(section, VariationalNetwork):
        return variational.with_drawn_latent(network, section, task.training.seed)
    if isinstance(section, DenseNetwork) and section.latent_l1:
        _regularize_latent(network, section.latent_l1)
    return network


def _early_stopping(task: Task) -> list[Any]:
    """Return what stops the fitting and puts the best weights back, if that is asked for."""
    import keras  # noqa: PLC0415  (slow to load)

    patience = task.training.patience
    if patience is None:
        return []
    return [keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)]


def _regularize_latent(network: Any, latent_l1: float) -> None:
    """Add the L1 norm of the latent code to the loss, averaged over windows."""
    import keras  # noqa: PLC0415  (slow to load)

    latent = network.get_layer("encoder").layers[-1]
    latent.activity_regularizer = keras.regularizers.L1(latent_l1)
