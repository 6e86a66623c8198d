"""A trained model as two ONNX graphs: BatchNorm folded, traced with a dynamic batch, free of paths and source text.

The only module that uses `torch.onnx`. Knows the model and the graphs' signatures in the contract; verifies nothing and writes no file.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twofold.model import contract
from twofold.model.contract import Dims, TensorSpec
from twofold.model.prior import FittedDensity
from twofold.model.vae_gan import VaeGan

LINEAR = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)
TRAINING_ONLY = ("discriminator", "classifier")  # parts that a bundle does not hold
DTYPES = {"uint8": torch.uint8, "float32": torch.float32}


class EncoderGraph(nn.Module):
    """pixels uint8 [N, H, W, C] -> the outputs of `contract.encoder_signature`, in its order."""

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


class EvalClassifierGraph(nn.Module):
    """pixels uint8 [N, H, W, C] -> log p(class) float32 [N, K], of a network that gives logits of pictures in [0, 1]; BatchNorm folded."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().eval().requires_grad_(False)
        fold_batch_norm(self.network)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.log_softmax(self.network(pixels.permute(0, 3, 1, 2).float() / 255), 1)


def inference_copy(model: VaeGan) -> VaeGan:
    """A copy in evaluation mode with BatchNorm folded and without the parts that only training needs; `model` stays as it is."""
    twin = copy.copy(model)
    twin._modules = {name: copy.deepcopy(part) for name, part in model._modules.items() if name not in TRAINING_ONLY}
    twin = twin.eval().requires_grad_(False)
    fold_batch_norm(twin)
    return twin


def trace(model: VaeGan, dims: Dims) -> dict[str, bytes]:
    """{file: ONNX graph} of both graphs of an `inference_copy`."""
    return {
        contract.ENCODER: to_onnx(EncoderGraph(model), contract.encoder_signature(dims)),
        contract.DECODER: to_onnx(DecoderGraph(model), contract.decoder_signature(dims)),
    }


def fold_batch_norm(model: nn.Module) -> None:
    """Fold every BatchNorm into the linear map before it, in place; the model must be in evaluation mode."""
    for parent in [m for m in model.modules() if isinstance(m, nn.Sequential)]:
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, BATCH_NORM) and isinstance(before, LINEAR):
                _fold(before, child)
                parent._modules[name] = nn.Identity()
            elif isinstance(child, LINEAR):
                before = child
            elif not isinstance(child, nn.Unflatten):
                before = None


@torch.no_grad()
def _fold(linear: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """g ((W x + b) - m) / sqrt(v + eps) + h as one map: W' = s W, b' = s b + h - s m with s = g / sqrt(v + eps)."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None, "the model's BatchNorms track their statistics"
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


def to_onnx(graph: nn.Module, signature: tuple[Sequence[TensorSpec], Sequence[TensorSpec]]) -> bytes:
    """Trace a graph module with a dynamic batch; the bytes hold no paths and no source text. Raises what the exporter raises."""
    inputs, outputs = signature
    example = tuple(torch.zeros(2, *spec.shape, dtype=DTYPES[spec.dtype]) for spec in inputs)
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
    assert program is not None  # None is the return value of the old exporter only
    proto = program.model_proto
    _strip(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints and warns about its own internals, which say nothing to a user of this package."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _strip(proto: onnx.ModelProto) -> None:
    """Remove what the exporter notes about source files, and the shapes of inner tensors (they confuse quantisation)."""
    graph = proto.graph
    del proto.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    proto.doc_string = graph.doc_string = ""
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
