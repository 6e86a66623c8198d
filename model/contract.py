"""The bundle: the only thing that training hands to the service.

Which files a bundle holds, which tensors its graphs take and give, what its card holds, and the checks of all that, in one module. It
imports the standard library and numpy only, and knows neither who made the bundle (training) nor who runs it (service).

A bundle is a folder:

    card.json      identity of the model: names, dims, preprocessing, data, licence, configuration, headline metrics
    encoder.onnx   pixels uint8 [N,H,W,C] -> z_s, z_u_mean, z_u_log_var, class_log_prob, log_density
    decoder.onnx   z_s, z_u -> pixels uint8 [N,H,W,C]
    prior.npz      the class Gaussians as learned, and refitted on the training codes (the default sampler)
    golden.npz     a few inputs and the outputs they must give
    SHA256SUMS     the SHA-256 of every other file, extras included
    extras         eval_classifier.onnx, calibration.json, directions.npz, map.npz, examples/*.png, README.md: may be missing
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

CONTRACT_VERSION = 1
OPSET = 20  # what the export writes; the service accepts a range (service/runtime/onnx_header.py)

CARD, PRIOR, GOLDEN, SUMS = "card.json", "prior.npz", "golden.npz", "SHA256SUMS"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
REQUIRED = (CARD, ENCODER, DECODER, PRIOR, GOLDEN)
HASHED = (DECODER, ENCODER, PRIOR)  # the files that decide what the model answers
EVAL_CLASSIFIER = "eval_classifier.onnx"  # an extra: codes and pixels do not depend on it
CALIBRATION, DIRECTIONS, MAP, EXAMPLES, MODEL_CARD = "calibration.json", "directions.npz", "map.npz", "examples", "README.md"
HUB_FILE = ".gitattributes"  # a hub adds it to every repository; no part of the bundle, nothing reads it

GOLDEN_ATOL = 2e-3  # codes, on any provider; pixels may differ by one grey level
GOLDEN_RTOL = 2e-3
MAX_FILE_BYTES = 512 * 2**20
MAX_DIRECTIONS, MAX_MAP_POINTS = 8, 1000

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
CROPS = ("center", "none")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")

Record = TypeVar("Record", "Prior", "Golden", "Directions", "CodeMap")  # of arrays, one .npz file each
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class ContractError(Exception):
    """A folder is not a bundle, or not the bundle it says it is. The text names the file and what is wrong with it."""


# ---------------------------------------------------------------------------------------------------------- dims, card


@dataclass(frozen=True)
class Dims:
    """Sizes that every tensor of a bundle is made of."""

    dim_s: int
    dim_u: int
    classes: int
    height: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65536:
                raise ContractError(f"{CARD}: dims.{name} must be an integer from 1 to 65536")
        if self.channels not in (1, 3):
            raise ContractError(f"{CARD}: dims.channels must be 1 (grey) or 3 (RGB)")


@dataclass(frozen=True)
class Preprocessing:
    """How a picture of any size and mode becomes pixels uint8 [H,W,C]; done by `twofold.model.preprocessing`."""

    background: tuple[int, ...]  # 0..255 per channel: what shows through alpha
    filter: str = "lanczos"  # Pillow's resampling filter
    crop: str = "center"  # "center": largest centred region of the right aspect; "none": stretch

    def __post_init__(self) -> None:
        if not self.background or any(not isinstance(v, int) or isinstance(v, bool) or not 0 <= v <= 255 for v in self.background):
            raise ContractError(f"{CARD}: preprocessing.background must hold one level 0..255 per channel")
        if self.filter not in FILTERS:
            raise ContractError(f"{CARD}: preprocessing.filter must be one of {', '.join(FILTERS)}")
        if self.crop not in CROPS:
            raise ContractError(f"{CARD}: preprocessing.crop must be one of {', '.join(CROPS)}")


@dataclass(frozen=True)
class Card:
    """card.json. `metrics` is {"split": ..., "values": {...}, ...} or {} before the bundle is measured."""

    name: str
    class_names: tuple[str, ...]
    dims: Dims
    preprocessing: Preprocessing
    model_hash: str  # 64 hex digits, see `model_hash`
    precision: str = "fp32"
    contract_version: int = CONTRACT_VERSION
    data: Mapping[str, Any] = field(default_factory=dict)  # source, licence, hashes, row counts
    training: Mapping[str, Any] = field(default_factory=dict)  # the resolved configuration
    revision: str = "unknown"  # git revision of the trainer
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.contract_version != CONTRACT_VERSION:
            raise ContractError(f"{CARD}: contract_version must be {CONTRACT_VERSION}")
        if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?", self.name):
            raise ContractError(f"{CARD}: name must be 1 to 64 of a-z, 0-9, '.', '_' or '-'")
        if len(self.class_names) != self.dims.classes or len(set(self.class_names)) != self.dims.classes:
            raise ContractError(f"{CARD}: class_names must hold {self.dims.classes} different names")
        if any(not isinstance(n, str) or not 1 <= len(n) <= 200 or not n.isprintable() for n in self.class_names):
            raise ContractError(f"{CARD}: every class name must be 1 to 200 printable characters")
        if len(self.preprocessing.background) != self.dims.channels:
            raise ContractError(f"{CARD}: preprocessing.background must hold {self.dims.channels} levels")
        if not re.fullmatch(r"[0-9a-f]{64}", self.model_hash):
            raise ContractError(f"{CARD}: model_hash must be 64 lower-case hex digits")
        if self.precision not in PRECISIONS:
            raise ContractError(f"{CARD}: precision must be one of {', '.join(PRECISIONS)}")

    @property
    def id(self) -> str:
        """`name@` and the first 8 digits of the hash, as every answer shows it."""
        return f"{self.name}@{self.model_hash[:8]}"

    def to_json(self) -> str:
        """The text of card.json: sorted keys, two spaces, final newline; NaN is refused."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read card.json. Raises ContractError on a missing, unknown or ill-typed key."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{CARD}: not JSON") from error
        if not isinstance(raw, dict):
            raise ContractError(f"{CARD}: not an object")
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(raw) - known):
            raise ContractError(f"{CARD}: unknown key {unknown[0]!r}")
        try:
            dims = Dims(**raw.pop("dims"))
            pre = raw.pop("preprocessing")
            preprocessing = Preprocessing(**{**pre, "background": tuple(pre["background"])})
            names = raw.pop("class_names")
            if not isinstance(names, list):
                raise TypeError
            for key in ("data", "training", "metrics"):
                if not isinstance(raw.get(key, {}), dict):
                    raise TypeError
            for key in ("name", "model_hash", "precision", "revision"):
                if not isinstance(raw.get(key, ""), str):
                    raise TypeError
            return cls(class_names=tuple(names), dims=dims, preprocessing=preprocessing, **raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise ContractError(f"{CARD}: a key is missing, unknown or of the wrong type") from error


# -------------------------------------------------------------------------------------------------------------- graphs


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph. `shape` leaves out the batch, which is the only dynamic axis and comes first."""

    name: str
    dtype: str  # "uint8" or "float32"
    shape: tuple[int, ...]


def encoder_signature(dims: Dims) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of encoder.onnx, in order."""
    return (
        (TensorSpec("pixels", "uint8", (dims.height, dims.width, dims.channels)),),
        (
            TensorSpec("z_s", "float32", (dims.dim_s,)),
            TensorSpec("z_u_mean", "float32", (dims.dim_u,)),
            TensorSpec("z_u_log_var", "float32", (dims.dim_u,)),
            TensorSpec("class_log_prob", "float32", (dims.classes,)),
            TensorSpec("log_density", "float32", ()),
        ),
    )


def decoder_signature(dims: Dims) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of decoder.onnx, in order."""
    return (
        (TensorSpec("z_s", "float32", (dims.dim_s,)), TensorSpec("z_u", "float32", (dims.dim_u,))),
        (TensorSpec("pixels", "uint8", (dims.height, dims.width, dims.channels)),),
    )


def eval_classifier_signature(dims: Dims) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of eval_classifier.onnx, which a bundle may have: those of the encoder that name the class, nats."""
    inputs, outputs = encoder_signature(dims)
    return inputs, tuple(spec for spec in outputs if spec.name == "class_log_prob")


def check_tensors(file: str, expected: Sequence[TensorSpec], found: Sequence[tuple[str, str, Sequence[Any]]]) -> None:
    """Compare a graph's inputs or outputs, given as (name, dtype, shape with batch), with the contract.

    Raises ContractError naming the first tensor that differs. The batch axis must be dynamic (not an int).
    """
    if [name for name, _, _ in found] != [spec.name for spec in expected]:
        raise ContractError(f"{file}: tensors must be named {', '.join(s.name for s in expected)}, in this order")
    for spec, (_, dtype, shape) in zip(expected, found, strict=True):
        if dtype != spec.dtype:
            raise ContractError(f"{file}: {spec.name} must be {spec.dtype}, not {dtype}")
        if len(shape) != 1 + len(spec.shape) or tuple(shape[1:]) != spec.shape:
            raise ContractError(f"{file}: {spec.name} must have shape [N{''.join(f',{d}' for d in spec.shape)}]")
        if isinstance(shape[0], int):
            raise ContractError(f"{file}: {spec.name} must have a dynamic batch axis")


# ------------------------------------------------------------------------------------------------- prior and golden


@dataclass(frozen=True)
class Prior:
    """prior.npz, all float32. The class Gaussians as learned, and the sampler refitted on the training codes."""

    class_means: Floats  # [K, D_s]
    class_log_vars: Floats  # [K, D_s]  log-variance, never a precision
    class_weights: Floats  # [K]  class frequencies of the training split, sum 1
    fit_means: Floats  # [K, D_s]
    fit_scale_tril: Floats  # [K, D_s, D_s]  lower Cholesky factor
    fit_z_u_mean: Floats  # [D_u]
    fit_z_u_scale_tril: Floats  # [D_u, D_u]


@dataclass(frozen=True)
class Golden:
    """golden.npz: rows that must come out as they stand here (codes within GOLDEN_ATOL/RTOL, pixels within one level)."""

    pixels: Pixels  # [n, H, W, C]  encoder input
    z_s: Floats
    z_u_mean: Floats
    z_u_log_var: Floats
    class_log_prob: Floats
    log_density: Floats
    decoder_z_s: Floats  # [m, D_s]  decoder input
    decoder_z_u: Floats
    decoder_pixels: Pixels


@dataclass(frozen=True)
class Directions:
    """directions.npz, float32: the steps in z_u that change a picture most, the most visible one first; R from 1 to MAX_DIRECTIONS."""

    directions: Floats  # [R, D_u]  weight 1 is one deviation of the style codes along it
    effects: Floats  # [R]  mean absolute change of a pixel by a step of weight 1, in grey levels of 255; descending


@dataclass(frozen=True)
class CodeMap:
    """map.npz: stored codes of held-out pictures and their places in a flat overview; M from 1 to MAX_MAP_POINTS."""

    xy: Floats  # [M, 2]  -1..1, for display: distances between clusters mean little
    label: NDArray[np.int64]  # [M]  the true class
    z_s: Floats  # [M, D_s]
    z_u: Floats  # [M, D_u]
    kept: Floats  # []  how much of the class structure of z_s the places keep, 0..1 (1: the neighbours are as often of one class)


def check_prior(prior: Prior, dims: Dims) -> None:
    """Raises ContractError unless every array has its shape, type and range."""
    k, s, u = dims.classes, dims.dim_s, dims.dim_u
    shapes = {"class_means": (k, s), "class_log_vars": (k, s), "class_weights": (k,)}
    shapes |= {"fit_means": (k, s), "fit_scale_tril": (k, s, s), "fit_z_u_mean": (u,), "fit_z_u_scale_tril": (u, u)}
    _check_finite(PRIOR, prior, shapes)
    if (prior.class_weights < 0).any() or not math.isclose(float(prior.class_weights.sum()), 1.0, abs_tol=1e-4):
        raise ContractError(f"{PRIOR}: class_weights must be frequencies that sum to 1")


def check_golden(golden: Golden, dims: Dims) -> None:
    """Raises ContractError unless every array has its shape and type and the two row counts agree."""
    n, m = len(golden.pixels), len(golden.decoder_pixels)
    specs = {"pixels": (encoder_signature(dims)[0][0], n), "decoder_pixels": (decoder_signature(dims)[1][0], m)}
    specs |= {spec.name: (spec, n) for spec in encoder_signature(dims)[1]}
    specs |= {f"decoder_{spec.name}": (spec, m) for spec in decoder_signature(dims)[0]}
    for name, (spec, rows) in specs.items():
        array = getattr(golden, name)
        if array.shape != (rows, *spec.shape) or array.dtype != np.dtype(spec.dtype) or rows < 1:
            raise ContractError(f"{GOLDEN}: {name} must be {spec.dtype} of shape {[rows, *spec.shape]}")


def check_directions(found: Directions, dims: Dims) -> None:
    """Raises ContractError unless both arrays have their shape, type and range, and the effects descend."""
    count = len(found.effects) if found.effects.ndim else 0
    _check_finite(DIRECTIONS, found, {"directions": (count, dims.dim_u), "effects": (count,)})
    if not 1 <= count <= MAX_DIRECTIONS:
        raise ContractError(f"{DIRECTIONS}: must hold 1 to {MAX_DIRECTIONS} directions")
    if (found.effects < 0).any() or (np.diff(found.effects) > 0).any():
        raise ContractError(f"{DIRECTIONS}: effects must descend and not be negative")


def check_map(found: CodeMap, dims: Dims) -> None:
    """Raises ContractError unless every array has its shape, type and range."""
    count = len(found.label) if found.label.ndim else 0
    _check_finite(MAP, found, {"xy": (count, 2), "z_s": (count, dims.dim_s), "z_u": (count, dims.dim_u), "kept": ()})
    if found.label.dtype != np.int64 or found.label.ndim != 1 or not 1 <= count <= MAX_MAP_POINTS:
        raise ContractError(f"{MAP}: label must be int64 of shape [M], M from 1 to {MAX_MAP_POINTS}")
    if (found.label < 0).any() or (found.label >= dims.classes).any():
        raise ContractError(f"{MAP}: label must hold class indices of the card")
    if (np.abs(found.xy) > 1).any() or not 0 <= found.kept <= 1:
        raise ContractError(f"{MAP}: xy must lie in -1..1, kept in 0..1")


def _check_finite(file: str, record: object, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        array = getattr(record, name)
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise ContractError(f"{file}: {name} must be finite float32 of shape {list(shape)}")


def _read_record(path: Path, kind: type[Record], check: Callable[[Record, Dims], None], dims: Dims) -> Record:
    """One of the records of arrays from its .npz file."""
    names = [one.name for one in fields(kind)]
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if sorted(arrays.files) != sorted(names):
                raise ContractError(f"{path.name}: must hold exactly {', '.join(names)}")
            record = kind(**{name: arrays[name] for name in names})
    except ContractError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds on a damaged file
        raise ContractError(f"{path.name}: cannot be read") from error
    check(record, dims)
    return record


def read_prior(folder: Path, dims: Dims) -> Prior:
    """Read and check prior.npz. Raises ContractError."""
    return _read_record(folder / PRIOR, Prior, check_prior, dims)


def read_golden(folder: Path, dims: Dims) -> Golden:
    """Read and check golden.npz. Raises ContractError."""
    return _read_record(folder / GOLDEN, Golden, check_golden, dims)


def read_directions(folder: Path, dims: Dims) -> Directions | None:
    """Read and check directions.npz; None where the bundle has none. Raises ContractError."""
    path = folder / DIRECTIONS
    return _read_record(path, Directions, check_directions, dims) if path.exists() else None


def read_map(folder: Path, dims: Dims) -> CodeMap | None:
    """Read and check map.npz; None where the bundle has none. Raises ContractError."""
    path = folder / MAP
    return _read_record(path, CodeMap, check_map, dims) if path.exists() else None


def write_arrays(path: Path, record: Prior | Golden | Directions | CodeMap) -> None:
    """Write one of the records of arrays as .npz, the same bytes for the same arrays."""
    np.savez_compressed(path, allow_pickle=False, **{name: getattr(record, name) for name in record.__dataclass_fields__})


# --------------------------------------------------------------------------------------------------------------- sums


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def model_hash(sums: Mapping[str, str]) -> str:
    """SHA-256 over the sorted hashes of encoder.onnx, decoder.onnx and prior.npz (not the card: its figures come later)."""
    return hashlib.sha256("\n".join(sorted(sums[name] for name in HASHED)).encode()).hexdigest()


def _files(folder: Path) -> list[str]:
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    return sorted(name for name in names if name != HUB_FILE)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over every other file of the folder, in the format of `sha256sum`."""
    text = "".join(f"{file_sha256(folder / name)}  {name}\n" for name in _files(folder))
    (folder / SUMS).write_text(text, encoding="ascii")


def verify_sums(folder: Path) -> dict[str, str]:
    """Check that the folder holds exactly the files SHA256SUMS names, with those hashes; returns name -> hash.

    Raises ContractError naming the first file that is missing, left over, too large, or different.
    """
    if not folder.is_dir():
        raise ContractError("no such bundle folder")
    sums = _read_sums(folder)
    present = set(_files(folder))
    for name in sorted(set(sums) | present):
        if name not in present:
            raise ContractError(f"{name}: missing")
        if name not in sums:
            raise ContractError(f"{name}: not named in {SUMS}")
        if (folder / name).stat().st_size > MAX_FILE_BYTES:
            raise ContractError(f"{name}: larger than {MAX_FILE_BYTES} bytes")
        if file_sha256(folder / name) != sums[name]:
            raise ContractError(f"{name}: its SHA-256 is not the one in {SUMS}")
    return sums


def _read_sums(folder: Path) -> dict[str, str]:
    """Name -> hash, as SHA256SUMS has them. Raises ContractError on a malformed line or a required file that it does not name."""
    try:
        text = (folder / SUMS).read_bytes().decode("ascii")
    except (OSError, ValueError) as error:
        raise ContractError(f"{SUMS}: missing or unreadable") from error
    sums: dict[str, str] = {}
    if not text.endswith("\n"):
        raise ContractError(f"{SUMS}: ends too early")
    for line in text[:-1].split("\n"):
        match = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*)", line)
        if not match or match[2] in sums:
            raise ContractError(f"{SUMS}: malformed line {len(sums) + 1}")
        sums[match[2]] = match[1]
    for name in REQUIRED:
        if name not in sums:
            raise ContractError(f"{SUMS}: does not name {name}")
    return sums


def read_card(folder: Path) -> Card:
    """Read and check card.json. Raises ContractError."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ContractError(f"{CARD}: missing or unreadable") from error
    return Card.from_json(text)


@dataclass(frozen=True)
class BundleFiles:
    """What `open_bundle` read. The graphs stay bytes, so that what was verified is what is run."""

    card: Card
    prior: Prior
    golden: Golden
    encoder: bytes
    decoder: bytes
    eval_classifier: bytes | None  # None: the bundle has none


def open_bundle(folder: Path) -> BundleFiles:
    """Verify every hash, read card, prior, golden rows and graph bytes. Raises ContractError.

    Graph bytes are hashed again after reading, so a file changed between the two reads is refused.
    """
    sums = verify_sums(folder)
    card = read_card(folder)
    if card.model_hash != model_hash(sums):
        raise ContractError(f"{CARD}: model_hash does not belong to these files")
    graphs = {}
    for name in {ENCODER, DECODER, EVAL_CLASSIFIER} & sums.keys():
        graphs[name] = (folder / name).read_bytes()
        if hashlib.sha256(graphs[name]).hexdigest() != sums[name]:
            raise ContractError(f"{name}: changed while it was read")
    arrays = read_prior(folder, card.dims), read_golden(folder, card.dims)
    return BundleFiles(card, *arrays, graphs[ENCODER], graphs[DECODER], graphs.get(EVAL_CLASSIFIER))
