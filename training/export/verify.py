"""Exported graphs against the model that they were traced from, int8 graphs against fp32 ones; and the golden rows of a bundle.

Knows the graphs, torch and onnxruntime; writes no file. A picture must also not depend on the batch that it is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twofold.model import contract
from twofold.model.contract import Golden, Prior
from twofold.model.vae_gan import VaeGan
from twofold.training.data.dataset import Pictures
from twofold.training.export.graphs import DecoderGraph, EncoderGraph
from twofold.training.trainer.latents import PIECE, to_tensor

GOLDEN_ROWS = 16
PARITY_ROWS = 256
ALONE_ROWS = 8  # pictures that are also run one at a time
ENCODER_ROWS = 500  # pictures at once
PARITY_ATOL = 1e-4  # codes against torch, relative to the largest value where that is above 1
SUMMED = ("log_density", "z_u_log_var", "class_log_prob")  # sums over many terms: ten times PARITY_ATOL
BORDER = 0.01  # share of a style step: a code this near to the border of its step may be rounded to either side

Arrays = Mapping[str, NDArray]
Encoded = dict[str, NDArray]  # what the encoder graph gives, by the name of its outputs


class ExportError(Exception):
    """The exported graphs do not answer as the model does; nothing was written."""


class Int8Bounds(NamedTuple):
    """How far int8 may be from fp32."""

    z_s: float = 0.1  # root mean square error, in deviations of the codes
    z_u_mean: float = 0.15
    read: float = 0.02  # share of pictures read as another class
    grey_levels: float = 2.0  # mean absolute error of swaps


INT8 = Int8Bounds()


class Sessions(NamedTuple):
    """Both graphs of a bundle, ready to run."""

    encoder: onnxruntime.InferenceSession
    decoder: onnxruntime.InferenceSession

    @classmethod
    def of(cls, graphs: Mapping[str, bytes]) -> Sessions:
        """From {file: ONNX graph}."""
        return cls(*(onnxruntime.InferenceSession(graphs[name]) for name in (contract.ENCODER, contract.DECODER)))

    def encode(self, pixels: contract.Pixels, chunk: int = ENCODER_ROWS) -> Encoded:
        """pixels uint8 [N, H, W, C] -> {output: [N, ...]}, `chunk` pictures at a time."""
        names = [output.name for output in self.encoder.get_outputs()]
        return dict(zip(names, run_rows(self.encoder, {"pixels": pixels}, chunk), strict=True))

    def decode(self, codes: Arrays, chunk: int) -> contract.Pixels:
        """{"z_s": [N, D_s], "z_u": [N, D_u]} -> pixels uint8 [N, H, W, C]."""
        return run_rows(self.decoder, codes, chunk)[0]


def run_rows(session: onnxruntime.InferenceSession, inputs: Arrays, chunk: int) -> list[NDArray]:
    """The outputs of all rows of inputs {name: [N, ...]}, `chunk` rows at a time."""
    rows = len(next(iter(inputs.values())))
    parts = [session.run(None, {name: array[i : i + chunk] for name, array in inputs.items()}) for i in range(0, rows, chunk)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


@torch.no_grad()
def comparable_first(model: VaeGan, held: Pictures) -> Pictures:
    """Held-out pictures, first those whose style codes lie so far inside their step that no rounding error changes it.

    Codes are compared on the first pictures: with torch here, with the golden rows on another machine.
    """
    style_step = model.encoder_u.style_step
    if style_step is None or not style_step.any():
        return held
    pieces = (held.pixels[i : i + PIECE] for i in range(0, len(held), PIECE))
    places = torch.cat([_unrounded(model, to_tensor(piece)) for piece in pieces]) / style_step.clamp_min(1e-12)
    depth = torch.where(style_step > 0, (places - places.floor() - 0.5).abs(), 0.5).min(1).values
    return held.take(torch.argsort((depth < BORDER).int(), stable=True).numpy())


def _unrounded(model: VaeGan, x: Tensor) -> Tensor:
    """E_u's means of pictures [B, C, H, W], centred as they are served but not rounded: [B, D_u]."""
    return model.encoder_u.centred(model.encoder_u.fine(x).mean, model.read_class(model.class_point(x)))


def verify_fp32(model: VaeGan, graphs: Mapping[str, bytes], held: Pictures) -> Encoded:
    """Run both graphs beside torch on held-out pictures; returns what the encoder graph gives for all of them.

    Codes agree with torch within PARITY_ATOL, in a batch and alone; pixels within one grey level, and to the byte alone and in a
    batch. Raises ExportError.
    """
    sessions, rows = Sessions.of(graphs), min(PARITY_ROWS, len(held))
    found = sessions.encode(held.pixels)
    codes = _swapped(found, rows)
    with torch.no_grad():
        wanted = [output.numpy() for output in EncoderGraph(model)(torch.from_numpy(held.pixels[:rows]))]
        drawn = DecoderGraph(model)(*(torch.from_numpy(code) for code in codes.values())).numpy()
    alone = sessions.encode(held.pixels[:ALONE_ROWS], 1)
    for (name, single), want in zip(alone.items(), wanted, strict=True):
        worst = float(max(np.abs(found[name][:rows] - want).max(), np.abs(single - want[:ALONE_ROWS]).max()))
        bound = PARITY_ATOL * (10 if name in SUMMED else 1) * max(1.0, float(np.abs(want).max()))
        _require(worst, bound, f"{contract.ENCODER}: {name} differs from torch")
    pixels = sessions.decode(codes, rows)
    levels = int(np.abs(pixels.astype(int) - drawn).max())
    if levels > 1:
        raise ExportError(f"{contract.DECODER}: pixels differ from torch by {levels} grey levels")
    _verify_alone(sessions, codes, pixels)
    return found


def verify_int8(
    graphs: Mapping[str, bytes], before: Mapping[str, bytes], held: Pictures, encoded: Encoded, bounds: Int8Bounds = INT8
) -> Encoded:
    """Measure int8 graphs against the fp32 ones `before` on held-out pictures; returns what the int8 encoder gives for all of them.

    `encoded` is what the fp32 encoder gives. Rounding differs from picture to picture, so the bounds are on means over pictures. No
    picture may depend on its batch, to the byte. Raises ExportError.
    """
    sessions, rows = Sessions.of(graphs), min(PARITY_ROWS, len(held))
    found = sessions.encode(held.pixels)
    codes = _swapped(encoded, rows)
    pixels = sessions.decode(codes, rows)
    drawn = Sessions.of(before).decode(codes, rows)
    for what, error, bound in (
        (f"{contract.ENCODER}: z_s", _relative_error(found["z_s"], encoded["z_s"]), bounds.z_s),
        (f"{contract.ENCODER}: z_u_mean", _relative_error(found["z_u_mean"], encoded["z_u_mean"]), bounds.z_u_mean),
        (f"{contract.ENCODER}: the class", _share_read_otherwise(found, encoded), bounds.read),
        (f"{contract.DECODER}: pixels", float(np.abs(pixels.astype(int) - drawn).mean()), bounds.grey_levels),
    ):
        _require(error, bound, f"{what} of int8 differs from fp32")
    for name, got in sessions.encode(held.pixels[:ALONE_ROWS], 1).items():
        if not np.allclose(got, found[name][:ALONE_ROWS], rtol=0, atol=10 * PARITY_ATOL):
            raise ExportError(f"{contract.ENCODER}: {name} depends on the batch")
    _verify_alone(sessions, codes, pixels)
    return found


@torch.no_grad()
def verify_eval_classifier(network: nn.Module, graph: bytes, pixels: contract.Pixels) -> None:
    """Run the graph of an evaluation classifier beside torch on pixels uint8 [N, H, W, C], in a batch and alone. Raises ExportError.

    `network` gives logits of pictures in [0, 1], in evaluation mode.
    """
    session, pixels = onnxruntime.InferenceSession(graph), pixels[:PARITY_ROWS]
    wanted = network(to_tensor(pixels)).log_softmax(1).numpy()
    found, alone = (run_rows(session, {"pixels": rows}, chunk)[0] for rows, chunk in ((pixels, ENCODER_ROWS), (pixels[:ALONE_ROWS], 1)))
    worst = max(float(np.abs(log_prob - wanted[: len(log_prob)]).max()) for log_prob in (found, alone))
    bound = 10 * PARITY_ATOL * max(1.0, float(np.abs(wanted).max()))
    _require(worst, bound, f"{contract.EVAL_CLASSIFIER}: class_log_prob differs from torch")


def golden(graphs: Mapping[str, bytes], held: Pictures, prior: Prior) -> Golden:
    """The first held-out pictures with what the encoder gives for them, and codes of class means and of these pictures, decoded."""
    sessions, pixels = Sessions.of(graphs), held.pixels[:GOLDEN_ROWS]
    encoded = sessions.encode(pixels)
    rng = np.random.default_rng(0)
    shown = np.unique(np.linspace(0, len(prior.fit_means) - 1, GOLDEN_ROWS).round().astype(int))  # classes evenly, where they are many
    z_s = np.concatenate([prior.fit_means[shown], encoded["z_s"]])
    z_u = rng.standard_normal((len(z_s), prior.fit_z_u_mean.shape[0])).astype(np.float32)
    drawn = sessions.decode({"z_s": z_s, "z_u": z_u}, len(z_s))
    return Golden(pixels=pixels, decoder_z_s=z_s, decoder_z_u=z_u, decoder_pixels=drawn, **encoded)


def _swapped(encoded: Encoded, rows: int) -> Encoded:
    """Codes of the first `rows` pictures, each with the style of the picture before it."""
    return {"z_s": encoded["z_s"][:rows], "z_u": np.roll(encoded["z_u_mean"][:rows], 1, 0)}


def _verify_alone(sessions: Sessions, codes: Encoded, pixels: contract.Pixels) -> None:
    single = sessions.decode({name: code[:ALONE_ROWS] for name, code in codes.items()}, 1)
    if (single != pixels[:ALONE_ROWS]).any():
        raise ExportError(f"{contract.DECODER}: a picture depends on its batch")


def _require(error: float, bound: float, what: str) -> None:
    if not error <= bound:  # NaN fails too
        raise ExportError(f"{what} by {error:.2g}, more than {bound:.2g}")


def _relative_error(found: NDArray, wanted: NDArray) -> float:
    """Root mean square error of codes [N, D] in their own mean deviation."""
    return float(np.sqrt(np.square(found - wanted).mean() / max(float(wanted.var(0).mean()), 1e-12)))


def _share_read_otherwise(found: Encoded, wanted: Encoded) -> float:
    return float((found["class_log_prob"].argmax(1) != wanted["class_log_prob"].argmax(1)).mean())
