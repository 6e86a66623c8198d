"""A toy bundle made from the contract alone: linear graphs, no training, exact answers.

The decoder draws mid grey plus a linear map of (z_s, z_u); the encoder is its pseudo-inverse, so decode -> encode gives
the codes back up to the rounding of pixels. Four classes, two of them sharing a prefix.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from twofold.model import contract

CLASS_NAMES = ("Alpha", "Beta", "Gamma", "Gamut")
DIMS = contract.Dims(dim_s=3, dim_u=2, classes=4, height=8, width=8, channels=1)
DIRECTIONS = contract.Directions(np.array([[0, 1], [0.6, -0.8]], np.float32), np.array([9, 4], np.float32))
MEANS = np.array([[2, 0, 0], [-2, 0, 0], [0, 2, 0], [0, -2, 0]], np.float32)


def make_bundle(
    folder: Path,
    dims: contract.Dims = DIMS,
    name: str = "toy",
    seed: int = 0,
    directions: contract.Directions | None = None,
    eval_classifier: bool = False,
) -> Path:
    """Write a complete, verified bundle into `folder` (created) and return it; with `directions` of style where they are given.

    Its evaluation classifier, where one is asked for, reads every picture as the class after the one that the encoder reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    size = dims.height * dims.width * dims.channels
    basis = np.linalg.qr(rng.normal(size=(size, dims.dim_s + dims.dim_u)))[0].astype(np.float32) * np.float32(0.08 * np.sqrt(size))
    inverse = np.linalg.pinv(basis).astype(np.float32)
    prior = contract.Prior(
        class_means=MEANS[: dims.classes, : dims.dim_s],
        class_log_vars=np.full((dims.classes, dims.dim_s), np.log(0.09), np.float32),
        class_weights=np.full(dims.classes, 1 / dims.classes, np.float32),
        fit_means=MEANS[: dims.classes, : dims.dim_s],
        fit_scale_tril=np.stack([np.eye(dims.dim_s, dtype=np.float32) * 0.3] * dims.classes),
        fit_z_u_mean=np.zeros(dims.dim_u, np.float32),
        fit_z_u_scale_tril=np.eye(dims.dim_u, dtype=np.float32),
    )
    onnx.save(_encoder(dims, inverse, prior), folder / contract.ENCODER)
    onnx.save(_decoder(dims, basis), folder / contract.DECODER)
    contract.write_arrays(folder / contract.PRIOR, prior)
    contract.write_arrays(folder / contract.GOLDEN, _golden(dims, basis, inverse, prior, rng))
    if eval_classifier:
        onnx.save(_eval_classifier(dims, inverse, prior), folder / contract.EVAL_CLASSIFIER)
    if directions is not None:
        contract.write_arrays(folder / contract.DIRECTIONS, directions)
    (folder / contract.CALIBRATION).write_text(json.dumps({"log_density_quantiles": list(np.linspace(-60.0, 0.0, 101))}) + "\n")
    hashes = {f: contract.file_sha256(folder / f) for f in contract.HASHED}
    card = contract.Card(
        name=name,
        class_names=CLASS_NAMES[: dims.classes],
        dims=dims,
        preprocessing=contract.Preprocessing(background=(255,) * dims.channels),
        model_hash=contract.model_hash(hashes),
        data={"source": "made for tests", "licence": "Apache-2.0"},
    )
    (folder / contract.CARD).write_text(card.to_json(), encoding="utf-8")
    contract.write_sums(folder)
    return folder


def draw(dims: contract.Dims, basis: np.ndarray, z_s: np.ndarray, z_u: np.ndarray) -> np.ndarray:
    """What the decoder computes, in numpy: codes [N,D_s], [N,D_u] -> pixels uint8 [N,H,W,C]."""
    flat = np.concatenate([z_s, z_u], 1) @ basis.T + np.float32(0.5)
    return np.rint(np.clip(flat, 0, 1) * 255).astype(np.uint8).reshape(-1, dims.height, dims.width, dims.channels)


def _golden(dims, basis, inverse, prior, rng) -> contract.Golden:
    z_s = np.concatenate([prior.class_means, rng.normal(size=(2, dims.dim_s)).astype(np.float32)])
    z_u = rng.normal(size=(len(z_s), dims.dim_u)).astype(np.float32)
    pixels = draw(dims, basis, z_s, z_u)
    codes = (pixels.reshape(len(pixels), -1).astype(np.float32) / 255 - 0.5) @ inverse.T
    got_s, got_u = codes[:, : dims.dim_s], codes[:, dims.dim_s :]
    joint = _log_joint(got_s, prior)
    log_p = np.logaddexp.reduce(joint, axis=1)
    log_u = -0.5 * (np.square(got_u).sum(1) + dims.dim_u * np.log(2 * np.pi))
    f32 = np.float32
    return contract.Golden(
        pixels=pixels,
        z_s=got_s.astype(f32),
        z_u_mean=got_u.astype(f32),
        z_u_log_var=np.full((len(pixels), dims.dim_u), -4, f32),
        class_log_prob=(joint - log_p[:, None]).astype(f32),
        log_density=(log_p + log_u).astype(f32),
        decoder_z_s=z_s,
        decoder_z_u=z_u,
        decoder_pixels=pixels,
    )


def _log_joint(z_s, prior) -> np.ndarray:
    squares = np.square(z_s[:, None] - prior.class_means) * np.exp(-prior.class_log_vars)
    return np.log(prior.class_weights) - 0.5 * (squares + prior.class_log_vars + np.log(2 * np.pi)).sum(-1)


def _encoder(dims, inverse, prior) -> onnx.ModelProto:
    s, u = dims.dim_s, dims.dim_u
    c = {
        "inv": inverse.T,
        "half": np.float32(0.5),
        "scale": np.float32(1 / 255),
        "size": np.array([-1, inverse.shape[1]], np.int64),
        "split": np.array([s, u], np.int64),
        "means": prior.class_means[None],
        "precision": np.exp(-prior.class_log_vars)[None],
        "const_s": (np.log(prior.class_weights) - 0.5 * (prior.class_log_vars + np.log(2 * np.pi)).sum(-1))[None].astype(np.float32),
        "const_u": np.float32(-0.5 * u * np.log(2 * np.pi)),
        "minus_half": np.float32(-0.5),
        "one": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
        "two": np.array([2], np.int64),
        "zero": np.float32(0),
        "log_var": np.float32(-4),
    }
    n = helper.make_node
    nodes = [
        n("Cast", ["pixels"], ["f"], to=TensorProto.FLOAT),
        n("Reshape", ["f", "size"], ["flat"]),
        n("Mul", ["flat", "scale"], ["unit"]),
        n("Sub", ["unit", "half"], ["x"]),
        n("MatMul", ["x", "inv"], ["codes"]),
        n("Split", ["codes", "split"], ["z_s", "z_u_mean"], axis=1),
        n("Mul", ["z_u_mean", "zero"], ["nought"]),
        n("Add", ["nought", "log_var"], ["z_u_log_var"]),
        n("Unsqueeze", ["z_s", "one"], ["z3"]),
        n("Sub", ["z3", "means"], ["d"]),
        n("Mul", ["d", "d"], ["d2"]),
        n("Mul", ["d2", "precision"], ["m2"]),
        n("ReduceSum", ["m2", "two"], ["m"], keepdims=0),
        n("Mul", ["m", "minus_half"], ["h"]),
        n("Add", ["h", "const_s"], ["joint"]),
        n("LogSoftmax", ["joint"], ["class_log_prob"], axis=1),
        n("ReduceLogSumExp", ["joint", "last"], ["log_s"], keepdims=0),
        n("Mul", ["z_u_mean", "z_u_mean"], ["u2"]),
        n("ReduceSum", ["u2", "last"], ["um"], keepdims=0),
        n("Mul", ["um", "minus_half"], ["uh"]),
        n("Add", ["uh", "const_u"], ["log_u"]),
        n("Add", ["log_s", "log_u"], ["log_density"]),
    ]
    return _model("encoder", nodes, c, contract.encoder_signature(dims))


def _eval_classifier(dims, inverse, prior) -> onnx.ModelProto:
    """The encoder's class posterior with every class mean in the place of the next one."""
    shifted = _encoder(dims, inverse, replace(prior, class_means=np.roll(prior.class_means, 1, 0)))
    return Extractor(shifted).extract_model(["pixels"], ["class_log_prob"])


def _decoder(dims, basis) -> onnx.ModelProto:
    c = {
        "basis": basis.T,
        "half": np.float32(0.5),
        "low": np.float32(0),
        "high": np.float32(1),
        "levels": np.float32(255),
        "shape": np.array([-1, dims.height, dims.width, dims.channels], np.int64),
    }
    n = helper.make_node
    nodes = [
        n("Concat", ["z_s", "z_u"], ["z"], axis=1),
        n("MatMul", ["z", "basis"], ["linear"]),
        n("Add", ["linear", "half"], ["raised"]),
        n("Clip", ["raised", "low", "high"], ["unit"]),
        n("Mul", ["unit", "levels"], ["level"]),
        n("Round", ["level"], ["round"]),
        n("Cast", ["round"], ["bytes"], to=TensorProto.UINT8),
        n("Reshape", ["bytes", "shape"], ["pixels"]),
    ]
    return _model("decoder", nodes, c, contract.decoder_signature(dims))


def _model(name, nodes, constants, signature) -> onnx.ModelProto:
    kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    ins, outs = ([helper.make_tensor_value_info(t.name, kinds[t.dtype], ["N", *t.shape]) for t in side] for side in signature)
    weights = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, ins, outs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", contract.OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
