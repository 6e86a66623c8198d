"""What each route takes, with types and static bounds, and what it answers.

One strict validator for query and JSON. Refusals are sentences of our own: the library's text would repeat input. This module does not
know how the fields travelled, nor anything that needs a card (class names, code lengths).

Longer than 250 lines because all shapes of the wire share the one validator above them.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo

from twofold.service.runtime import parameters
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.latents import MAX_CODE
from twofold.service.runtime.parameters import (
    HARD_MAX_ITEMS,
    MAX_DIRECTION_WEIGHT,
    MAX_DIRECTIONS,
    ClassifiedBy,
    Parameter,
    PathKind,
    Sampler,
    Vary,
)

CAPPED = "x-capped"  # in a JSON schema: a bound that the setting max_items may lower; `openapi` writes the one in force
_MOST = "{most}"  # in a description: that bound
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_MAX_LISTED = 256  # characters of a list or mapping that is written as text


def _of(parameter: Parameter) -> Any:
    """The field of a declared parameter."""
    bounds: dict[str, Any] = {}
    if parameter.kind in (int, float):
        bounds = {"ge": parameter.low, "le": parameter.high}
    if parameter.kind is float:
        bounds["allow_inf_nan"] = False
    if parameter.capped:
        bounds["json_schema_extra"] = {CAPPED: int(parameter.high)}
    return Field(parameter.default, description=parameter.description, **bounds)


def _several(what: str) -> Any:
    """The field of a list that has 1 to max_items of something."""
    return Field(min_length=1, max_length=HARD_MAX_ITEMS, fail_fast=True, description=what, json_schema_extra={CAPPED: HARD_MAX_ITEMS})


_A_CLASS = "a class (an index, `name:` and a name, an exact name, or a unique prefix of one)"
ClassKey = Annotated[
    Annotated[int, Field(ge=0, le=65535)] | Annotated[str, Field(min_length=1, max_length=200)],
    Field(description=_A_CLASS, examples=[7, "sneaker"]),
]
Coordinate = Annotated[float, Field(ge=-MAX_CODE, le=MAX_CODE, allow_inf_nan=False)]
Code = Annotated[list[Coordinate], Field(min_length=1, max_length=65536, fail_fast=True)]
Token = Annotated[str | None, Field(min_length=1, max_length=2**20, description="a code token (c1.…)")]
ModelName = Annotated[str | None, Field(min_length=1, max_length=100, description="a name from /models (without it the default)")]
PictureFormat = Literal["png", "webp"]
Picture = Annotated[str | bytes, WithJsonSchema({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"})]
Source = Annotated[str | bytes, WithJsonSchema({"type": "string", "description": "a picture in base64, or a code token (c1.…)"})]


class Part(BaseModel):
    """Base of all requests and of what stands inside them: strict, and nothing unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


class Strict(Part):
    """Base of all requests: the one way from loose fields to a validated request.

    Where refusals name a bound that follows from the setting, `max_items` is that setting.
    """

    in_query: ClassVar[Mapping[str, type]] = {}
    lists: ClassVar[frozenset[str]] = frozenset()  # fields that hold several
    example: ClassVar[Mapping[str, Any]]  # a body, for the OpenAPI document
    names: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        kinds = {info.alias or name: info.annotation for name, info in cls.model_fields.items()}
        cls.names = frozenset(kinds)
        cls.lists = frozenset(name for name, annotation in kinds.items() if typing.get_origin(annotation) is list)
        cls.in_query = {name: kind for name, annotation in kinds.items() if (kind := _kind(annotation)) is not None}

    @classmethod
    def value(cls, name: str, text: str, max_items: int = HARD_MAX_ITEMS) -> Any:
        """The value of one textual field (query or multipart). Raises Invalid when it is unknown or not written as its type."""
        kind = cls.in_query.get(name)
        if kind is None:
            raise Invalid(_unknown(cls)) if name not in cls.names else Invalid(f"{name} goes into the body.", field=name)
        if (value := _parse(kind, text)) is None:
            raise _refusal(cls, (name,), max_items)
        return value

    @classmethod
    def check(cls, fields: Mapping[str, object], max_items: int = HARD_MAX_ITEMS) -> Self:
        """Validate. Raises Invalid naming the field and what is allowed, in our own words."""
        if not fields.keys() <= cls.names:
            raise Invalid(_unknown(cls), allowed=", ".join(sorted(cls.names)))
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise _refusal(cls, first["loc"], max_items, first["type"]) from None


def _kind(annotation: object) -> Any:
    """What can be written in a query: int, float, bool, str, list[int] or dict[str, float]; None for a field that cannot.

    `int | str` is text; what may be the bytes of a picture cannot be written.
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin is Literal:
        return str
    if origin in (types.UnionType, typing.Union):
        kinds = {_kind(part) for part in parts if part is not types.NoneType}
        return None if None in kinds else str if str in kinds else kinds.pop()
    if origin in (list, dict):
        annotation = origin[tuple(_kind(part) for part in parts)]
    return annotation if annotation in (int, float, bool, str, list[int], dict[str, float]) else None


def _parse(kind: Any, text: str) -> Any:
    """The value of `text` as the type `_kind` gives, lists as `1,2,3` and mappings as `a:1,b:2`; None where it is not written so."""
    if kind is int:
        return int(text) if _INTEGER.fullmatch(text) else None
    if kind is float:
        fits = len(text) <= 32 and _NUMBER.fullmatch(text)
        return number if fits and math.isfinite(number := float(text)) else None
    if kind is bool:
        return text == "true" if text in ("true", "false") else None
    if kind is str:
        return text
    parts = text.split(",") if len(text) <= _MAX_LISTED else []
    names = [part.rpartition(":")[0] for part in parts] if kind == dict[str, float] else []
    values = [_parse(typing.get_args(kind)[-1], part.rpartition(":")[2] if names else part) for part in parts]
    if None in values or len(set(names)) < len(names) or not values:
        return None
    return dict(zip(names, values, strict=True)) if names else values


def _unknown(cls: type[Strict]) -> str:
    return f"There is an unknown field; this route takes {', '.join(sorted(cls.names))}."


def _refusal(cls: type[BaseModel], loc: tuple[int | str, ...], max_items: int, kind: str = "") -> Invalid:
    """Name the field by known names and positions only: a key of a free mapping is input, and is not repeated."""
    path, allowed, owner = "", None, cls
    for part in loc:
        if isinstance(part, int):
            path += f".{part}"
            continue
        if part == owner.__name__:  # which member of a union it was taken for
            continue
        info = next((f for name, f in owner.model_fields.items() if part == (f.alias or name)), None)
        if info is None:
            break
        path += f".{part}" if path else part
        allowed = _description(info, max_items)
        owner = _items_of(info.annotation) or owner
    path = path or "body"
    if kind == "missing":
        return Invalid(f"{path} is required{f': {allowed}' if allowed else ''}.", field=path, allowed=allowed)
    if kind == "extra_forbidden":
        taken = ", ".join(info.alias or name for name, info in owner.model_fields.items())
        return Invalid(f"{path} holds an unknown field; it takes {taken}.", field=path)
    return Invalid(f"{path} is not acceptable{f'; it must be {allowed}' if allowed else ''}.", field=path, allowed=allowed)


def _description(info: FieldInfo, max_items: int) -> str | None:
    extra = info.json_schema_extra
    capped = extra.get(CAPPED) if isinstance(extra, dict) else None
    return with_cap(info.description, capped, max_items) if info.description and isinstance(capped, int) else info.description


def with_cap(description: str, high: int, max_items: int) -> str:
    """A description with the bound in force: `high`, or the setting where that is lower."""
    return description.replace(_MOST, str(min(high, max_items)))


def _items_of(annotation: object) -> type[BaseModel] | None:
    """The model inside an annotation, through lists and `| None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _items_of(part))), None)


# ------------------------------------------------------------------------------------------------------------ requests


class Request(Strict):
    """Base of the requests that name their model in a field."""

    model: ModelName = None


class Generate(Request):
    """Pictures of a class. Picture k uses index `index + k`; the style of a (seed, index) is the same in every class."""

    example = {"class": 7, "n": 4, "seed": 1}

    class_: ClassKey = Field(alias="class")
    n: int = _of(parameters.GENERATE["n"])
    seed: int | None = _of(parameters.GENERATE["seed"])
    index: int = _of(parameters.GENERATE["index"])
    temperature: float = _of(parameters.GENERATE["temperature"])
    class_temperature: float = _of(parameters.GENERATE["class_temperature"])
    sampler: Sampler = _of(parameters.GENERATE["sampler"])
    format: PictureFormat = _of(parameters.GENERATE["format"])


class Encode(Request):
    """Pictures to take apart."""

    example = {"images": ["iVBORw0KGgo..."]}

    images: list[Picture] = _several("a list of 1 to {most} pictures in base64")


_CLASS = Field(None, alias="class", description=_A_CLASS)
_DIRECTIONS = "directions of style by index, with weights from -4 to 4 (as text 0:1.5,2:-1)"


class Item(Part):
    """One picture to decode. The class comes from exactly one of code, z_s, class, class_weights; the style from z_u or seed."""

    code: Token = None
    z_s: Annotated[Code | None, Field(description="a list of numbers from -10000 to 10000, as long as dim_s")] = None
    z_u: Annotated[Code | None, Field(description="a list of numbers from -10000 to 10000, as long as dim_u")] = None
    class_: ClassKey | None = _CLASS
    class_weights: Annotated[
        dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]] | None,
        Field(min_length=1, max_length=1024, description="an object of classes with weights from 0 to 1 that sum to 1"),
    ] = None
    seed: int | None = _of(parameters.DECODE["seed"])
    index: int = _of(parameters.DECODE["index"])


class Decode(Request):
    """Codes to put together."""

    example = {"items": [{"code": "c1...."}, {"class": 7, "seed": 1}, {"class_weights": {"7": 0.5, "9": 0.5}, "seed": 1}]}

    items: list[Item] = _several("a list of 1 to {most} items")
    format: PictureFormat = _of(parameters.DECODE["format"])


class Swap(Request):
    """The class of some, the style of others: `class_from` gives the rows, `style_from` the columns."""

    example = {"class_from": ["iVBORw0KGgo..."], "style_from": ["iVBORw0KGgo...", "c1...."], "verdict": True}

    class_from: list[Source] = _several("a list of pictures in base64 or code tokens")
    style_from: list[Source] = _several("a list of pictures in base64 or code tokens")
    verdict: bool = _of(parameters.SWAP["verdict"])
    format: PictureFormat = _of(parameters.SWAP["format"])


class Key(Part):
    """A point of an interpolation that is no picture: a code token, or a class. A class without a seed is its mean, with one a draw."""

    code: Token = None
    class_: ClassKey | None = _CLASS
    seed: int | None = _of(parameters.DECODE["seed"])
    index: int = _of(parameters.DECODE["index"])


class Interpolate(Request):
    """Pictures on the way from key to key, evenly from the first to the last."""

    example = {"keys": ["iVBORw0KGgo...", "c1....", {"class": "sneaker", "seed": 1}], "frames": 16, "vary": "both"}

    keys: Annotated[
        list[Key | Source],
        Field(min_length=2, max_length=8, fail_fast=True, description="a list of 2 to 8 pictures in base64, code tokens or classes"),
    ]
    frames: int = _of(parameters.INTERPOLATE["frames"])
    vary: Vary = _of(parameters.INTERPOLATE["vary"])
    path: PathKind = _of(parameters.INTERPOLATE["path"])
    seed: int | None = _of(parameters.INTERPOLATE["seed"])
    verdict: bool = _of(parameters.INTERPOLATE["verdict"])
    animate: bool = _of(parameters.INTERPOLATE["animate"])
    fps: int = _of(parameters.INTERPOLATE["fps"])
    format: PictureFormat = _of(parameters.INTERPOLATE["format"])


class Edit(Request):
    """A picture with another class, in other styles, or moved along directions of style."""

    example = {"image": "iVBORw0KGgo...", "class": "ankle boot", "strength": 0.5, "style_spread": 0.5, "n": 4, "seed": 1}

    image: Annotated[Source, Field(description="a picture in base64 or a code token")]
    class_: ClassKey | None = _CLASS
    strength: float = _of(parameters.EDIT["strength"])
    directions: Annotated[
        dict[str, Annotated[float, Field(ge=-MAX_DIRECTION_WEIGHT, le=MAX_DIRECTION_WEIGHT, allow_inf_nan=False)]] | None,
        Field(min_length=1, max_length=MAX_DIRECTIONS, description=_DIRECTIONS),
    ] = None
    n: int = _of(parameters.EDIT["n"])
    seed: int | None = _of(parameters.EDIT["seed"])
    index: int = _of(parameters.EDIT["index"])
    style_spread: float = _of(parameters.EDIT["style_spread"])
    temperature: float = _of(parameters.EDIT["temperature"])
    verdict: bool = _of(parameters.EDIT["verdict"])
    format: PictureFormat = _of(parameters.EDIT["format"])


class Inpaint(Request):
    """A picture with a hole, which exactly one of mask and box says, to be filled."""

    example = {"image": "iVBORw0KGgo...", "box": [7, 7, 14, 14]}

    image: Annotated[Picture, Field(description="a picture in base64")]
    mask: Annotated[Picture | None, Field(description="a picture in base64 (white: fill)")] = None
    box: Annotated[
        list[Annotated[int, Field(ge=0, le=65536)]] | None,
        Field(min_length=4, max_length=4, description="x, y, width and height in the model's pixels (as text 7,7,14,14)"),
    ] = None
    steps: int = _of(parameters.INPAINT["steps"])
    format: PictureFormat = _of(parameters.INPAINT["format"])


class InputParameters(Part):
    """Parameters of one input tensor."""

    binary_data_size: int | None = Field(None, ge=0, le=2**63 - 1, description="how many bytes of this tensor stand behind the JSON")


class InputTensor(Part):
    """One input of a graph, row-major. Its values stand in `data`, flat or nested, or as little-endian bytes behind the JSON."""

    name: Annotated[str, Field(min_length=1, max_length=100, description="a name of the model's metadata")]
    datatype: Annotated[Literal["UINT8", "FP32"], Field(description="UINT8 or FP32, as the model's metadata says")]
    shape: Annotated[
        list[Annotated[int, Field(ge=0, le=2**63 - 1)]],
        Field(min_length=1, max_length=8, description="a list of 1 to 8 whole numbers, the number of rows first"),
    ]
    data: Annotated[list[Any] | None, Field(description="a list of numbers, flat or nested as the shape")] = None
    parameters: Annotated[InputParameters | None, Field(description="an object that may hold binary_data_size")] = None


class OutputParameters(Part):
    """Parameters of one output tensor."""

    binary_data: Annotated[bool | None, Field(description="true or false (true: this output comes as bytes behind the JSON)")] = None


class WantedOutput(Part):
    """One output to give."""

    name: Annotated[str, Field(min_length=1, max_length=100, description="a name of the model's metadata")]
    parameters: Annotated[OutputParameters | None, Field(description="an object that may hold binary_data")] = None


class InferParameters(Part):
    """Parameters of a whole inference request."""

    binary_data_output: Annotated[bool | None, Field(description="true or false (true: outputs come as bytes behind the JSON)")] = None


class Infer(Strict):
    """Rows for one graph, in the words of the Open Inference Protocol. Without `outputs` all of them are given."""

    example = {
        "inputs": [
            {"name": "z_s", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16},
            {"name": "z_u", "datatype": "FP32", "shape": [1, 16], "data": [0.0] * 16},
        ]
    }

    id: Annotated[str | None, Field(max_length=1000, description="a text (given back if it is 1 to 64 of A-Z a-z 0-9 . _ -)")] = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=8, description="a list of the graph's inputs, each once")]
    outputs: Annotated[list[WantedOutput] | None, Field(max_length=8, description="a list of outputs to give, each once")] = None
    parameters: Annotated[InferParameters | None, Field(description="an object that may hold binary_data_output")] = None


class Inspect(Request):
    """A picture that was made here."""

    example = {"image": "iVBORw0KGgo...", "verify": True}

    image: Picture = Field(description="a picture in base64")
    verify: bool = _of(parameters.INSPECT["verify"])


# ------------------------------------------------------------------------------------------------------------- answers
# The shapes of answers, for the documentation and for the tests, which validate real answers against them. Answers are built as dicts
# of checked parts and not validated again on their way out, so that the order of their members and their cost stay in our hands.


_CLASSIFIED_BY = "the network that said so; not there where that is the encoder, because the bundle has no evaluation classifier"


class ClassName(BaseModel):
    """A class of the model."""

    index: int = Field(examples=[7])
    name: str = Field(examples=["Sneaker"])


class ReadClass(ClassName):
    """A class with the probability that the network which read it gives it."""

    prob: float = Field(ge=0, le=1, examples=[0.98])


class Verdict(BaseModel):
    """The class that a result shows, and whether that is the class of its code."""

    class_: ReadClass = Field(alias="class")
    kept: bool
    by: ClassifiedBy = Field("encoder", description=_CLASSIFIED_BY)


class TimingsMs(BaseModel):
    """Milliseconds that a request spent in each stage."""

    queue: float = Field(examples=[0.1])
    preprocess: float = Field(examples=[0.0])
    model: float = Field(examples=[0.4])
    encode: float = Field(examples=[0.1])


class Image(BaseModel):
    """One picture in base64; beside it what made it: class and seed, row and col of /swap, frame and t of /interpolate."""

    image: str = Field(json_schema_extra={"contentEncoding": "base64"})
    class_: ClassName | None = Field(None, alias="class")
    seed: int | None = None
    index: int | None = None
    row: int | None = None
    col: int | None = None
    frame: int | None = None
    t: float | None = Field(None, description="of /interpolate: the place on the whole way, 0 to 1", examples=[0.5])
    class_probs: list[float] | None = None
    class_probs_by: ClassifiedBy | None = Field(None, description=_CLASSIFIED_BY)
    verdict: Verdict | None = None
    code: str = Field(examples=["c1.PyyaEAAAAAA"])


class ImagesAnswer(BaseModel):
    """Pictures, in reading order."""

    model: str = Field(examples=["fashion-mnist@3f2c9a10"])
    images: list[Image]
    rows: int | None = Field(None, description="of /swap: how many pictures gave their class")
    cols: int | None = Field(None, description="of /swap: how many pictures gave their style")
    notes: dict[str, list[list[str]]] | None = Field(None, description="by field: what was done to each picture that was sent")
    timings_ms: TimingsMs


class Encoding(BaseModel):
    """What the encoder says of one picture."""

    z_s: list[float] = Field(description="the class code")
    z_u: list[float] = Field(description="the style code: the mean of its posterior")
    z_u_log_var: list[float]
    class_: ReadClass = Field(alias="class")
    class_probs: list[float]
    log_density: float
    typicality: float | None = Field(description="share of held-out pictures that are less dense; null without calibration")
    code: str
    notes: list[str] = Field(examples=[["rotated by EXIF", "4032x3024 cropped to 28x28"]])


class EncodeAnswer(BaseModel):
    """Encodings in the order of the pictures."""

    model: str = Field(examples=["fashion-mnist@3f2c9a10"])
    items: list[Encoding]
    timings_ms: TimingsMs


class Limits(BaseModel):
    """The caps on a request that are in force, each the setting of its name."""

    max_items: int = Field(description="most pictures, items or matrix cells", examples=[64])
    max_body_bytes: int = Field(description="largest body", examples=[8388608])
    max_picture_bytes: int = Field(description="largest encoded picture", examples=[4194304])
    max_pixels: int = Field(description="largest picture in pixels", examples=[4200000])
    max_side: int = Field(description="longest side of a picture in pixels", examples=[4096])
    max_jpeg_scans: int = Field(description="most scans of a progressive JPEG", examples=[100])
    max_url_bytes: int = Field(description="longest URL", examples=[4096])
    max_header_bytes: int = Field(description="largest header block", examples=[16384])


class Lengths(BaseModel):
    """The lengths of a model's codes, and the sides of its pictures."""

    dim_s: int = Field(examples=[16])
    dim_u: int = Field(examples=[16])
    classes: int = Field(examples=[10])
    height: int = Field(examples=[28])
    width: int = Field(examples=[28])
    channels: int = Field(examples=[1])


class ServedModel(BaseModel):
    """One model that is served."""

    id: str = Field(examples=["fashion-mnist@3f2c9a10"])
    name: str = Field(examples=["fashion-mnist"])
    model_hash: str
    dims: Lengths
    precision: str = Field(examples=["fp32"])
    provider: str = Field(examples=["CPUExecutionProvider"])


class ModelsAnswer(BaseModel):
    """The models that are served, and the caps on a request."""

    default: str = Field(examples=["fashion-mnist"])
    models: list[ServedModel]
    limits: Limits


class Live(BaseModel):
    """The process answers."""

    live: Literal[True]


class Ready(BaseModel):
    """The models can be asked."""

    name: str | None = Field(None, description="of one model")
    ready: Literal[True]


class ServerMetadata(BaseModel):
    """The server, as the Open Inference Protocol describes it."""

    name: str = Field(examples=["twofold"])
    version: str = Field(examples=["0.1.0"])
    extensions: list[str] = Field(examples=[["binary_tensor_data"]])


class TensorMetadata(BaseModel):
    """One input or output of a graph."""

    name: str = Field(examples=["z_s"])
    datatype: Literal["UINT8", "FP32"]
    shape: list[int] = Field(description="-1 stands for the number of rows", examples=[[-1, 16]])


class ModelMetadata(BaseModel):
    """One graph, as the Open Inference Protocol describes it."""

    name: str = Field(examples=["fashion-mnist.decoder"])
    versions: list[str] = Field(examples=[["1"]])
    platform: str = Field(examples=["onnxruntime_onnx"])
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(BaseModel):
    """Its values stand in `data`, flat and row-major, or as `parameters.binary_data_size` little-endian bytes behind the JSON."""

    name: str
    datatype: Literal["UINT8", "FP32"]
    shape: list[int]
    data: list[float] | None = None
    parameters: InputParameters | None = None


class InferAnswer(BaseModel):
    """The outputs in the order in which they were asked for."""

    model_name: str = Field(examples=["fashion-mnist.decoder"])
    model_version: str = Field(examples=["1"])
    id: str | None = None
    outputs: list[OutputTensor]


class InspectAnswer(BaseModel):
    """The recipe of a picture, and whether it was verified."""

    model: str = Field(examples=["fashion-mnist@3f2c9a10"])
    recipe: dict[str, Any] | None = Field(description="what the picture says of its making; null when it says nothing")
    verified: bool | None = Field(
        description="whether the recipe makes this picture; null when it was not asked, or cannot be decided here"
    )
    max_difference: int | None = Field(description="how far apart they are, in grey levels; null when they were not compared")
    notes: list[str]
    timings_ms: TimingsMs


class Problem(BaseModel):
    """RFC 9457. `code` is from a closed list; nothing of the input is repeated."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    code: str
    detail: str
    field: str | None = None
    allowed: str | None = None
    error: str | None = Field(None, description="below /v2: the detail again, where the protocol's clients look for it")
    request_id: str
