"""Turn a trained network into the bytes of files, the same bytes for the same network.

Both formats hold details that differ from run to run though the network is the same: dates, object
numbers and counted-up names. They are removed or normalised, so that a bundle's digest depends on
the network alone.
"""

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip file can name."""


def export_keras(model: Any) -> bytes:
    """Return the content of a .keras file.

    Parameters
    ----------
    model
        A network without optimizer state, as `build_network` gives it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in sorted(archive.namelist())}
    about = json.loads(parts["metadata.json"])
    del about["date_saved"]
    parts["metadata.json"] = json.dumps(about, sort_keys=True).encode()
    parts["config.json"] = json.dumps(
        _renumber(json.loads(parts["config.json"]), {}), sort_keys=True
    ).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.getvalue()


def export_onnx(model: Any) -> bytes:
    """Return the content of a .onnx file with input `windows` and output `reconstructions`."""
    import tensorflow  # noqa: PLC0415  (slow to load)
    import tf2onnx  # noqa: PLC0415  (only this export needs it)

    # To go on without an optimization that fails, it would copy the graph before each of them.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    # Keras' own export looks through the whole model for tables first, which takes as long again.
    run = tensorflow.function(lambda windows: model(windows, training=False))
    windows = tensorflow.TensorSpec((None, *model.input_shape[1:]), tensorflow.float32)
    network, _ = tf2onnx.convert.from_function(run, [windows])
    _rename(network.graph)
    for value in (*network.graph.input, *network.graph.output):
        n_windows, *dimensions = value.type.tensor_type.shape.dim
        n_windows.dim_param = "n_windows"
        for dimension, size in zip(dimensions, model.input_shape[1:], strict=True):
            dimension.dim_value = size
    network.doc_string = ""
    del network.metadata_props[:]
    return bytes(network.SerializeToString(deterministic=True))


def _renumber(config: Any, seen: dict[int, int]) -> Any:
    """Renumber the shared objects of a configuration in order of appearance."""
    if isinstance(config, dict):
        return {
            name: seen.setdefault(value, len(seen) + 1)
            if name == "shared_object_id"
            else _renumber(value, seen)
            for name, value in config.items()
        }
    if isinstance(config, list):
        return [_renumber(value, seen) for value in config]
    return config


def _rename(graph: Any) -> None:
    """Replace every name in an ONNX graph, in place, by one that depends on the graph alone."""
    names = {"": "", graph.input[0].name: "windows", graph.output[0].name: "reconstructions"}
    for part in _graphs(graph):
        part.name = part.doc_string = ""
        for value in (*part.input, *part.output, *part.value_info):
            value.name = names.setdefault(value.name, f"value_{len(names)}")
        for node in part.node:
            node.name = names.setdefault(f"node {node.name}", f"{node.op_type}_{len(names)}")
            node.doc_string = ""
            for role in (node.input, node.output):
                role[:] = [names.setdefault(name, f"value_{len(names)}") for name in role]
        for constant in part.initializer:
            constant.name = names.setdefault(constant.name, f"value_{len(names)}")
            constant.doc_string = ""
        constants = sorted(part.initializer, key=lambda constant: constant.name)
        del part.initializer[:]
        part.initializer.extend(constants)
    graph.name = "network"


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and every graph inside its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
