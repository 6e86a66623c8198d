"""The class Gaussians, learned and refitted, against torch.distributions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from twofold.model.prior import LOG_VAR_BOUNDS, RADIUS, ClassPrior, FittedDensity, FittedPrior


def learned(seed: int, classes: int, dim_s: int) -> ClassPrior:
    torch.manual_seed(seed)
    prior = ClassPrior(torch.rand(classes).add(0.1).softmax(0), dim_s).double()
    prior.means.data *= 2.0 / RADIUS
    prior.raw_log_vars.data = torch.randn(classes, dim_s, dtype=torch.float64)
    return prior


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), classes=st.integers(2, 7), dim_s=st.integers(1, 9))
def test_the_class_posterior_is_that_of_a_brute_force_mixture(seed, classes, dim_s):
    prior = learned(seed, classes, dim_s)
    z_s, label = torch.randn(5, dim_s, dtype=torch.float64), torch.arange(5) % classes
    components = [Independent(Normal(prior.means[k], (0.5 * prior.log_vars[k]).exp()), 1) for k in range(classes)]
    joint = torch.stack([prior.log_weights[k].exp() * components[k].log_prob(z_s).exp() for k in range(classes)], 1)
    assert torch.allclose(prior.logits(z_s).softmax(1), joint / joint.sum(1, keepdim=True), atol=1e-9)
    wanted = torch.stack([components[k].log_prob(z) for z, k in zip(z_s, label.tolist(), strict=True)])
    assert torch.allclose(prior.log_prob(z_s, label), wanted)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), spread=st.floats(0, 1))
def test_a_shrunk_code_lies_between_itself_and_its_class_mean_and_stays_in_class(seed, spread):
    prior = ClassPrior(torch.rand(5).add(0.1).softmax(0), 6, shrinks=True).double()
    prior.means.data *= 5.0
    label = torch.arange(5)
    z_s = prior.means[label] + torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(prior.shrunk(z_s), z_s)  # a spread of 1 until it is set
    prior.shrinkage.fill_(1 - spread)
    assert torch.allclose(prior.shrunk(z_s), prior.means[label] + spread * (z_s - prior.means[label]), atol=1e-6)
    assert torch.equal(prior.logits(prior.shrunk(z_s)).argmax(1), label)


def test_a_code_between_two_classes_is_shrunk_to_the_point_between_them():
    prior = ClassPrior(torch.tensor([0.5, 0.5]), 2, shrinks=True)
    with torch.no_grad():
        prior.means.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    prior.shrinkage.fill_(1.0)
    assert torch.allclose(prior.shrunk(torch.tensor([[0.0, 3.0]])), torch.zeros(1, 2), atol=1e-6)


@pytest.mark.parametrize(("classes", "dim_s"), [(4, 6), (8, 3)])
def test_the_class_means_start_apart_on_a_sphere(classes, dim_s):
    torch.manual_seed(0)
    prior = ClassPrior(torch.full((classes,), 1 / classes), dim_s)
    assert torch.allclose(prior.means.norm(dim=1), torch.full((classes,), RADIUS))
    gram = prior.means @ prior.means.T
    if classes <= dim_s:
        assert torch.allclose(gram, RADIUS**2 * torch.eye(classes), atol=1e-4)
    assert torch.cdist(prior.means, prior.means).add(10 * torch.eye(classes)).min() > 1


def test_log_variances_never_leave_their_bounds():
    prior = ClassPrior(torch.tensor([0.5, 0.5]), 2)
    prior.raw_log_vars.data = torch.tensor([[-50.0, 0.5], [50.0, 2.0]])
    assert torch.equal(prior.log_vars, torch.tensor([[LOG_VAR_BOUNDS[0], 0.5], [LOG_VAR_BOUNDS[1], 2.0]]))


def test_samples_of_the_learned_gaussians_have_their_means_and_deviations():
    prior = learned(3, 2, 3)
    for k in range(2):
        sample = prior.sample(torch.full((20_000,), k), torch.Generator().manual_seed(0))
        deviation = (0.5 * prior.log_vars[k]).exp()
        assert ((sample.mean(0) - prior.means[k]).abs() < 5 * deviation / 20_000**0.5).all()
        assert torch.allclose(sample.std(0), deviation, rtol=0.03)


# --------------------------------------------------------------------------------------------------------------- refitted


@pytest.fixture(scope="module")
def truth() -> tuple[list[MultivariateNormal], MultivariateNormal]:
    """Two correlated class Gaussians in three dimensions and one for the style in two."""
    generator = torch.Generator().manual_seed(5)
    trils = [torch.randn(d, d, generator=generator).tril(-1) + torch.rand(d, generator=generator).add(0.5).diag() for d in (3, 3, 2)]
    means = [3 * torch.randn(d, generator=generator) for d in (3, 3, 2)]
    gaussians = [MultivariateNormal(m, scale_tril=t) for m, t in zip(means, trils, strict=True)]
    return gaussians[:2], gaussians[2]


@pytest.fixture(scope="module")
def fitted(truth) -> FittedPrior:
    torch.manual_seed(0)
    classes, style = truth
    label = torch.arange(40_000) % 2
    z_s = torch.stack([g.sample((20_000,)) for g in classes], 1).reshape(-1, 3)
    prior = FittedPrior(2, 3, 2)
    prior.fit(z_s, style.sample((40_000,)), label)
    return prior


def test_fitting_recovers_known_gaussians(fitted, truth):
    classes, style = truth
    for k, gaussian in enumerate(classes):
        assert torch.allclose(fitted.means[k], gaussian.mean, atol=0.05)
        assert torch.allclose(fitted.scale_tril[k] @ fitted.scale_tril[k].T, gaussian.covariance_matrix, atol=0.08)
        assert torch.equal(fitted.scale_tril[k], fitted.scale_tril[k].tril())
    assert torch.allclose(fitted.z_u_mean, style.mean, atol=0.05)
    assert torch.allclose(fitted.z_u_scale_tril @ fitted.z_u_scale_tril.T, style.covariance_matrix, atol=0.08)


def test_what_is_sampled_is_what_was_fitted(fitted):
    for k in range(2):
        z_s, z_u = fitted.sample(torch.full((40_000,), k), torch.Generator().manual_seed(1))
        assert torch.allclose(z_s.mean(0), fitted.means[k], atol=0.05)
        assert torch.allclose(z_s.T.cov(), fitted.scale_tril[k] @ fitted.scale_tril[k].T, atol=0.08)
        assert torch.allclose(z_u.mean(0), fitted.z_u_mean, atol=0.05)
        assert torch.allclose(z_u.T.cov(), fitted.z_u_scale_tril @ fitted.z_u_scale_tril.T, atol=0.08)


def test_the_log_density_is_the_fitted_mixture_times_the_density_of_the_style(fitted):
    weights = torch.tensor([0.3, 0.7])
    z_s, z_u = 3 * torch.randn(6, 3, generator=torch.Generator().manual_seed(2)), torch.randn(6, 2)
    classes = MixtureSameFamily(Categorical(weights), MultivariateNormal(fitted.means, scale_tril=fitted.scale_tril))
    wanted = classes.log_prob(z_s) + MultivariateNormal(fitted.z_u_mean, scale_tril=fitted.z_u_scale_tril).log_prob(z_u)
    assert torch.allclose(FittedDensity(fitted, weights.log())(z_s, z_u), wanted, rtol=1e-3, atol=1e-3)


def test_a_class_with_fewer_rows_than_dimensions_is_fitted_by_its_diagonal():
    prior = FittedPrior(1, 4, 2)
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    prior.fit(rows, torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), torch.zeros(3, dtype=torch.int64), shrink=0.01)
    variance = rows.var(0)
    assert torch.allclose(prior.scale_tril[0], (variance + 0.01 * variance.mean()).sqrt().diag(), atol=1e-6)
