"""Fit a network to windows, in the way that its kind needs."""

from typing import Any

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
    from stream_detector.training import adversarial, variational  # noqa: PLC0415  (load Keras)

    if isinstance(section, PcaNetwork):
        return components.fit(network, task)
    if isinstance(section, AdversarialNetwork):
        return adversarial.fit(network, section, task)
    if isinstance(section, VariationalNetwork):
        model = variational.with_drawn_latent(network, section, task.training.seed)
        return _fit_with_keras(model, task)
    if isinstance(section, DenseNetwork) and section.latent_l1:
        _regularize_latent(network, section.latent_l1)
    return _fit_with_keras(network, task)


def _fit_with_keras(model: Any, task: Task) -> History:
    """Fit a model with Keras' own loop."""
    import keras  # noqa: PLC0415  (slow to load)

    task.compile(model, task.steps_at_a_time())
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: task.report(epoch + 1, float(logs["loss"])),
    )
    history = model.fit(
        **task.fit.arguments(task.training),
        shuffle=False,  # that is done
        validation_data=task.validation and task.validation.batches(task.training.batch_size),
        epochs=task.training.epochs,
        verbose=0,
        callbacks=[report, *_early_stopping(task)],
    ).history
    names = {"loss": "loss", "val_loss": "validation_loss"}
    return {names[name]: [float(loss) for loss in losses] for name, losses in history.items()}


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
