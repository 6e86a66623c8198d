"""What is done to pictures is done row by row, by the amounts given, and lets gradients through."""

from __future__ import annotations

import math

import pytest
import torch

from twofold.training.data.augment import BRIGHTNESS, GREY, HOLE, VIEWS, corners, cut_out, mirrored, moved, recoloured, turned


def some(rows: int = 6, channels: int = 3, height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(rows, channels, height, width, generator=torch.Generator().manual_seed(0))


def uniform(rows: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.rand(rows, 2, generator=torch.Generator().manual_seed(seed))


def test_rows_are_mirrored_one_by_one():
    x = some(2)
    found = mirrored(x, torch.tensor([True, False]))
    assert torch.equal(found[0], x[0].flip(2))
    assert torch.equal(found[1], x[1])


@pytest.mark.parametrize("mode", ["replicate", "constant"])
def test_a_picture_moves_by_whole_pixels_with_its_border_or_grey_behind_it(mode):
    x = some(1, height=8, width=8)
    found = moved(x, torch.tensor([1]), torch.tensor([4]), (2, 3), mode)  # down by 1, to the left by 1
    assert torch.equal(found[..., 1:, :-1], x[..., :-1, 1:])
    if mode == "replicate":
        assert torch.equal(found[..., 0, :-1], x[..., 0, 1:])
    else:
        assert (found[..., 0, :] == GREY).all()
        assert (found[..., -1] == GREY).all()


def test_a_hole_is_grey_inside_and_nothing_outside_and_stops_at_the_border():
    x = some(2, height=8, width=8)
    found = cut_out(x, torch.tensor([2, -2]), torch.tensor([5, 6]), (3, 4))
    assert (found[0, :, 2:5, 5:] == GREY).all()
    assert (found[1, :, :1, 6:] == GREY).all()
    assert (found != x).sum() == 3 * (3 * 3 + 1 * 2)


def test_the_centre_of_a_hole_may_lie_on_every_pixel_and_on_no_other():
    grid = torch.cartesian_prod(torch.linspace(0, 0.999, 50), torch.linspace(0, 0.999, 50))
    top, left = corners(grid, (16, 24), (8, 12))
    assert (set((top + 4).tolist()), set((left + 6).tolist())) == (set(range(16)), set(range(24)))


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_changes_every_row_by_its_own_amount_and_lets_the_gradient_through(view):
    x = some().requires_grad_()
    found = VIEWS[view](x, uniform())
    assert found.shape == x.shape
    alone = torch.cat([VIEWS[view](x[i : i + 1], uniform()[i : i + 1]) for i in range(len(x))])
    assert torch.equal(found, alone)
    assert ((found - x).abs().amax((1, 2, 3)) > 0).sum() >= 5  # one row is drawn to stand where it stood
    (gradient,) = torch.autograd.grad(found.sum(), x)
    kept = 1.0 if view == "brightness" else HOLE**2
    assert kept <= gradient.mean() <= 1
    assert (gradient >= 0).all()


def test_brightness_goes_as_far_up_as_down():
    x = some(2)
    found = VIEWS["brightness"](x, torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert torch.allclose(found - x, torch.tensor([-BRIGHTNESS, BRIGHTNESS])[:, None, None, None].expand_as(x), atol=1e-6)


def test_a_quarter_turn_is_exact_and_no_turn_changes_nothing():
    x, one = some(2, height=8, width=8), torch.ones(2)
    assert torch.allclose(turned(x, 0 * one, one), x, atol=1e-5)
    quarter = turned(x, torch.tensor([math.pi / 2, 0.0]), one)
    assert torch.allclose(quarter[0], x[0].rot90(1, (1, 2)), atol=1e-4) or torch.allclose(quarter[0], x[0].rot90(-1, (1, 2)), atol=1e-4)
    assert torch.allclose(quarter[1], x[1], atol=1e-5)


def test_a_turn_keeps_the_shape_of_things_in_a_picture_that_is_no_square():
    x = torch.zeros(1, 1, 16, 32)
    x[..., 4:12, 12:20] = 1
    found = turned(x, torch.tensor([math.pi / 2]), torch.ones(1))
    assert torch.allclose(found[..., 8:24], x[..., 8:24], atol=1e-3)  # borders are reflected beside that


def test_a_picture_is_scaled_about_its_middle():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 6:10, 6:10] = 1
    assert turned(x, torch.zeros(1), torch.tensor([2.0])).sum().item() == pytest.approx(4 * x.sum().item(), rel=0.1)


def test_colours_change_by_contrast_brightness_and_channel_and_stay_in_range():
    x, none = some(3), torch.zeros(3, 5)
    assert torch.allclose(recoloured(x, none), x, atol=1e-6)
    lighter = recoloured(0.5 * x, none + torch.tensor([0.0, 0.2, 0.0, 0.0, 0.3]))
    assert torch.allclose(lighter[:, 0], 0.5 * x[:, 0] + 0.1)
    assert torch.allclose(lighter[:, 2], 0.5 * x[:, 2] + 0.2)
    wild = recoloured(x, none + 3)
    assert (wild >= 0).all()
    assert (wild <= 1).all()
