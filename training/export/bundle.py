"""A trained model becomes a bundle: written beside, proved against torch, renamed into place.

The only file that touches `torch.onnx`. Knows the model and the contract; not the service. An int8 bundle is proved twice: fp32 graphs
against torch by parity, then their int8 twins against them by measures.

Longer than 250 lines because a bundle is proved where its graphs, golden rows and card are made.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from twofold.files import taking_the_place_of
from twofold.model import contract
from twofold.model.contract import Card, ContractError, Dims, Golden, Pixels, Prior
from twofold.model.prior import FittedDensity
from twofold.model.vae_gan import VaeGan
from twofold.training.config.environment import revision
from twofold.training.config.schema import from_dict
from twofold.training.data.dataset import DataError, Pictures, load_for, preprocessing_of
from twofold.training.data.provenance import manifest
from twofold.training.export.extras import write_extras
from twofold.training.export.model_card import model_card
from twofold.training.export.quantize import quantise
from twofold.training.trainer import checkpoint
from twofold.training.trainer.calibration import act
from twofold.training.trainer.latents import PIECE, encode, to_tensor
from twofold.training.trainer.run_dir import DATA, LAST
from twofold.training.trainer.trainer import build

GOLDEN_ROWS = 16
PARITY_ROWS = 256
ALONE_ROWS = 8
STEADY = 0.01  # grains between a code and the nearest border, at least, where codes are compared
CALIBRATION_ROWS = 512  # training pictures that decide the ranges of int8
PARITY_ATOL = 1e-4  # codes against torch; log-density is a sum over both codes and gets ten times that


class ExportError(Exception):
    """The exported graphs do not answer as the model does; nothing was written."""


class Int8Bounds(NamedTuple):
    """How far int8 may be from fp32."""

    z_s: float = 0.1  # root mean square error, in deviations of the codes
    z_u_mean: float = 0.15
    read: float = 0.02  # share of pictures read as another class
    grey_levels: float = 2.0  # mean absolute error of swaps


INT8 = Int8Bounds()


class EncoderGraph(nn.Module):
    """pixels uint8 [N, H, W, C] -> the outputs of `contract.encoder_signature`."""

    def __init__(self, model: VaeGan) -> None:
        super().__init__()
        self.model = model
        self.density = FittedDensity(model.fitted, model.prior.log_weights)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        z_s, z_u, class_log_prob = self.model.read(pixels.permute(0, 3, 1, 2).float() / 255)
        return z_s, z_u.mean, z_u.log_var, class_log_prob, self.density(z_s, z_u.mean)


class DecoderGraph(nn.Module):
    """z_s [N, D_s], z_u [N, D_u] -> pixels uint8 [N, H, W, C]."""

    def __init__(self, model: VaeGan) -> None:
        super().__init__()
        self.model = model

    def forward(self, z_s: Tensor, z_u: Tensor) -> Tensor:
        return (self.model.decode(z_s, z_u) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


# ---------------------------------------------------------------------------------------------------------- graphs


def fold_batch_norm(model: nn.Module) -> None:
    """Fold every BatchNorm into the linear map before it, in place; the model must be in evaluation mode."""
    for parent in [m for m in model.modules() if isinstance(m, nn.Sequential)]:
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and isinstance(before, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                _fold(before, child)
                parent._modules[name] = nn.Identity()
            elif isinstance(child, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                before = child
            elif not isinstance(child, nn.Unflatten):
                before = None


@torch.no_grad()
def _fold(linear: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None, "ours track their statistics"
    assert variance is not None
    scale = norm.weight / (variance + norm.eps).sqrt()
    shift = norm.bias - mean * scale
    axis = 1 if isinstance(linear, nn.ConvTranspose2d) else 0
    repeat = linear.weight.shape[axis] // len(scale)  # a linear map to a grid: one BatchNorm channel for many rows
    scale, shift = scale.repeat_interleave(repeat), shift.repeat_interleave(repeat)
    shape = [1] * linear.weight.dim()
    shape[axis] = -1
    bias = torch.zeros_like(shift) if linear.bias is None else linear.bias
    linear.bias = nn.Parameter(bias * scale + shift)
    linear.weight.mul_(scale.view(shape))


def to_onnx(graph: nn.Module, signature: tuple[Sequence[contract.TensorSpec], Sequence[contract.TensorSpec]]) -> bytes:
    """Trace a graph module with a dynamic batch; the bytes hold no paths and no source text."""
    inputs, outputs = signature
    dtypes = {"uint8": torch.uint8, "float32": torch.float32}
    example = tuple(torch.zeros(2, *spec.shape, dtype=dtypes[spec.dtype]) for spec in inputs)
    batch = torch.export.Dim("N")
    with _quiet():
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=contract.OPSET,
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            verbose=False,
        )
    assert program is not None  # it is None only for the exporter of old
    proto = program.model_proto
    _strip(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints and warns about its own internals; none of it is for our user."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _strip(proto: onnx.ModelProto) -> None:
    """Remove what the exporter notes about source files, and shapes of inner tensors (they confuse quantisation)."""
    graph = proto.graph
    del proto.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    proto.doc_string = graph.doc_string = ""
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""


# -------------------------------------------------------------------------------------------------------- the bundle


def export(
    model: VaeGan, held: Pictures, out: Path, card: dict[str, Any], calibrate: Pixels | None = None, include: Sequence[Path] = ()
) -> Path:
    """Write the bundle of a trained model to the folder `out`, replacing one that is there, and return it.

    `held` are pictures the model was not trained on (the validation rows): golden inputs and extras. `card` gives name,
    preprocessing, data, training, revision. With `calibrate`, pixels of training pictures, the graphs are int8; files to `include`
    (credits, a licence) lie in the bundle under their own names. Raises ContractError when `out` is something else than a bundle or a
    file cannot be included, ExportError when the graphs differ from torch, or from their fp32 twins beyond the bounds; `out` is then
    as before.
    """
    out = out.resolve()
    if out.exists() and not (out / contract.SUMS).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ContractError(f"{out.name} is there and is no bundle, so it is not replaced: give another folder")
    model = _copy(model)
    held = _steady_first(model, held)
    height, width, channels = held.pixels.shape[1:]
    dims = Dims(model.sizes.dim_s, model.sizes.dim_u, len(held.class_names), height, width, channels)
    with taking_the_place_of(out) as beside:
        graphs = {
            contract.ENCODER: to_onnx(EncoderGraph(model), contract.encoder_signature(dims)),
            contract.DECODER: to_onnx(DecoderGraph(model), contract.decoder_signature(dims)),
        }
        encoded = prove(model, graphs, held)
        if calibrate is not None:
            graphs, encoded = to_int8(graphs, held, encoded, calibrate)
        for name, content in graphs.items():
            (beside / name).write_bytes(content)
        contract.write_arrays(beside / contract.PRIOR, _prior(model))
        contract.write_arrays(beside / contract.GOLDEN, _golden(graphs, held, _prior(model)))
        write_extras(beside, model.decode, model.fitted.z_u_scale_tril, held, encoded)
        for file in include:
            _include(file, beside)
        hashes = {name: contract.file_sha256(beside / name) for name in contract.HASHED}
        full = Card(
            class_names=held.class_names,
            dims=dims,
            model_hash=contract.model_hash(hashes),
            precision="fp32" if calibrate is None else "int8",
            **card,
        )
        (beside / contract.CARD).write_text(full.to_json(), encoding="utf-8")
        (beside / contract.MODEL_CARD).write_text(model_card(full), encoding="utf-8")
        contract.write_sums(beside)
        contract.open_bundle(beside)
    return out


def export_run(
    run: Path,
    data: Path,
    out: Path,
    name: str | None = None,
    file: str = LAST,
    precision: str = "fp32",
    include: Sequence[Path] = (),
) -> Path:
    """Export a checkpoint of the last stage of a run folder, by default its newest, as `export` does.

    `data` is the data set that the run was trained on; `name` that of the model, where it is not the configuration's; `precision` is
    fp32 or int8; `include` as `export` has it. Raises CheckpointError for a run that is not finished, DataError for other pictures.
    """
    state = checkpoint.load(run / file)
    config = from_dict(json.loads(state["config"]))
    if state["stage"] < len(config.stage) - (file != LAST):
        raise checkpoint.CheckpointError(f"{file}: the run is not finished: train on, then export")
    kept, held = load_for(config.data, data)
    described = manifest(kept, held)
    _check_same_data(run, described)
    model = build(config, kept)
    model.load_state_dict(state["average"])
    if state["stage"] < len(config.stage):  # from within the last stage: what its end would have done
        act(model, config.stage[-1].after, lambda: encode(model, kept.pixels, kept.labels))
    card = {
        "name": name or config.name,
        "preprocessing": preprocessing_of(config.data, kept.pixels.shape[3]),
        "data": {**described, "origin": config.data.origin, "licence": config.data.licence},
        "training": {**config.to_dict(), "seconds": round(state["seconds"])},
        "revision": revision(),
    }
    rows = np.random.default_rng(0).permutation(len(kept))[:CALIBRATION_ROWS]
    return export(model, held, out, card, kept.pixels[rows] if precision == "int8" else None, include)


def _check_same_data(run: Path, described: dict[str, Any]) -> None:
    """Raises DataError when the run folder describes other pictures than these: classes, weights and codes would not be its own."""
    said = run / DATA
    if said.exists() and json.loads(said.read_text(encoding="utf-8"))["sha256"] != described["sha256"]:
        raise DataError("the run was trained on other pictures than these: give the data set it began with")


def _copy(model: VaeGan) -> VaeGan:
    """Evaluation-mode twin with BatchNorm folded; the model itself stays as it is. The opponents are left behind."""
    twin = copy.copy(model)
    twin._modules = {name: copy.deepcopy(part) for name, part in model._modules.items() if name not in ("discriminator", "classifier")}
    twin = twin.eval().requires_grad_(False)
    fold_batch_norm(twin)
    return twin


def _include(file: Path, bundle: Path) -> None:
    if (bundle / file.name).exists() or file.name in (contract.CARD, contract.MODEL_CARD, contract.SUMS):
        raise ContractError(f"{file.name} cannot be included: a bundle has a file of that name")
    try:
        shutil.copyfile(file, bundle / file.name)
    except OSError as error:
        raise ContractError(f"{file.name} cannot be read, so it is not included") from error


@torch.no_grad()
def _steady_first(model: VaeGan, held: Pictures) -> Pictures:
    """Held-out pictures, first those whose codes lie so deep in their grains that no rounding error moves them into another one.

    Codes are compared on the first pictures: with torch here, with the golden rows on another machine.
    """
    style_step = model.encoder_u.style_step
    if style_step is None or not style_step.any():
        return held
    pieces = (held.pixels[i : i + PIECE] for i in range(0, len(held), PIECE))
    places = torch.cat([model.encoder_u.fine(to_tensor(piece)).mean for piece in pieces]) / style_step.clamp_min(1e-12)
    depth = torch.where(style_step > 0, (places - places.floor() - 0.5).abs(), 0.5).min(1).values
    return held.take(torch.argsort((depth < STEADY).int(), stable=True).numpy())


def prove(model: VaeGan, graphs: dict[str, bytes], held: Pictures) -> dict[str, np.ndarray]:
    """Run both graphs beside torch on held-out pictures; returns what the encoder graph says of all of them.

    Codes agree with torch within PARITY_ATOL, in a batch and alone; pixels within one grey level, and to the byte alone and in a
    batch. Raises ExportError.
    """
    encoder, decoder = (onnxruntime.InferenceSession(graphs[name]) for name in (contract.ENCODER, contract.DECODER))
    names = [output.name for output in encoder.get_outputs()]
    found = dict(zip(names, _in_chunks(encoder, {"pixels": held.pixels}, 500), strict=True))
    rows = min(PARITY_ROWS, len(held))
    with torch.no_grad():
        wanted = [output.numpy() for output in EncoderGraph(model)(torch.from_numpy(held.pixels[:rows]))]
        codes = {"z_s": found["z_s"][:rows], "z_u": np.roll(found["z_u_mean"][:rows], 1, 0)}
        drawn = DecoderGraph(model)(*(torch.from_numpy(c) for c in codes.values())).numpy()
    alone = _in_chunks(encoder, {"pixels": held.pixels[:ALONE_ROWS]}, 1)
    for name, want, got in zip(names, wanted, alone, strict=True):
        worst = float(max(np.abs(found[name][:rows] - want).max(), np.abs(got - want[:ALONE_ROWS]).max()))
        bound = PARITY_ATOL * (10 if name in ("log_density", "z_u_log_var", "class_log_prob") else 1) * max(1.0, float(np.abs(want).max()))
        if not worst <= bound:
            raise ExportError(f"{contract.ENCODER}: {name} differs from torch by {worst:.2g}, more than {bound:.2g}")
    (pixels,) = _in_chunks(decoder, codes, rows)
    levels = int(np.abs(pixels.astype(int) - drawn).max())
    if levels > 1:
        raise ExportError(f"{contract.DECODER}: pixels differ from torch by {levels} grey levels")
    _prove_alone(decoder, codes, pixels)
    return found


def _prove_alone(decoder: onnxruntime.InferenceSession, codes: dict[str, np.ndarray], pixels: np.ndarray) -> None:
    (single,) = _in_chunks(decoder, {name: code[:ALONE_ROWS] for name, code in codes.items()}, 1)
    if (single != pixels[:ALONE_ROWS]).any():
        raise ExportError(f"{contract.DECODER}: a picture depends on its batch")


# ------------------------------------------------------------------------------------------------------------- int8


def to_int8(
    graphs: dict[str, bytes], held: Pictures, encoded: dict[str, np.ndarray], calibrate: Pixels, bounds: Int8Bounds = INT8
) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """int8 twins of proved graphs, and what the new encoder says of `held`; `encoded` is what the old one said.

    Calibrated on training pixels, their codes, and swaps of these. Raises ExportError unless `prove_int8` agrees.
    """
    encoder = onnxruntime.InferenceSession(graphs[contract.ENCODER])
    z_s, z_u = _in_chunks(encoder, {"pixels": calibrate}, 100)[:2]
    codes = {"z_s": np.concatenate([z_s, z_s]), "z_u": np.concatenate([z_u, np.roll(z_u, 1, 0)])}
    found = {
        contract.ENCODER: quantise(graphs[contract.ENCODER], {"pixels": calibrate}, grid=False),
        contract.DECODER: quantise(graphs[contract.DECODER], codes, grid=True),
    }
    return found, prove_int8(found, graphs, held, encoded, bounds)


def prove_int8(
    graphs: dict[str, bytes], before: dict[str, bytes], held: Pictures, encoded: dict[str, np.ndarray], bounds: Int8Bounds = INT8
) -> dict[str, np.ndarray]:
    """Measure int8 graphs against the fp32 ones `before` on held-out pictures; returns what the int8 encoder says of all of them.

    Rounding differs from picture to picture, so the proof is by means over pictures. No picture may
    depend on its batch, to the byte. Raises ExportError.
    """
    encoder, decoder = (onnxruntime.InferenceSession(graphs[name]) for name in (contract.ENCODER, contract.DECODER))
    names = [output.name for output in encoder.get_outputs()]
    found = dict(zip(names, _in_chunks(encoder, {"pixels": held.pixels}, 500), strict=True))
    rows = min(PARITY_ROWS, len(held))
    codes = {"z_s": encoded["z_s"][:rows], "z_u": np.roll(encoded["z_u_mean"][:rows], 1, 0)}
    (pixels,) = _in_chunks(decoder, codes, rows)
    (drawn,) = _in_chunks(onnxruntime.InferenceSession(before[contract.DECODER]), codes, rows)
    for what, error, bound in (
        (f"{contract.ENCODER}: z_s", _deviations(found["z_s"], encoded["z_s"]), bounds.z_s),
        (f"{contract.ENCODER}: z_u_mean", _deviations(found["z_u_mean"], encoded["z_u_mean"]), bounds.z_u_mean),
        (f"{contract.ENCODER}: the class", _share_read_otherwise(found, encoded), bounds.read),
        (f"{contract.DECODER}: pixels", float(np.abs(pixels.astype(int) - drawn).mean()), bounds.grey_levels),
    ):
        if not error <= bound:
            raise ExportError(f"{what} of int8 differs from fp32 by {error:.2g}, more than {bound:.2g}")
    alone = _in_chunks(encoder, {"pixels": held.pixels[:ALONE_ROWS]}, 1)
    for name, got in zip(names, alone, strict=True):
        if not np.allclose(got, found[name][:ALONE_ROWS], rtol=0, atol=10 * PARITY_ATOL):
            raise ExportError(f"{contract.ENCODER}: {name} depends on the batch")
    _prove_alone(decoder, codes, pixels)
    return found


def _deviations(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square error of codes [N, D] in their own mean deviation."""
    return float(np.sqrt(np.square(found - wanted).mean() / max(float(wanted.var(0).mean()), 1e-12)))


def _share_read_otherwise(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    return float((found["class_log_prob"].argmax(1) != wanted["class_log_prob"].argmax(1)).mean())


def _in_chunks(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray], chunk: int) -> list[np.ndarray]:
    """The outputs of all rows, run so many at a time."""
    rows = len(next(iter(inputs.values())))
    parts = [session.run(None, {name: array[i : i + chunk] for name, array in inputs.items()}) for i in range(0, rows, chunk)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _prior(model: VaeGan) -> Prior:
    prior, fitted = model.prior, model.fitted
    values = (prior.means, prior.log_vars, prior.log_weights.exp(), fitted.means, fitted.scale_tril, fitted.z_u_mean, fitted.z_u_scale_tril)
    return Prior(*(value.detach().cpu().numpy().astype(np.float32).copy() for value in values))


def _golden(graphs: dict[str, bytes], held: Pictures, prior: Prior) -> Golden:
    encoder, decoder = (onnxruntime.InferenceSession(graphs[name]) for name in (contract.ENCODER, contract.DECODER))
    pixels = held.pixels[:GOLDEN_ROWS]
    encoded = dict(zip([o.name for o in encoder.get_outputs()], encoder.run(None, {"pixels": pixels}), strict=True))
    rng = np.random.default_rng(0)
    shown = np.unique(np.linspace(0, len(prior.fit_means) - 1, GOLDEN_ROWS).round().astype(int))  # classes evenly, where they are many
    z_s = np.concatenate([prior.fit_means[shown], encoded["z_s"]])
    z_u = rng.standard_normal((len(z_s), prior.fit_z_u_mean.shape[0])).astype(np.float32)
    drawn = decoder.run(None, {"z_s": z_s, "z_u": z_u})[0]
    return Golden(pixels=pixels, decoder_z_s=z_s, decoder_z_u=z_u, decoder_pixels=drawn, **encoded)
