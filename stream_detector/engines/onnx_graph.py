"""Look at an ONNX network before ONNX Runtime does: only what `train` writes is let through.

ONNX Runtime computes constant parts of a network while it loads it, so a network from a stranger
could run for ever, or fill the memory, before anybody has asked it for anything. So its operators
are an allow-list without loops, branches and functions, and no size in it may be absurd.

An ONNX file is one message of Protocol Buffers. The few fields that matter are read here, since the
libraries that read it come with training only. Sources: "Protocol Buffers Encoding" (protobuf.dev,
"Message Structure"); field numbers from `onnx.proto3` of ONNX 1.17.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stream_detector.errors import BundleIntegrityError

OPERATORS = frozenset(
    {
        *("Add", "Cast", "Concat", "Conv", "ConvTranspose", "Div", "Elu", "Erf", "Expand"),
        *("Gather", "Gemm", "Identity", "LSTM", "MatMul", "MaxPool", "Mul", "Neg", "Relu"),
        *("Reshape", "Shape", "Sigmoid", "Slice", "Squeeze", "Sub", "Tanh", "Tile"),
        *("Transpose", "Unsqueeze"),
    }
)
"""What the networks of `stream_detector.networks` become when they are exported, with what other
versions of the exporter write in place of it. None of them runs more than once or reads a file."""

NODES_MAX = 2_000
"""Most operations. An encoder and decoder of `recipes.networks.LAYERS_MAX` layers have fewer."""

SIZE_MAX = 262_144
"""Largest number that can become a length: `recipes.sections.WINDOW_VALUES_MAX`."""

_INTEGERS = {6: "<i4", 7: "<i8"}
"""Types of tensors by number, of those whose values can become lengths."""

_BYTES, _VARINT = 2, 0
_FIXED_BYTES = {1: 8, 5: 4}
"""Wire types of fields of a fixed size."""

_MODEL = {"ir_version": 1, "producer": 2, "producer_version": 3, "domain": 4, "model_version": 5}
_MODEL |= {"doc_string": 6, "graph": 7, "opset_import": 8, "metadata": 14}
_GRAPH = {"node": 1, "name": 2, "initializer": 5, "doc_string": 10, "input": 11, "output": 12}
_GRAPH |= {"value_info": 13}
_NODE = {"input": 1, "output": 2, "name": 3, "op_type": 4, "attribute": 5, "doc_string": 6}
_NODE |= {"domain": 7}
_ATTRIBUTE = {"name": 1, "f": 2, "i": 3, "s": 4, "floats": 7, "ints": 8, "strings": 9}
_ATTRIBUTE |= {"doc_string": 13, "type": 20}
_TENSOR = {"dims": 1, "data_type": 2, "float_data": 4, "int32_data": 5, "int64_data": 7}
_TENSOR |= {"name": 8, "raw_data": 9, "double_data": 10, "doc_string": 12}
"""Fields that are let through. Not among them: functions and training (model), sparse tensors,
graphs and tensors within attributes (loops and branches), and data in other files (tensor)."""


class _Field(NamedTuple):
    """One field of a message: its number, and its content as bytes or number."""

    number: int
    content: memoryview | int


class _Node(NamedTuple):
    """An operation: its operator and the names of its inputs."""

    operator: str
    inputs: list[str]


def check_graph(path: Path, content: bytes) -> None:
    """Refuse a network that `train` would not have written.

    Parameters
    ----------
    path
        For messages.
    content
        Content of the .onnx file.

    Raises
    ------
    BundleIntegrityError
        If it is no ONNX network, or has an operator, a part or a size that none of the project's
        networks has.
    """
    try:
        graphs = _parts(_message(memoryview(content), _MODEL), _MODEL["graph"])
        fields = [field for graph in graphs for field in _message(graph, _GRAPH)]
        nodes = [_read_node(each) for each in _parts(fields, _GRAPH["node"])]
        tensors = dict(_read_tensor(each) for each in _parts(fields, _GRAPH["initializer"]))
        _check_nodes(nodes, tensors)
    except (ValueError, IndexError, OverflowError) as error:
        message = (
            f"{path} cannot be loaded: train does not write such a network: {error}; train again"
        )
        raise BundleIntegrityError(message) from None


def _check_nodes(nodes: list[_Node], are_large: dict[str, bool]) -> None:
    """Refuse operators that are not on the list, and lengths that are absurd.

    Parameters
    ----------
    nodes
        In the order in which they run.
    are_large
        Whether a constant holds an integer above `SIZE_MAX`, by name.
    """
    if not 1 <= len(nodes) <= NODES_MAX:
        message = f"expected 1 to {NODES_MAX} operations, received {len(nodes)}"
        raise ValueError(message)
    constants = frozenset(are_large)
    for operator, inputs in nodes:
        if operator not in OPERATORS:
            message = f"expected only operators that its networks need, received {operator[:64]!r}"
            raise ValueError(message)
        # A slice ends at the largest integer where it takes all the rest.
        lengths = inputs[:1] if operator == "Slice" else inputs
        if any(are_large.get(each, False) for each in lengths):
            message = f"{operator}: expected lengths of at most {SIZE_MAX}, received a larger one"
            raise ValueError(message)
        # It would be computed while the network is loaded; the exporter has done so already.
        if constants.issuperset(each for each in inputs if each):
            message = f"{operator}: expected an operation on windows, received constants only"
            raise ValueError(message)


def _read_node(data: memoryview) -> _Node:
    """Return an operation, refusing other domains, and attributes with a large number."""
    fields = list(_message(data, _NODE))
    operator = "".join(_texts(fields, _NODE["op_type"]))
    domain = "".join(_texts(fields, _NODE["domain"]))
    if domain not in {"", "ai.onnx"}:
        message = f"expected operators of ONNX itself, received one of {domain[:64]!r}"
        raise ValueError(message)
    for attribute in _parts(fields, _NODE["attribute"]):
        numbers = list(_integers(_message(attribute, _ATTRIBUTE), {3, 8}))
        if numbers and (max(map(abs, numbers)) > SIZE_MAX or _growth(numbers) > SIZE_MAX):
            message = f"{operator[:64]!r}: expected small attributes, received {numbers[:8]}"
            raise ValueError(message)
    return _Node(operator, list(_texts(fields, _NODE["input"])))


def _growth(numbers: list[int]) -> int:
    """Return by how much attributes such as strides, kernels and pads can enlarge a window.

    Of pads, the first half is before and the other behind, so the larger half counts.
    """
    return max(
        math.prod(abs(each) or 1 for each in half)
        for half in (numbers[: (len(numbers) + 1) // 2], numbers[len(numbers) // 2 :])
    )


def _read_tensor(data: memoryview) -> tuple[str, bool]:
    """Return the name of a constant, and whether it holds an integer above `SIZE_MAX`."""
    fields = list(_message(data, _TENSOR))
    name = "".join(_texts(fields, _TENSOR["name"]))
    n_values = math.prod(_integers(fields, {_TENSOR["dims"]}))
    if not 0 <= n_values <= len(data):  # a value takes at least a byte
        message = f"a constant of {len(data):,} bytes declares {n_values:,} values"
        raise ValueError(message)
    kind = next(_integers(fields, {_TENSOR["data_type"]}), 0)
    if kind not in _INTEGERS:
        return name, False
    numbers = list(_integers(fields, {_TENSOR["int32_data"], _TENSOR["int64_data"]}))
    for raw in _parts(fields, _TENSOR["raw_data"]):
        numbers += np.frombuffer(raw, _INTEGERS[kind]).tolist()
    is_large = any(abs(each) > SIZE_MAX for each in numbers)
    return name, is_large or math.prod(abs(each) or 1 for each in numbers[:8]) > SIZE_MAX**2


def _message(data: memoryview, known: dict[str, int]) -> Iterator[_Field]:
    """Yield the fields of a message; ValueError for one that is not let through."""
    numbers, at = set(known.values()), 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number not in numbers:
            message = f"it has a part that is not let through (field {number})"
            raise ValueError(message)
        content: memoryview | int
        if wire == _VARINT:
            content, at = _varint(data, at)
        else:
            size = _FIXED_BYTES.get(wire, 0)
            if wire == _BYTES:
                size, at = _varint(data, at)
            content, at = data[at : at + size], at + size
            if (not size and wire != _BYTES) or at > len(data):
                message = "it is cut off, or not of ONNX"
                raise ValueError(message)
        yield _Field(number, content)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at a place, of seven bits a byte, and the place behind it."""
    number = shift = 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if shift > 63:  # noqa: PLR2004  (a number has 64 bits)
            message = "it is not of ONNX"
            raise ValueError(message)
    return number | data[at] << shift, at + 1


def _parts(fields: Iterator[_Field] | list[_Field], number: int) -> Iterator[memoryview]:
    """Yield the messages and bytes of one field."""
    for field in fields:
        if field.number == number and isinstance(field.content, memoryview):
            yield field.content


def _texts(fields: list[_Field], number: int) -> Iterator[str]:
    """Yield the texts of one field; ValueError where one is not UTF-8."""
    for part in _parts(fields, number):
        yield bytes(part).decode()


def _integers(fields: Iterator[_Field] | list[_Field], numbers: set[int]) -> Iterator[int]:
    """Yield the signed integers of some fields, whether they are packed or not."""
    for number, content in fields:
        if number in numbers and isinstance(content, int):
            yield _signed(content)
        elif number in numbers and isinstance(content, memoryview):
            at = 0
            while at < len(content):
                value, at = _varint(content, at)
                yield _signed(value)


def _signed(number: int) -> int:
    """Return a number of 64 bits as two's complement."""
    return number - (1 << 64) if number >> 63 else number
