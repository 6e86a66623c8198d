"""q(z_u | x) draws from the Gaussian it says it is."""

from __future__ import annotations

import pytest
import torch

from twofold.model.posterior import DiagonalGaussian


@pytest.fixture
def q() -> DiagonalGaussian:
    return DiagonalGaussian(torch.tensor([[1.0, -2.0, 0.0]]), torch.tensor([[0.0, 2.0, -4.0]]))


def draws(q: DiagonalGaussian, rows: int, scale: float = 1.0) -> torch.Tensor:
    wide = DiagonalGaussian(q.mean.expand(rows, -1), q.log_var.expand(rows, -1))
    return wide.sample(torch.Generator().manual_seed(0), scale)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_samples_have_the_mean_and_the_scaled_deviation(q, scale):
    deviation = scale * (0.5 * q.log_var[0]).exp()
    sample = draws(q, 20_000, scale)
    assert ((sample.mean(0) - q.mean[0]).abs() < 5 * deviation / 20_000**0.5).all()
    assert torch.allclose(sample.std(0), deviation, rtol=0.03)
    assert (sample.T.corrcoef() - torch.eye(3)).abs().max() < 0.03


def test_a_sample_of_scale_zero_is_the_mean(q):
    assert torch.equal(q.sample(scale=0.0), q.mean)


def test_the_same_generator_state_draws_the_same_sample(q):
    assert torch.equal(draws(q, 5), draws(q, 5))


def test_the_gradient_of_a_sample_reaches_mean_and_log_variance():
    mean, log_var = torch.zeros(1, 4, requires_grad=True), torch.zeros(1, 4, requires_grad=True)
    sample = DiagonalGaussian(mean, log_var).sample(torch.Generator().manual_seed(0))
    d_mean, d_log_var = torch.autograd.grad(sample.sum(), [mean, log_var])
    assert torch.equal(d_mean, torch.ones(1, 4))
    assert torch.allclose(d_log_var, 0.5 * sample.detach())  # mean 0: the sample is deviation times noise
