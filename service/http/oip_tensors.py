"""Tensors as the Open Inference Protocol writes them: JSON and the bytes behind it become arrays, or are refused; arrays become a body.

Pure: it knows neither HTTP nor models, only what a graph takes and gives. No number of the caller sizes anything before it has been
compared with the graph's own shape.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import TensorSpec
from twofold.service.http.schemas import Infer, InputTensor
from twofold.service.runtime.errors import Invalid, Malformed
from twofold.service.runtime.latents import MAX_CODE

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"uint8": "UINT8", "float32": "FP32"}
_WIRE: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "float32": np.dtype("<f4")}  # little-endian on every machine
_LENGTH = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True)
class Output:
    """One output [n, ...] of an answer, and whether its values are written as bytes."""

    spec: TensorSpec
    values: NDArray[Any]
    binary: bool


# ------------------------------------------------------------------------------------------------------------------- in


def split(body: bytes, lengths: Sequence[str]) -> tuple[bytes, bytes]:
    """The JSON, and the bytes of tensors behind it; `lengths` are the values of HEADER_LENGTH. Raises Malformed."""
    if not lengths:
        return body, b""
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]) or int(lengths[0]) > len(body):
        raise Malformed(f"{HEADER_LENGTH} must be one number, from 1 to the length of the body.")
    return body[: int(lengths[0])], body[int(lengths[0]) :]


def arrays(asked: Infer, tail: bytes, specs: Sequence[TensorSpec], max_rows: int) -> tuple[NDArray[Any], ...]:
    """The inputs of a graph, [n, ...] each with n from 1 to `max_rows`, in the order of `specs`; bytes are taken in that of the request.

    Raises Invalid, and Malformed when the sizes of binary tensors do not add up to the bytes that came.
    """
    by_name = {spec.name: spec for spec in specs}
    names = ", ".join(by_name)
    found: dict[str, NDArray[Any]] = {}
    rest = memoryview(tail)
    for k, tensor in enumerate(asked.inputs):
        field = f"inputs.{k}"
        spec = by_name.get(tensor.name)
        if spec is None or tensor.name in found:
            raise Invalid(f"{field}.name must be one of {names}, each once.", field=f"{field}.name", allowed=names)
        _check_kind(tensor, spec, field, max_rows)
        size = tensor.parameters.binary_data_size if tensor.parameters else None
        if (size is None) == (tensor.data is None):
            raise Invalid(f"{field} needs either data or parameters.binary_data_size.", field=field)
        if tensor.data is not None:
            values = _from_json(tensor.data, tensor.shape, spec, field)
        else:
            values, rest = _from_bytes(rest, size or 0, tensor.shape, spec, field)
        found[tensor.name] = _bounded(values, spec, field)
    if rest:
        raise Malformed("There are more bytes behind the JSON than its binary_data_size say.")
    if missing := [name for name in by_name if name not in found]:
        raise Invalid(f"inputs must hold {names}; {missing[0]} is missing.", field="inputs", allowed=names)
    if len({len(values) for values in found.values()}) > 1:
        raise Invalid("inputs must all have the same number of rows.", field="inputs")
    return tuple(found[name] for name in by_name)


def _check_kind(tensor: InputTensor, spec: TensorSpec, field: str, max_rows: int) -> None:
    datatype = DATATYPES[spec.dtype]
    if tensor.datatype != datatype:
        raise Invalid(f"{field}.datatype must be {datatype}.", field=f"{field}.datatype", allowed=datatype)
    if tuple(tensor.shape[1:]) != spec.shape:
        allowed = f"[n, {', '.join(map(str, spec.shape))}]"
        raise Invalid(f"{field}.shape must be {allowed}.", field=f"{field}.shape", allowed=allowed)
    if not 1 <= tensor.shape[0] <= max_rows:
        raise Invalid(f"{field}.shape: one request may hold 1 to {max_rows} rows.", field=f"{field}.shape", allowed=f"1 to {max_rows} rows")


def _from_json(data: list[Any], shape: list[int], spec: TensorSpec, field: str) -> NDArray[Any]:
    """Numbers, flat or nested as the shape says. Raises Invalid."""
    integers = spec.dtype == "uint8"
    kind = "whole numbers" if integers else "numbers"
    refusal = Invalid(f"{field}.data must hold {kind}, flat or nested, as many as the shape says.", field=f"{field}.data")
    level: list[Any] = [data]
    for size in shape if data and isinstance(data[0], list) else [math.prod(shape)]:
        if any(not isinstance(part, list) or len(part) != size for part in level):
            raise refusal
        level = list(chain.from_iterable(level))
    if not set(map(type, level)) <= ({int} if integers else {int, float}):  # bool is an int to everything but `type`
        raise refusal
    try:
        return np.array(level, np.int64 if integers else np.float64).reshape(shape)
    except OverflowError:  # an integer of hundreds of digits
        raise _out_of_bounds(spec, field) from None


def _from_bytes(rest: memoryview, size: int, shape: list[int], spec: TensorSpec, field: str) -> tuple[NDArray[Any], memoryview]:
    """The next `size` bytes as numbers, and the bytes after them. Raises Invalid or Malformed."""
    kind = _WIRE[spec.dtype]
    needed = math.prod(shape) * kind.itemsize
    if size != needed:
        where = f"{field}.parameters.binary_data_size"
        raise Invalid(f"{where} must be {needed} for this shape.", field=where, allowed=str(needed))
    if len(rest) < size:
        raise Malformed(f"There are fewer bytes behind the JSON than its binary_data_size say; is {HEADER_LENGTH} there?")
    return np.frombuffer(rest[:size], kind).reshape(shape), rest[size:]


def _bounded(values: NDArray[Any], spec: TensorSpec, field: str) -> NDArray[Any]:
    """As the graph takes them: uint8, or float32 within MAX_CODE, on which no graph overflows. Raises Invalid, also on NaN."""
    low, high = (0, 255) if spec.dtype == "uint8" else (-MAX_CODE, MAX_CODE)
    with np.errstate(invalid="ignore"):
        within = bool(((values >= low) & (values <= high)).all())
    if not within:
        raise _out_of_bounds(spec, field)
    return values.astype(spec.dtype, copy=False)


def _out_of_bounds(spec: TensorSpec, field: str) -> Invalid:
    allowed = "whole numbers from 0 to 255" if spec.dtype == "uint8" else f"finite numbers from {-MAX_CODE:g} to {MAX_CODE:g}"
    return Invalid(f"{field} must hold {allowed}.", field=field, allowed=allowed)


# ------------------------------------------------------------------------------------------------------------------ out


def chosen_outputs(asked: Infer, specs: Sequence[TensorSpec]) -> list[tuple[TensorSpec, bool]]:
    """The outputs to give, in order, and whether each is to be binary. Raises Invalid on an unknown name or one twice."""
    by_name = {spec.name: spec for spec in specs}
    binary = bool(asked.parameters and asked.parameters.binary_data_output)
    if not asked.outputs:
        return [(spec, binary) for spec in specs]
    chosen: dict[str, tuple[TensorSpec, bool]] = {}
    for k, output in enumerate(asked.outputs):
        if output.name not in by_name or output.name in chosen:
            names = ", ".join(by_name)
            raise Invalid(f"outputs.{k}.name must be one of {names}, each once.", field=f"outputs.{k}.name", allowed=names)
        own = output.parameters.binary_data if output.parameters else None
        chosen[output.name] = (by_name[output.name], binary if own is None else own)
    return list(chosen.values())


def write(head: Mapping[str, object], outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON when bytes of tensors follow it."""
    described: list[dict[str, object]] = []
    chunks: list[bytes] = []
    for one in outputs:
        entry: dict[str, object] = {"name": one.spec.name, "datatype": DATATYPES[one.spec.dtype], "shape": list(one.values.shape)}
        if one.binary:
            chunks.append(one.values.astype(_WIRE[one.spec.dtype], copy=False).tobytes())
            described.append(entry | {"parameters": {"binary_data_size": len(chunks[-1])}})
        else:
            described.append(entry | {"data": one.values.ravel().tolist()})
    text = json.dumps({**head, "outputs": described}, allow_nan=False, separators=(",", ":")).encode()
    return b"".join([text, *chunks]), len(text) if chunks else None
