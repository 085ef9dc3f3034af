"""Networks from strangers: what `train` does not write is refused before ONNX Runtime sees it."""

import resource
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_detector.engines import onnx as engine
from stream_detector.engines.memory_limit import memory_limit
from stream_detector.engines.onnx import load_onnx
from stream_detector.engines.onnx_graph import NODES_MAX, SIZE_MAX, check_graph
from stream_detector.errors import BundleError, BundleIntegrityError, BundleMismatchError

pytest.importorskip("onnx")

from onnx import ModelProto, TensorProto, helper, numpy_helper

HERE = Path("network.onnx")
node = helper.make_node


def integers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def floats(name: str, *values: float) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def window(name: str, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or ["n", 4, 1])


def model(nodes: list[Any], constants: list[TensorProto] | None = None, **more: Any) -> ModelProto:
    graph = helper.make_graph(nodes, "g", [window("w")], [window("r")], constants or [], **more)
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def halving() -> ModelProto:
    return model([node("Mul", ["w", "half"], ["r"])], [floats("half", 0.5)])


def loop(n_times: int) -> ModelProto:
    body = helper.make_graph(
        [node("Identity", ["c"], ["d"]), node("Add", ["x", "x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            window("x"),
        ],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, []), window("y")],
    )
    times = numpy_helper.from_array(np.array(n_times, np.int64), "n")
    return model([node("Loop", ["n", "", "w"], ["r"], body=body)], [times])


def branch() -> ModelProto:
    either = helper.make_graph([node("Identity", ["w"], ["o"])], "b", [], [window("o")])
    condition = numpy_helper.from_array(np.array(True), "c")
    return model([node("If", ["c"], ["r"], then_branch=either, else_branch=either)], [condition])


def other_domain() -> ModelProto:
    return model([node("Mul", ["w", "h"], ["r"], domain="com.example")], [floats("h", 0.5)])


def external() -> ModelProto:
    made = halving()
    tensor = made.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return made


def declared(n_values: int) -> ModelProto:
    made = halving()
    made.graph.initializer[0].dims[:] = [n_values]
    return made


def function() -> ModelProto:
    made = halving()
    made.functions.add().name = "f"
    return made


def sparse() -> ModelProto:
    made = halving()
    made.graph.sparse_initializer.add().dims.append(500_000_000)
    return made


def filled(n_values: int) -> ModelProto:
    shape = integers("s", n_values)
    return model([node("ConstantOfShape", ["s"], ["a"]), node("Add", ["w", "a"], ["r"])], [shape])


def expanded(n_values: int) -> ModelProto:
    nodes = [node("Expand", ["one", "s"], ["a"]), node("Add", ["w", "a"], ["r"])]
    return model(nodes, [floats("one", 1), integers("s", n_values)])


def tiled(*repeats: int) -> ModelProto:
    return model([node("Tile", ["w", "t"], ["r"])], [integers("t", *repeats)])


def tiled_as_listed(*repeats: int) -> ModelProto:
    """Return the same with the numbers as a list of the tensor, and not as its bytes."""
    listed = helper.make_tensor("t", TensorProto.INT64, [len(repeats)], repeats)
    return model([node("Tile", ["w", "t"], ["r"])], [listed])


def joined(axis: int) -> ModelProto:
    return model([node("Concat", ["w", "w"], ["r"], axis=axis)])


def padded(pad: int) -> ModelProto:
    weights = numpy_helper.from_array(np.ones((4, 4, 1), np.float32), "k")
    return model([node("Conv", ["w", "k"], ["r"], pads=[pad, pad])], [weights])


def many(n_nodes: int) -> ModelProto:
    names = ["w", *map(str, range(n_nodes - 1)), "r"]
    return model([node("Neg", [a], [b]) for a, b in pairwise(names)])


def load(tmp_path: Path, made: ModelProto) -> Any:
    path = tmp_path / "network.onnx"
    path.write_bytes(made.SerializeToString())
    return load_onnx(path, 4, 1)


def test_a_network_that_halves_is_loaded(tmp_path: Path) -> None:
    windows = np.ones((3, 4, 1), np.float32)
    np.testing.assert_array_equal(load(tmp_path, halving())(windows), windows / 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: loop(10**12),
        lambda: loop(1),
        branch,
        other_domain,
        external,
        function,
        sparse,
        lambda: declared(500_000_000),
        lambda: declared(10**18),
        lambda: declared(-1),
        lambda: filled(500_000_000),
        lambda: expanded(500_000_000),
        lambda: expanded(4),  # constants only: it would be computed at load
        lambda: tiled(1, 500_000_000, 1),
        lambda: tiled(1, SIZE_MAX + 1, 1),
        lambda: tiled(SIZE_MAX, SIZE_MAX, 2),
        lambda: tiled(1, -(2**63), 1),
        lambda: tiled_as_listed(1, SIZE_MAX + 1, 1),
        lambda: tiled_as_listed(1, -(2**63), 1),
        lambda: joined(-(2**63)),
        lambda: padded(SIZE_MAX + 1),
        lambda: many(NODES_MAX + 1),
        lambda: model([node("Scan", ["w"], ["r"])]),
        lambda: model([node("RandomNormalLike", ["w"], ["r"])]),
        lambda: model([node("Range", ["w", "w", "w"], ["r"])]),
        lambda: model([node("\x1b[31m" * 50, ["w"], ["r"])]),
        lambda: model([]),
    ],
)
def test_what_train_does_not_write_is_refused_at_once(
    make: Callable[[], ModelProto], tmp_path: Path
) -> None:
    before, began_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(BundleIntegrityError, match="train does not write such a network") as caught:
        load(tmp_path, make())
    assert time.process_time() - began_s < 1  # the machine may be busy
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "make",
    [
        lambda: tiled(1, SIZE_MAX, 1),
        lambda: tiled(SIZE_MAX, SIZE_MAX, 1),
        lambda: tiled_as_listed(1, SIZE_MAX, 1),
        lambda: joined(-1),
        lambda: padded(SIZE_MAX),
        lambda: many(NODES_MAX),
    ],
)
def test_the_largest_sizes_are_let_through(make: Callable[[], ModelProto]) -> None:
    check_graph(HERE, make().SerializeToString())


def test_a_slice_may_end_at_the_largest_integer() -> None:
    constants = [integers("s", 0), integers("e", 2**63 - 1), integers("a", 1)]
    made = model([node("Slice", ["w", "s", "e", "a"], ["r"])], constants)
    check_graph(HERE, made.SerializeToString())
    taken = model([node("Slice", ["e", "s", "w"], ["r"])], constants)
    with pytest.raises(BundleIntegrityError, match="lengths"):
        check_graph(HERE, taken.SerializeToString())


def growing(n_values: int, n_products: int) -> ModelProto:
    """Return a network of allowed parts that makes a square matrix and raises it to a power."""
    nodes = [
        node("Tile", ["w", "t"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        node("MatMul", ["a", "b"], ["c0"]),
        *(node("MatMul", [f"c{n}", "c0"], [f"c{n + 1}"]) for n in range(n_products)),
        node("Slice", [f"c{n_products}", "s", "e"], ["r"]),
    ]
    ends = [integers("s", 0, 0, 0), integers("e", 1, 4, 1)]
    return model(nodes, [integers("t", 1, n_values, 1), *ends])


def test_a_network_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(BundleIntegrityError, match="llocat"):
        load(tmp_path, growing(50_000, 0))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000
    assert resource.getrlimit(resource.RLIMIT_AS) == limits


def test_a_network_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRIAL_S_MAX", 0.2)
    began_s = time.monotonic()
    with pytest.raises(BundleIntegrityError, match="terminate"):
        load(tmp_path, growing(200, 1_900))
    assert time.monotonic() - began_s < 10


def test_a_network_that_gives_other_shapes_back_than_it_says_is_refused(tmp_path: Path) -> None:
    made = model([node("Reshape", ["w", "s"], ["r"])], [integers("s", 4, 1)])
    with pytest.raises((BundleIntegrityError, BundleMismatchError)):
        load(tmp_path, made)


def test_a_file_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)
    with pytest.raises(BundleIntegrityError, match="expected at most"):
        load_onnx(path, 4, 1)


def test_any_change_of_a_byte_is_refused_or_let_through() -> None:
    content = halving().SerializeToString()
    n_refused = 0
    for at in range(len(content)):
        for byte in (0, 0x7F, 0x80, 0xFF, content[at] ^ 1):
            changed = bytearray(content)
            changed[at] = byte
            n_refused += is_refused(bytes(changed))
        n_refused += is_refused(content[:at])
    assert n_refused > len(content)


def is_refused(content: bytes) -> bool:
    try:
        check_graph(HERE, content)
    except BundleError:
        return True
    return False


def test_memory_is_limited_within_the_block_only() -> None:
    size = 512 * 1024 * 1024
    with memory_limit(size // 2), pytest.raises(MemoryError):
        bytearray(size)
    assert len(bytearray(size)) == size
