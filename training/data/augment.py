"""What can be done to a batch of pictures, each row by its own amount: differentiable, and without any chance of its own.

Pictures x [B, C, H, W] in [0, 1]. Who draws the amounts decides how they are drawn (batches.py for training pictures, forward.py for
what D sees). Knows no stages and no seeds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

GREY = 0.5  # what stands where nothing is
BRIGHTNESS = 0.25  # the most that D's view is lightened or darkened
SHIFT = 1 / 8  # of a side, the farthest that D's view is moved
HOLE = 1 / 2  # of a side, what is cut out of D's view


def mirrored(x: Tensor, which: Tensor) -> Tensor:
    """The rows that are True in `which` [B], from right to left."""
    return torch.where(which[:, None, None, None], x.flip(3), x)


def moved(x: Tensor, down: Tensor, right: Tensor, reach: tuple[int, int], mode: str = "replicate") -> Tensor:
    """Each row moved by whole pixels: `down`, `right` [B] from 0 (moved by the whole reach up, left) to twice the reach.

    The borders repeat, or grey comes in where mode is "constant".
    """
    height, width = x.shape[2:]
    value = {"value": GREY} if mode == "constant" else {}
    padded = torch.nn.functional.pad(x, (reach[1], reach[1], reach[0], reach[0]), mode=mode, **value)
    rows = down[:, None] + torch.arange(height, device=x.device)
    columns = right[:, None] + torch.arange(width, device=x.device)
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def turned(x: Tensor, angle: Tensor, factor: Tensor) -> Tensor:
    """Each row turned by `angle` [B] in radians and scaled by `factor` [B] about its middle; borders are reflected, pixels interpolated."""
    cosine, sine, nought = angle.cos() / factor, angle.sin() / factor, torch.zeros_like(angle)
    ratio = x.shape[2] / x.shape[3]  # both axes of affine_grid run from -1 to 1, whatever the sides
    rows = torch.stack([cosine, -sine * ratio, nought], 1), torch.stack([sine / ratio, cosine, nought], 1)
    grid = torch.nn.functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)


def recoloured(x: Tensor, amount: Tensor) -> Tensor:
    """Each row in other colours, by its own `amount` [B, 2 + C].

    Contrast about grey is multiplied by e^a_0, brightness raised by half of a_1, and each channel by a third of an amount of its own.
    """
    contrast, brightness, channels = amount[:, :1].exp(), amount[:, 1:2] / 2, amount[:, 2:] / 3
    return ((x - GREY) * contrast[..., None, None] + GREY + (brightness + channels)[..., None, None]).clamp(0, 1)


def cut_out(x: Tensor, top: Tensor, left: Tensor, hole: tuple[int, int]) -> Tensor:
    """Grey in a rectangle of `hole` (height, width) whose corner is at `top`, `left` [B]; what lies outside the picture is cut off."""
    rows, columns = (torch.arange(side, device=x.device)[None] for side in x.shape[2:])
    inside_rows = (rows >= top[:, None]) & (rows < top[:, None] + hole[0])
    inside_columns = (columns >= left[:, None]) & (columns < left[:, None] + hole[1])
    return torch.where((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], GREY, x)


def corners(uniform: Tensor, sides: tuple[int, int], hole: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """`uniform` [B, 2] in [0, 1) -> top and left of holes whose centre lies anywhere in the picture."""
    top, left = ((u * side).long() - gap // 2 for u, side, gap in zip(uniform.unbind(1), sides, hole, strict=True))
    return top, left


# What D sees (Zhao et al. 2020): the same for real and drawn pictures, with gradient. Amounts are uniform [B, 2] in [0, 1).


def _brightness(x: Tensor, uniform: Tensor) -> Tensor:
    return x + BRIGHTNESS * (2 * uniform[:, :1, None, None] - 1)


def _translation(x: Tensor, uniform: Tensor) -> Tensor:
    reach = (round(SHIFT * x.shape[2]), round(SHIFT * x.shape[3]))
    down, right = ((u * (2 * most + 1)).long() for u, most in zip(uniform.unbind(1), reach, strict=True))
    return moved(x, down, right, reach, "constant")


def _cutout(x: Tensor, uniform: Tensor) -> Tensor:
    sides = (x.shape[2], x.shape[3])
    hole = (round(HOLE * sides[0]), round(HOLE * sides[1]))
    return cut_out(x, *corners(uniform, sides, hole), hole)


VIEWS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"brightness": _brightness, "translation": _translation, "cutout": _cutout}
