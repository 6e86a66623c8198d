"""Every loss is the equation it says it is: the identities of the theory, torch.distributions, hand-made numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from twofold.model import losses
from twofold.model.posterior import DiagonalGaussian
from twofold.model.prior import RADIUS, ClassPrior

seeds = st.integers(0, 2**31 - 1)


def gaussians(seed: int, classes: int, dim_s: int) -> ClassPrior:
    """A class prior with unbalanced classes and random parameters, in float64."""
    torch.manual_seed(seed)
    prior = ClassPrior(torch.rand(classes).add(0.1).softmax(0), dim_s).double()
    prior.means.data *= 2.0 / RADIUS
    prior.raw_log_vars.data = torch.randn(classes, dim_s, dtype=torch.float64)
    return prior


def mixture(prior: ClassPrior) -> MixtureSameFamily:
    """The same mixture, in torch.distributions."""
    components = Independent(Normal(prior.means, (0.5 * prior.log_vars).exp()), 1)
    return MixtureSameFamily(Categorical(logits=prior.log_weights), components)


# ------------------------------------------------------------------------------------------------- the theory's identities


@settings(max_examples=30, deadline=None)
@given(seed=seeds, classes=st.integers(2, 7), dim_s=st.integers(1, 9), weight=st.floats(0, 2))
def test_the_weighted_class_and_likelihood_losses_are_the_joint_kl_and_a_repulsion(seed, classes, dim_s, weight):
    """L_GM = (1 + lambda) L_lkd + log p(z_s) - log pi_y, means over the batch."""
    prior = gaussians(seed, classes, dim_s)
    z_s, label = 2 * torch.randn(6, dim_s, dtype=torch.float64), torch.randint(classes, (6,))
    log_prob = prior.log_prob(z_s, label)
    constant = -prior.log_weights[label].mean()
    wanted = (1 + weight) * losses.likelihood_loss(log_prob) + mixture(prior).log_prob(z_s).mean() + constant
    found = losses.class_loss(prior.logits(z_s), label) + weight * losses.likelihood_loss(log_prob)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6, abs=1e-6)


def information(joint: torch.Tensor) -> tuple[float, float]:
    """I(z; c) and H(c) of a table p(z, c) [M, K], nats."""
    p_z, p_c = joint.sum(1, keepdim=True), joint.sum(0)
    return torch.xlogy(joint, joint / (p_z * p_c)).sum().item(), -torch.xlogy(p_c, p_c).sum().item()


def expected_class_loss(prior: ClassPrior, z_s: torch.Tensor, joint: torch.Tensor) -> float:
    """E[loss_class] under a table p(z, c) on the points z_s."""
    classes = joint.shape[1]
    each = torch.stack(
        [torch.stack([losses.class_loss(prior.logits(z[None]), torch.tensor([c])) for c in range(classes)]) for z in z_s],
    )
    return (joint * each).sum().item()


@settings(max_examples=30, deadline=None)
@given(seed=seeds, classes=st.integers(2, 5), points=st.integers(2, 6))
def test_the_class_loss_bounds_the_information_about_the_label_from_below(seed, classes, points):
    """Barber & Agakov: I(z_s; c) >= H(c) - E[loss_class], for any joint and any class Gaussians."""
    prior = gaussians(seed, classes, 3)
    z_s = torch.randn(points, 3, dtype=torch.float64)
    joint = torch.rand(points * classes, dtype=torch.float64).softmax(0).reshape(points, classes)
    exact, entropy = information(joint)
    assert exact >= entropy - expected_class_loss(prior, z_s, joint) - 1e-9


@settings(max_examples=20, deadline=None)
@given(seed=seeds, classes=st.integers(2, 5))
def test_the_bound_on_the_information_is_exact_where_the_posterior_is(seed, classes):
    prior = gaussians(seed, classes, 3)
    z_s = torch.randn(5, 3, dtype=torch.float64)
    joint = torch.rand(5, 1, dtype=torch.float64).softmax(0) * prior.logits(z_s).softmax(1).detach()
    exact, entropy = information(joint)
    assert exact == pytest.approx(entropy - expected_class_loss(prior, z_s, joint), abs=1e-9)


def test_the_gradient_of_the_class_loss_survives_where_probabilities_underflow():
    torch.manual_seed(0)
    prior = ClassPrior(torch.full((530,), 1 / 530), 512)
    z_s, label = torch.randn(4, 512, requires_grad=True), torch.tensor([0, 10, 100, 529])
    logits = prior.logits(z_s)
    assert (logits.exp() == 0).all()  # what a loss in probabilities would see
    gradients = torch.autograd.grad(losses.class_loss(logits, label), [z_s, prior.means, prior.raw_log_vars])
    for gradient in gradients:
        assert gradient.isfinite().all()
    assert (gradients[0].norm(dim=1) > 1e-3).all()
    assert gradients[1][label].norm(dim=1).min() > 1e-3


# ------------------------------------------------------------------------------------------------------------ KL, leak


@settings(max_examples=20, deadline=None)
@given(seed=seeds, rows=st.integers(1, 5), dim_u=st.integers(1, 9))
def test_the_kl_is_that_of_torch_distributions_summed_or_averaged_over_dimensions(seed, rows, dim_u):
    generator = torch.Generator().manual_seed(seed)
    mean, log_var = 2 * torch.randn(2, rows, dim_u, dtype=torch.float64, generator=generator)
    q = DiagonalGaussian(mean, log_var)
    wanted = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0))
    assert torch.allclose(q.kl_to_standard(), wanted)
    assert losses.kl_sum(q).item() == pytest.approx(wanted.sum(1).mean().item())
    assert losses.kl_mean(q).item() == pytest.approx(losses.kl_sum(q).item() / dim_u)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, classes=st.integers(2, 8), spread=st.floats(0, 6))
def test_the_leak_is_the_divergence_from_the_class_frequencies_and_never_negative(seed, classes, spread):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(5, classes, dtype=torch.float64, generator=generator)
    weights = (2 * torch.randn(classes, dtype=torch.float64, generator=generator)).softmax(0)
    leak = losses.latent_adversary_loss(logits, weights).item()
    said = Categorical(logits=logits)
    assert leak == pytest.approx(kl_divergence(Categorical(weights), said).mean().item(), abs=1e-9)
    assert leak >= -1e-12


@settings(max_examples=20, deadline=None)
@given(seed=seeds, classes=st.integers(2, 8), offset=st.floats(-5, 5))
def test_the_latent_adversary_and_its_slope_are_zero_at_the_class_frequencies(seed, classes, offset):
    generator = torch.Generator().manual_seed(seed)
    weights = (2 * torch.randn(classes, dtype=torch.float64, generator=generator)).softmax(0)
    logits = (weights.log() + offset).repeat(3, 1).requires_grad_()
    leak = losses.latent_adversary_loss(logits, weights)
    assert leak.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(leak, logits)[0].abs().max() < 1e-12


def test_a_class_without_pictures_adds_nothing_to_the_leak():
    weights = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    logits = torch.tensor([[0.0, 0.0, -800.0]], dtype=torch.float64)
    assert losses.latent_adversary_loss(logits, weights).item() == pytest.approx(0, abs=1e-12)


def test_the_latent_classifier_pays_the_cross_entropy_of_the_true_label():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    wanted = (math.log(1 + math.exp(2)) + math.log(2)) / 2
    assert losses.latent_classifier_loss(logits, torch.tensor([1, 0])).item() == pytest.approx(wanted)


# ------------------------------------------------------------------------------------------- pictures, hinges, the others


def test_reconstruction_sums_over_pixels_or_averages_on_the_scale_minus_one_to_one():
    x, x_rec = torch.zeros(2, 1, 2, 3), torch.stack([torch.full((1, 2, 3), 0.5), torch.full((1, 2, 3), 1.0)])
    assert losses.recon_sse(x, x_rec).item() == pytest.approx((6 * 0.25 + 6 * 1) / 2)
    assert losses.recon_mse(x, x_rec).item() == pytest.approx(((2 * x - 1) - (2 * x_rec - 1)).square().mean().item())


def test_the_weighted_square_is_a_gaussian_likelihood_up_to_a_constant():
    generator = torch.Generator().manual_seed(0)
    x, a, b = torch.rand(3, 4, 1, 5, 5, generator=generator, dtype=torch.float64)
    weight = 8.0
    sigma = (1 / (2 * weight)) ** 0.5
    nll_a, nll_b = (-Normal(rec, sigma).log_prob(x).flatten(1).sum(1).mean().item() for rec in (a, b))
    assert weight * (losses.recon_sse(x, a) - losses.recon_sse(x, b)).item() == pytest.approx(nll_a - nll_b)


def test_the_discriminator_pays_only_inside_the_margin():
    score = torch.tensor([-2.0, 0.0, 0.5, 3.0])
    assert losses.discriminator_real_loss(score).item() == pytest.approx((3 + 1 + 0.5 + 0) / 4)
    assert losses.discriminator_fake_loss(score).item() == pytest.approx((0 + 1 + 1.5 + 4) / 4)


def test_the_generator_is_paid_the_score_itself_however_high():
    assert losses.generator_loss(torch.tensor([-2.0, 5.0])).item() == pytest.approx(-1.5)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_the_anchor_is_never_negative_and_zero_at_unit_variance_alone(seed):
    log_vars = 3 * torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert losses.log_var_regularizer(log_vars).item() > 0
    assert losses.log_var_regularizer(torch.zeros(3, 4)).item() == 0
    assert losses.log_var_regularizer(torch.tensor([1.0])).item() == pytest.approx(math.e - 2)


def test_code_regression_averages_over_dimensions_and_rows():
    assert losses.latent_regression(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(2.5)


# ----------------------------------------------------------------------------------------------------------- dependence


@settings(max_examples=30, deadline=None)
@given(seed=seeds, rows=st.integers(4, 40), dim_u=st.integers(1, 6), classes=st.integers(2, 5), pull=st.floats(0, 10))
def test_dependence_lies_between_zero_and_one(seed, rows, dim_u, classes, pull):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (rows,), generator=generator)
    codes = torch.randn(rows, dim_u, dtype=torch.float64, generator=generator) + pull * label[:, None]
    assert -1e-9 <= losses.cka_penalty(codes, label).item() <= 1 + 1e-9


def test_the_cka_penalty_is_near_zero_if_independent_and_grows_with_dependence():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(600) % 5
    noise, means = torch.randn(600, 2, generator=generator), torch.randn(5, 2, generator=generator)
    values = [losses.cka_penalty(noise + pull * means[label], label).item() for pull in (0.0, 0.5, 2.0, 20.0)]
    assert values == sorted(values)
    assert values[0] < 0.02
    assert values[2] > 0.3


def test_dependence_knows_no_order_of_rows_nor_scale_of_codes():
    generator = torch.Generator().manual_seed(0)
    codes, label = torch.randn(21, 3, dtype=torch.float64, generator=generator), torch.arange(21) % 3
    order = torch.randperm(21, generator=generator)
    value = losses.cka_penalty(codes, label).item()
    assert losses.cka_penalty(codes[order], label[order]).item() == pytest.approx(value)
    assert losses.cka_penalty(100 * codes + 7, label).item() == pytest.approx(value)


def test_the_gradient_of_dependence_is_that_of_finite_differences():
    """Of the rows that do not set the bandwidth: it is the median squared distance, held fixed for the gradient."""
    generator = torch.Generator().manual_seed(1)
    codes, label = torch.randn(9, 2, dtype=torch.float64, generator=generator), torch.arange(9) % 3
    squares = torch.cdist(codes, codes).square()
    pair = (squares == squares.median()).any(1)
    free = codes.clone().requires_grad_()
    gradient = torch.autograd.grad(losses.cka_penalty(free, label), free)[0]
    assert (~pair).sum() > 3
    for row in (~pair).nonzero()[:, 0].tolist():
        for column in range(2):
            nudge = torch.zeros_like(codes)
            nudge[row, column] = 1e-6
            slope = (losses.cka_penalty(codes + nudge, label) - losses.cka_penalty(codes - nudge, label)).item() / 2e-6
            assert gradient[row, column].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(
    ("codes", "label"),
    [
        (torch.zeros(6, 2), torch.arange(6) % 2),
        (torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(6, dtype=torch.int64)),
    ],
    ids=["collapsed codes", "one class"],
)
def test_dependence_and_its_gradient_are_zero_where_there_is_nothing_to_depend_on(codes, label):
    codes = codes.clone().requires_grad_()
    value = losses.cka_penalty(codes, label)
    assert value.item() == pytest.approx(0, abs=1e-4)
    assert torch.autograd.grad(value, codes)[0].abs().max() < 1e-4


def test_the_calibrated_likelihood_is_that_of_the_variance_that_suits_the_batch():
    torch.manual_seed(0)
    x, x_rec = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4, requires_grad=True)
    variance = (x - x_rec).square().mean().detach()
    (found,) = torch.autograd.grad(losses.recon_nll(x, x_rec), x_rec)
    (expected,) = torch.autograd.grad(losses.recon_sse(x, x_rec) / (2 * variance), x_rec)
    assert torch.allclose(found, expected, rtol=1e-4)
    normal = torch.distributions.Normal(x_rec, variance.sqrt())
    constant = 8 * (1 + math.log(2 * math.pi))  # D/2 (1 + log 2 pi)
    assert losses.recon_nll(x, x_rec).item() == pytest.approx(-normal.log_prob(x).sum((1, 2, 3)).mean().item() - constant, rel=1e-4)
    assert losses.recon_nll(x, x).isfinite()


def test_feature_matching_is_the_mean_difference_of_each_level():
    a, b = [torch.zeros(2, 3, 4, 4), torch.ones(2, 6)], [torch.ones(2, 3, 4, 4), 3 * torch.ones(2, 6)]
    assert losses.feature_matching(a, b).item() == 3
    assert losses.feature_matching(a, a).item() == 0


def test_the_penalty_of_a_linear_discriminator_is_half_its_squared_slope():
    torch.manual_seed(0)
    slope, x = torch.randn(16), torch.rand(3, 1, 4, 4, requires_grad=True)
    assert losses.gradient_penalty(x.flatten(1) @ slope, x).item() == pytest.approx(0.5 * slope.square().sum().item(), rel=1e-5)


@pytest.mark.parametrize("cycles", [3, 9, 14])
def test_a_wave_has_its_power_at_its_frequency(cycles):
    wave = torch.sin(2 * math.pi * cycles * torch.arange(32) / 32).expand(2, 1, 32, 32)
    for direction, x in ((0, wave), (2, wave.transpose(2, 3))):
        spectrum = losses.power_spectrum(0.5 + 0.4 * x)
        assert spectrum.shape == (15, 4)
        assert divmod(spectrum.argmax().item(), 4) == (cycles - 1, direction)


def test_stripes_do_not_pass_for_texture():
    texture = torch.rand(16, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    stripes = texture[:, :, :1].expand_as(texture)
    assert losses.spectrum_loss(stripes, texture).item() > 10 * losses.spectrum_loss(texture.flip(2) ** 1.1, texture).item()


def test_blurred_pictures_differ_from_sharp_ones_in_their_spectrum():
    x = torch.rand(8, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1).requires_grad_()
    assert losses.spectrum_loss(x, x.flip(0)).item() == pytest.approx(0, abs=1e-8)
    loss = losses.spectrum_loss(blurred, x)
    assert loss.item() > 1
    assert torch.autograd.grad(loss, blurred)[0].isfinite().all()
