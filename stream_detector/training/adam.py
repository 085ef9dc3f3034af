"""The optimizer Adam, with what is the same for all variables computed once a step."""

from typing import Any

import keras
from keras import ops


class Adam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras has no types
    """Adam to the bits of Keras' own, which corrects the step's size for each variable again.

    To trace that takes longer than to fit a small network for an epoch.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Take a step."""
        self._step_size: Any = None
        super().apply(grads, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable."""
        if self._step_size is None:
            self._step_size = self._corrected(ops.cast(learning_rate, variable.dtype))
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        mean.assign_add((gradient - mean) * (1 - self.beta_1))
        square.assign_add((ops.square(gradient) - square) * (1 - self.beta_2))
        variable.assign_sub(mean * self._step_size / (ops.sqrt(square) + self.epsilon))

    def _corrected(self, learning_rate: Any) -> Any:
        """Return the learning rate, corrected for moments that began at zero."""
        n_steps = ops.cast(self.iterations + 1, learning_rate.dtype)
        decay_1 = ops.power(ops.cast(self.beta_1, learning_rate.dtype), n_steps)
        decay_2 = ops.power(ops.cast(self.beta_2, learning_rate.dtype), n_steps)
        return learning_rate * ops.sqrt(1 - decay_2) / (1 - decay_1)
