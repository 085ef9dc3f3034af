"""Adam: the bits of Keras' own."""

import numpy as np
import pytest

from stream_detector.engines.backend import import_keras

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.mark.parametrize("is_traced", [False, True])
@pytest.mark.parametrize("beta_1", [0.9, 0.5])
def test_its_bits_are_those_of_keras(beta_1: float, is_traced: bool) -> None:
    keras = import_keras()
    import tensorflow

    from stream_detector.training.adam import Adam

    rng = np.random.default_rng(0)
    steps = [
        [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,))] for _ in range(9)
    ]
    found = []
    for kind in (Adam, keras.optimizers.Adam):
        optimizer = kind(0.01, beta_1=beta_1)
        variables = [keras.Variable(np.ones(each.shape, np.float32)) for each in steps[0]]
        optimizer.build(variables)
        step = tensorflow.function(optimizer.apply) if is_traced else optimizer.apply
        for gradients in steps:
            step([tensorflow.constant(each) for each in gradients])
        found.append([np.array(each) for each in (*variables, *optimizer.variables)])
    for ours, theirs in zip(*found, strict=True):
        assert np.array_equal(ours, theirs)
    assert not np.array_equal(found[0][0], np.ones((3, 4)))
