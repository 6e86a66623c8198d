"""An exported bundle has the tensors of the contract and the values of torch, and a row is the same alone and in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from twofold.model import contract
from twofold.model.prior import FittedDensity
from twofold.service.client import Local
from twofold.service.runtime.engine import Engine
from twofold.training.export.verify import PARITY_ATOL
from twofold.training.trainer.latents import to_tensor

PICTURES = sorted((Path(__file__).parents[1] / "data" / "pictures").glob("*.png"))
DTYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8"}


@pytest.fixture(scope="module")
def files(exported):
    return contract.open_bundle(exported.bundle)


@pytest.fixture(scope="module")
def local(exported):
    return Local(exported.bundle).arrays


@pytest.fixture(scope="module")
def engine(files):
    return Engine(files.encoder, files.decoder, files.card.dims, threads=1, batch_rows=8)


# ------------------------------------------------------------------------------------------------------------ signatures


@pytest.mark.parametrize("file", [contract.ENCODER, contract.DECODER])
def test_an_exported_graph_has_the_tensors_of_the_contract(exported, files, file):
    model = onnx.load(exported.bundle / file)
    signature = {contract.ENCODER: contract.encoder_signature, contract.DECODER: contract.decoder_signature}[file](files.card.dims)
    for specs, tensors in zip(signature, (model.graph.input, model.graph.output), strict=True):
        found = []
        for tensor in tensors:
            batch, *rest = tensor.type.tensor_type.shape.dim
            assert batch.dim_param == "N"
            assert all(dim.HasField("dim_value") for dim in rest)
            found.append((tensor.name, DTYPES[tensor.type.tensor_type.elem_type], tuple(dim.dim_value for dim in rest)))
        assert found == [(spec.name, spec.dtype, spec.shape) for spec in specs]
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", contract.OPSET)]
    assert not model.functions


def test_the_golden_rows_come_out_as_they_are_stored(files, engine):
    golden = files.golden
    found = engine.encode(golden.pixels)
    for name in ("z_s", "z_u_mean", "z_u_log_var", "class_log_prob", "log_density"):
        np.testing.assert_allclose(getattr(found, name), getattr(golden, name), atol=1e-5, rtol=1e-5)
    assert np.abs(engine.decode(golden.decoder_z_s, golden.decoder_z_u).astype(int) - golden.decoder_pixels).max() <= 1
    assert len(golden.pixels) >= 8
    assert len(golden.decoder_pixels) > files.card.dims.classes


# -------------------------------------------------------------------------------------------------------- what torch computes


def test_real_pictures_get_the_codes_that_torch_computes(exported, local):
    pixels = np.stack([as_pillow_reads(path) for path in PICTURES])
    found = local.encode(PICTURES)
    with torch.no_grad():
        z_s, q, class_log_prob = exported.model.read(to_tensor(pixels))
        log_density = FittedDensity(exported.model.fitted, exported.model.prior.log_weights)(z_s, q.mean)
    wanted = {"z_s": z_s, "z_u_mean": q.mean, "z_u_log_var": q.log_var, "class_log_prob": class_log_prob, "log_density": log_density}
    for name, want in wanted.items():
        atol = PARITY_ATOL * (1 if name in ("z_s", "z_u_mean") else 10) * max(1.0, float(want.abs().max()))
        np.testing.assert_allclose(getattr(found, name), want.numpy(), rtol=0, atol=atol, err_msg=name)
    assert z_s.std() > 0.1


def test_swaps_of_real_pictures_are_the_pictures_that_torch_draws(exported, local):
    others = PICTURES[1:] + PICTURES[:1]
    drawn = local.swap(PICTURES, others)
    with torch.no_grad():
        z_s = exported.model.read(to_tensor(np.stack([as_pillow_reads(path) for path in PICTURES])))[0]
        z_u = exported.model.read(to_tensor(np.stack([as_pillow_reads(path) for path in others])))[1].mean
        wanted = (exported.model.decode(z_s, z_u) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(drawn.astype(int) - wanted).max() <= 1
    assert len({picture.tobytes() for picture in drawn}) == len(PICTURES)


def as_pillow_reads(path: Path) -> np.ndarray:
    """uint8 [28, 28, 1] of a file that has the bundle's size and mode already."""
    return np.asarray(Image.open(path), np.uint8)[..., None]


# --------------------------------------------------------------------------------------------------- alone and in a batch


def test_a_batch_of_8_is_8_batches_of_1(exported, engine):
    pixels = exported.held.pixels[:64]
    alone = [engine.encode(pixels[i : i + 1]) for i in range(64)]
    for start in range(0, 64, 8):
        together = engine.encode(pixels[start : start + 8])
        for name in ("z_s", "z_u_mean", "class_log_prob", "log_density"):  # all that a picture is drawn from or measured by
            joined = np.concatenate([getattr(one, name) for one in alone[start : start + 8]])
            assert getattr(together, name).tobytes() == joined.tobytes(), name
        joined = np.concatenate([one.z_u_log_var for one in alone[start : start + 8]])
        np.testing.assert_allclose(together.z_u_log_var, joined, rtol=0, atol=1e-5)  # a batched matrix product: the last bits differ


def test_pixels_are_the_same_bytes_in_batches_of_any_size(exported, engine):
    codes = engine.encode(exported.held.pixels[:60])
    z_s, z_u = codes.z_s, np.roll(codes.z_u_mean, 1, 0)
    alone = np.concatenate([engine.decode(z_s[i : i + 1], z_u[i : i + 1]) for i in range(60)])
    for size in range(2, 9):
        together = np.concatenate([engine.decode(z_s[i : i + size], z_u[i : i + size]) for i in range(0, 60, size)])
        assert together.tobytes() == alone.tobytes(), size
