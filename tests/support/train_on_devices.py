"""Train on two devices of a process whose CPU poses as two, and print what came of it.

Run as a program: the devices of TensorFlow cannot change once it has begun, so the tests around it
would have them too.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from stream_detector.engines.backend import import_keras
from stream_detector.errors import ConfigError
from stream_detector.recipes import load_recipe
from stream_detector.training import train

SYNTHETIC = Path(__file__).parents[2] / "models" / "synthetic-ecg-dense.toml"
FEW = ("data.n_windows=244", "training.epochs=2", "training.batch_size=16")
"""140 windows to fit to, so that two devices leave none out."""

ODD = ("data.n_windows=253", "training.devices=2")
"""145 windows: one more than whole batches."""


def main(out: Path) -> None:
    """Print figures of several bundles as JSON."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    keras = import_keras()  # looks at the devices, which begins TensorFlow

    def fit(name: str, *overrides: str) -> tuple[dict[str, Any], list[Any]]:
        bundle = train(load_recipe(SYNTHETIC, [*FEW, *overrides]), out / name)
        weights = keras.saving.load_model(bundle.network_keras).get_weights()
        return json.loads((bundle.path / "manifest.json").read_text()), weights

    alone, weights_alone = fit("alone")
    both, weights_both = fit("both", "training.devices=2")
    every, _ = fit("every", "training.devices='all'")
    drawn, _ = fit("drawn", *ODD, "network.kind=vae", "training.patience=1")
    apart = [
        float(np.abs(one - other).max())
        for one, other in zip(weights_alone, weights_both, strict=True)
    ]
    refused = {}
    for key, value in {"training.devices": "4", "training.batch_size": "15"}.items():
        try:
            fit("refused", "training.devices='all'", f"{key}={value}")
        except ConfigError as error:
            refused[key] = str(error)
    found = {
        "manifests": {"alone": alone, "both": both, "every": every, "drawn": drawn},
        "apart": max(apart),
        "refused": refused,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
