"""What a bundle holds beside its model, so that the service computes none of it: calibration, style directions, map, examples.

Knows how codes are decoded, held-out pictures and what the encoder gives for them; nothing of how a graph or a bundle is made.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from twofold.model import contract
from twofold.model.contract import CodeMap, Directions, Floats, Pixels
from twofold.training.data.dataset import Pictures
from twofold.training.metrics.probes import chance, flat_view, neighbour_share

DIRECTION_ROWS = 128  # codes over which the decoder's slope is averaged
PIECE = 16  # codes at once: their Jacobians are large
NUDGE = 0.1  # deviations: small beside what is seen, large beside the rounding of float32
NUDGE_OF_PIXELS = 0.5  # where pictures come in whole grey levels: large beside those
EXAMPLES, EXAMPLES_PER_CLASS, EXAMPLES_BYTES = 40, 2, 2**20

Decode = Callable[[Tensor, Tensor], Tensor]  # z_s [N, D_s], z_u [N, D_u] -> pictures in [0, 1]


def write_extras(
    folder: Path, decode: Decode, scale_tril: Tensor, held: Pictures, encoded: Mapping[str, Floats], nudge: float = NUDGE
) -> None:
    """Write the extras of a bundle into `folder`: `held` are pictures not trained on, `encoded` what the encoder graph gives for them.

    `decode` and `scale_tril` [D_u, D_u] as `style_directions` has them.
    """
    quantiles = np.quantile(encoded["log_density"], np.linspace(0, 1, 101))
    (folder / contract.CALIBRATION).write_text(json.dumps({"log_density_quantiles": [float(q) for q in quantiles]}) + "\n")
    z_s, z_u = (torch.from_numpy(encoded[name][:DIRECTION_ROWS]) for name in ("z_s", "z_u_mean"))
    contract.write_arrays(folder / contract.DIRECTIONS, style_directions(decode, scale_tril, z_s, z_u, nudge))
    contract.write_arrays(folder / contract.MAP, code_map(held.labels, encoded["z_s"], encoded["z_u_mean"]))
    write_examples(folder / contract.EXAMPLES, held)


# ------------------------------------------------------------------------------------------------------ style directions


@torch.no_grad()
def style_directions(decode: Decode, scale: Tensor, z_s: Tensor, z_u: Tensor, nudge: float = NUDGE) -> Directions:
    """The steps in z_u that show most, over codes z_s [N, D_s], z_u [N, D_u]. `scale` [D_u, D_u] is L, the fitted style's Cholesky factor.

    With z_u = mean + L w, w ~ N(0, I) as fitted, and J = d picture / d w: the eigenvectors v of E[J^T J] are the steps of one
    deviation, orthogonal in w, whose first-order change is largest. L v is the step in z_u; its largest component is positive.
    Ranked by what whole steps, one each way, do to the pictures.
    """
    pieces = list(zip(z_s.split(PIECE), z_u.split(PIECE), strict=True))
    squares = torch.stack([_squared_slope(decode, s, u, scale, nudge) for s, u in pieces])
    vectors = torch.linalg.eigh(squares.double().sum(0)).eigenvectors.flip(1)[:, : contract.MAX_DIRECTIONS]
    steps = (scale @ vectors.float()).T
    steps = steps * steps.gather(1, steps.abs().argmax(1, keepdim=True)).sign()
    effects = torch.stack([_effect(decode, z_s, z_u, step) for step in steps])
    order = effects.argsort(descending=True, stable=True)
    return Directions(steps[order].numpy(), effects[order].numpy())


def _squared_slope(decode: Decode, z_s: Tensor, z_u: Tensor, scale: Tensor, nudge: float) -> Tensor:
    """Sum over rows of J^T J [D_u, D_u]; J by central differences along every column of `scale` [D_u, D_u]."""

    def drawn(step: Tensor) -> Tensor:
        return decode(z_s, z_u + step).flatten(1)

    slopes = torch.stack([(drawn(nudge * step) - drawn(-nudge * step)) / (2 * nudge) for step in scale.T], 2)
    return torch.einsum("npi,npj->ij", slopes, slopes)


def _effect(decode: Decode, z_s: Tensor, z_u: Tensor, step: Tensor) -> Tensor:
    """Mean absolute change of a pixel, in grey levels of 255, by the step [D_u] and by its opposite."""
    parts = zip(z_s.split(PIECE), z_u.split(PIECE), strict=True)
    moved = [(decode(s, u + sign * step) - decode(s, u)).abs().flatten(1).mean(1) for s, u in parts for sign in (1, -1)]
    return 255 * torch.cat(moved).mean()


# ----------------------------------------------------------------------------------------------------------- map, examples


def code_map(labels: NDArray[np.int64], z_s: Floats, z_u: Floats, most: int = contract.MAX_MAP_POINTS) -> CodeMap:
    """An overview of codes [N, D], at most `most` points and equally many of each class, placed by their class codes.

    `kept` compares how often the ten nearest neighbours are of one class in the plane and in z_s, both above chance.
    """
    each = max(1, most // len(np.unique(labels)))
    rows = np.sort(np.concatenate([np.flatnonzero(labels == k)[:each] for k in np.unique(labels)]))[:most]
    label, codes = labels[rows], z_s[rows]
    xy, base = flat_view(codes), chance(label)
    found, whole = (neighbour_share(points, label) - base for points in (xy, codes))
    kept = np.float32(np.clip(found / max(whole, 1e-6), 0, 1))
    return CodeMap(xy=xy, label=label, z_s=codes, z_u=z_u[rows], kept=np.asarray(kept))


def write_examples(folder: Path, held: Pictures, most_bytes: int = EXAMPLES_BYTES) -> None:
    """Pictures named order-label-n.png: the first of every class, then the second ones; classes spread evenly where they are many.

    At most EXAMPLES files, and `most_bytes` in all.
    """
    folder.mkdir()
    classes = len(held.class_names)
    shown = np.unique(np.linspace(0, classes - 1, min(EXAMPLES, classes)).round().astype(int))
    order, left = 0, most_bytes
    for n in range(min(EXAMPLES_PER_CLASS, EXAMPLES // len(shown))):
        for label in shown:
            rows = np.flatnonzero(held.labels == label)
            picture = _png(held.pixels[rows[n]]) if n < len(rows) else b""
            left -= len(picture)
            if picture and left >= 0:
                (folder / f"{order:02d}-{label}-{n}.png").write_bytes(picture)
                order += 1


def _png(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, "png", optimize=True)
    return stream.getvalue()
