"""What must be known of an ONNX file before onnxruntime loads it: its opset, and that it holds its weights itself.

A reader of the few protobuf messages that say so; it stands in for the onnx package, which is large and not needed to serve. It knows
nothing of tensors' names and shapes: the engine asks the loaded graph.
"""

from __future__ import annotations

from collections.abc import Iterator

from twofold.model.contract import ContractError

# The export writes contract.OPSET. The operators that the graphs use mean the same in all of these, and the golden outputs prove each
# graph anyway; a later opset is added here once onnxruntime's release notes say that it is final.
OPSETS = range(17, 27)

# Numbers of protobuf fields, from onnx.proto.
_MODEL_GRAPH, _MODEL_OPSET_IMPORT = 7, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_INITIALIZER = 5
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_STANDARD_DOMAINS = (b"", b"ai.onnx")


def check_header(file: str, graph: bytes) -> None:
    """Check the bytes of a graph; `file` is its name in the messages.

    Raises ContractError when it is not an ONNX graph, uses an opset outside OPSETS, or refers to data in another file: onnxruntime would
    read that without a word.
    """
    try:
        versions = list(_standard_opsets(graph))
        external = _refers_to_other_files(graph)
    except (IndexError, ValueError) as error:
        raise ContractError(f"{file}: not an ONNX graph") from error
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise ContractError(f"{file}: must use one opset from {OPSETS[0]} to {OPSETS[-1]}")
    if external:
        raise ContractError(f"{file}: must hold its weights itself, not refer to other files")


def _standard_opsets(graph: bytes) -> Iterator[int | bytes | None]:
    """The versions of the standard operators that the model imports; None where an import names no version."""
    for message in _messages(graph, _MODEL_OPSET_IMPORT):
        opset = dict(_fields(message))
        if opset.get(_OPSET_DOMAIN, b"") in _STANDARD_DOMAINS:
            yield opset.get(_OPSET_VERSION)


def _refers_to_other_files(graph: bytes) -> bool:
    """Whether an initializer of the model's graph has its data elsewhere (a location other than 0, or any external_data)."""
    return any(
        number in (_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION) and value not in (0, b"")
        for inner in _messages(graph, _MODEL_GRAPH)
        for tensor in _messages(inner, _GRAPH_INITIALIZER)
        for number, value in _fields(tensor)
    )


def _messages(message: bytes, number: int) -> Iterator[bytes]:
    """The submessages in the fields of this number. Raises ValueError when such a field holds a number instead."""
    for found, value in _fields(message):
        if found == number:
            if isinstance(value, int):
                raise ValueError("not a message")
            yield value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of every field of a protobuf message: int for a varint, bytes for everything that has a length.

    Raises IndexError or ValueError when the message is cut short or of another form.
    """
    position = 0
    view = memoryview(message)
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = divmod(key, 8)
        if wire == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire in (1, 5):
            size = 8 if wire == 1 else 4
        elif wire == 2:
            size, position = _varint(message, position)
        else:
            raise ValueError("no such wire type")
        if position + size > len(message):
            raise ValueError("cut short")
        yield number, bytes(view[position : position + size])
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, seven bits a byte with the lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
