"""The flow is invertible, its Jacobian is the one autograd finds, and whitening and folding do what they say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal

from twofold.model import couplings, losses
from twofold.model.couplings import BOUND, MAX_LOG_SCALE, MIN_SHARE
from twofold.model.flow import FLOW_KINDS, ClassFlow

CLASSES, DIM, DIM_S = 3, 5, 4
VARIANTS = [pytest.param(kind, dim_s, id=f"{kind}, {'code' if dim_s else 'class'}") for kind in FLOW_KINDS for dim_s in (0, DIM_S)]


def random_flow(seed: int, dim: int = DIM, layers: int = 4, strength: float = 0.3, kind: str = "affine", dim_s: int = 0) -> ClassFlow:
    """A flow whose every weight and buffer differs from its start: whitened, coupled and folded on random codes."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    flow = ClassFlow(dim, CLASSES, layers, hidden=8, kind=kind, bins=4, dim_s=dim_s)
    for coupling in flow.couplings:
        for parameter in (
            coupling.condition.weight,
            coupling.last.weight,
            coupling.last.bias,
            *(coupling.code.parameters() if dim_s else ()),
        ):
            torch.nn.init.normal_(parameter, std=strength)
    codes, label = correlated(generator, dim)
    with torch.no_grad():
        flow.whiten(codes, label)
        flow.fold(codes, label, class_codes(label))
    return flow


def class_codes(label: torch.Tensor) -> torch.Tensor:
    """z_s [B, D_s] that differ from row to row and follow the class; a flow of the class alone does not look at them."""
    return label[:, None] + torch.randn(len(label), DIM_S, generator=torch.Generator().manual_seed(len(label)))


def correlated(generator: torch.Generator, dim: int = DIM, rows: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes with a mean and a covariance of their own in every class."""
    label = torch.arange(rows) % CLASSES
    mixing = torch.randn(CLASSES, dim, dim, generator=generator) + torch.eye(dim)
    means = 3 * torch.randn(CLASSES, dim, generator=generator)
    return means[label] + (mixing[label] @ torch.randn(rows, dim, 1, generator=generator))[..., 0], label


@pytest.mark.parametrize(("kind", "dim_s"), VARIANTS)
@pytest.mark.parametrize("seed", range(3))
def test_the_flow_is_inverted_to_1e_5_for_every_class(seed, kind, dim_s):
    flow = random_flow(seed, layers=8, strength=0.1, kind=kind, dim_s=dim_s)
    codes, label = correlated(torch.Generator().manual_seed(seed))
    given = label, class_codes(label)
    with torch.no_grad():
        z_u, _ = flow(codes, *given)
        assert (flow.inverse(z_u, *given) - codes).abs().max() < 1e-5 * codes.abs().max()
        assert (flow(flow.inverse(z_u, *given), *given)[0] - z_u).abs().max() < 1e-5 * z_u.abs().max()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    dim=st.integers(2, 6),
    layers=st.integers(1, 5),
    kind=st.sampled_from(FLOW_KINDS),
    dim_s=st.sampled_from([0, DIM_S]),
)
def test_couplings_of_any_size_are_inverted_exactly(seed, dim, layers, kind, dim_s):
    flow = random_flow(seed, dim, layers, 0.5, kind, dim_s).double()
    x, label = torch.randn(6, dim, dtype=torch.float64), torch.arange(6) % CLASSES
    given = label, class_codes(label).double()
    with torch.no_grad():
        for coupling in flow.couplings:
            assert torch.allclose(coupling.inverse(coupling(x, *given)[0], *given), x, atol=1e-9)


@pytest.mark.parametrize(("kind", "dim_s"), VARIANTS)
def test_the_log_determinant_is_that_of_autograds_jacobian(kind, dim_s):
    flow = random_flow(0, kind=kind, dim_s=dim_s).double()
    for k in range(CLASSES):
        given = torch.tensor([k]), class_codes(torch.tensor([k])).double()
        e = torch.randn(1, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
        wanted = jacobian(lambda v, given=given: flow(v[None], *given)[0][0], e[0]).slogdet().logabsdet
        # the whitening's own log-determinant is kept in float32
        assert flow(e, *given)[1].item() == pytest.approx(wanted.item(), abs=1e-5)


@pytest.mark.parametrize(("kind", "dim_s"), VARIANTS)
def test_the_log_variance_is_first_order_in_autograds_jacobian(kind, dim_s):
    flow = random_flow(1, kind=kind, dim_s=dim_s).double()
    e, log_var = torch.randn(2, 6, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    label = torch.arange(6) % CLASSES
    z_s = class_codes(label).double()
    mean, found = flow.forward_with_log_var(e, log_var, label, z_s)
    assert torch.allclose(mean, flow(e, label, z_s)[0])
    for i in range(6):
        slopes = jacobian(lambda v, i=i: flow(v[None], label[i : i + 1], z_s[i : i + 1])[0][0], e[i])
        assert torch.allclose(found[i].exp(), (slopes.square() * log_var[i].exp()).sum(1))


@pytest.mark.parametrize(("kind", "dim_s"), VARIANTS)
@pytest.mark.parametrize("scale", [1.0, 4.0])  # within the bins of a spline, and across their bound
def test_tangents_are_carried_as_autograd_carries_them(kind, dim_s, scale):
    coupling = random_flow(2, kind=kind, dim_s=dim_s).double().couplings[0]
    x, tangents = torch.randn(2, 20, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, label = scale * x, torch.arange(20) % CLASSES
    given = label, class_codes(label).double()
    y, carried = coupling.forward_with_tangents(x, tangents[:, None], *given)
    wanted_y, wanted = torch.autograd.functional.jvp(lambda v: coupling(v, *given)[0], x, tangents)
    assert torch.allclose(y, wanted_y)
    assert torch.allclose(carried[:, 0], wanted)


@pytest.mark.parametrize(("kind", "dim_s"), VARIANTS)
def test_a_coupling_leaves_its_masked_half_and_reads_nothing_else(kind, dim_s):
    flow = random_flow(3, kind=kind, dim_s=dim_s)
    x, label = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    given = label, class_codes(label)
    for coupling in flow.couplings:
        kept = coupling.mask.bool()
        y, _ = coupling(x, *given)
        assert torch.equal(y[:, kept], x[:, kept])
        assert (y[:, ~kept] != x[:, ~kept]).all()
        other = torch.where(kept, x, x + 1)
        assert torch.equal(coupling.net(x, *given), coupling.net(other, *given))


def test_a_flow_of_the_code_sends_two_codes_of_a_class_to_different_styles():
    e, label = torch.randn(6, DIM, generator=torch.Generator().manual_seed(0)), torch.zeros(6, dtype=torch.int64)
    z_s = torch.randn(2, 6, DIM_S, generator=torch.Generator().manual_seed(1))
    by_class, by_code = (random_flow(6, dim_s=dim_s) for dim_s in (0, DIM_S))
    assert torch.equal(by_class(e, label, z_s[0])[0], by_class(e, label, z_s[1])[0])
    assert (by_code(e, label, z_s[0])[0] - by_code(e, label, z_s[1])[0]).abs().max() > 0.01


# --------------------------------------------------------------------------------------------------------------- splines


def spline(bins: int = 5, strength: float = 3.0, seed: int = 0) -> couplings.SplineCoupling:
    """One that bends its second half hard: its bins are as uneven and its knots as steep as they may be."""
    torch.manual_seed(seed)
    coupling = couplings.SplineCoupling(torch.tensor([1.0, 1.0, 0.0, 0.0]), CLASSES, 8, bins)
    torch.nn.init.normal_(coupling.last.weight, std=strength)
    torch.nn.init.normal_(coupling.last.bias, std=strength)
    return coupling.double()


def along(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [N, 4] of one class whose second half runs through the values and whose first half stands."""
    x = torch.stack([torch.full_like(values, 0.3), torch.full_like(values, -0.7), values, -values], 1)
    return x, torch.ones(len(values), dtype=torch.int64)


@pytest.mark.parametrize("seed", range(5))
def test_a_spline_rises_everywhere_and_meets_the_identity_at_its_bound_and_beyond(seed):
    x, label = along(torch.linspace(-BOUND - 1, BOUND + 1, 2001, dtype=torch.float64))
    with torch.no_grad():
        y, log_det = spline(seed=seed)(x, label)
    assert (y[:, 2].diff() > 0).all()
    outside = x[:, 2].abs() >= BOUND
    assert torch.allclose(y[outside], x[outside])
    assert torch.allclose(log_det[outside], torch.zeros_like(log_det[outside]), atol=1e-6)
    assert (y - x)[~outside].abs().max() > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_even_the_hardest_spline_is_inverted_in_float32(seed):
    coupling = spline(seed=seed).float()
    x, label = along(torch.linspace(-BOUND - 1, BOUND + 1, 2001))
    with torch.no_grad():
        y, log_det = coupling(x, label)
        found = coupling.inverse(y, label)
        assert (found - x).abs().max() < 1e-3  # where the spline is flat, a rounding of y is many of x
        rounding = 16 * BOUND * torch.finfo(torch.float32).eps  # of sums over bins; a steep spline makes more of it
        assert (coupling(found, label)[0] - y).abs().max() < rounding * log_det.max().exp()
        assert log_det.isfinite().all()


def test_every_bin_of_a_spline_has_its_least_width_and_height_and_all_fill_the_bound():
    coupling = spline(bins=6)
    x, label = along(torch.zeros(1, dtype=torch.float64))
    with torch.no_grad():
        bins = coupling._bins(coupling.net(x, label))
    for size in (bins.width, bins.height):
        assert size.min() > MIN_SHARE * 2 * BOUND / 6
        assert torch.allclose(size.sum(-1), torch.tensor(2 * BOUND, dtype=torch.float64))
    assert bins.begin.min() >= torch.tensor(-MAX_LOG_SCALE).exp()
    assert torch.equal(bins.begin[..., 1:], bins.end[..., :-1])


def test_every_dimension_is_moved_by_one_of_two_neighbouring_couplings():
    masks = [coupling.mask for coupling in ClassFlow(7, 2, layers=6, hidden=4).couplings]
    assert all(torch.equal(a + b, torch.ones(7)) for a, b in zip(masks[::2], masks[1::2], strict=True))


@pytest.mark.parametrize(("kind", "dim_s"), VARIANTS)
def test_an_untrained_flow_is_the_identity(kind, dim_s):
    e, label = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0)), torch.arange(4) % CLASSES
    z_u, log_det = ClassFlow(DIM, CLASSES, layers=4, hidden=8, kind=kind, dim_s=dim_s)(e, label, class_codes(label))
    assert torch.allclose(z_u, e, rtol=0, atol=0 if kind == "affine" else 5e-6)
    assert torch.allclose(log_det, torch.zeros(4), rtol=0, atol=0 if kind == "affine" else 5e-6)


def test_whitening_gives_every_class_mean_zero_and_unit_covariance():
    codes, label = correlated(torch.Generator().manual_seed(0), rows=3000)
    flow = ClassFlow(DIM, CLASSES, layers=2, hidden=8)
    flow.whiten(codes, label, shrink=0.0)
    z_u, log_det = flow(codes, label)
    for k in range(CLASSES):
        rows = z_u[label == k].detach()
        assert rows.mean(0).abs().max() < 1e-4
        assert (rows.T.cov() - torch.eye(DIM)).abs().max() < 1e-3
        assert (flow.whitening[k] @ flow.unwhitening[k] - torch.eye(DIM)).abs().max() < 1e-4
        assert log_det[label == k][0].item() == pytest.approx(flow.whitening[k].slogdet().logabsdet.item(), abs=1e-4)


def test_the_likelihood_of_a_whitened_flow_is_that_of_the_class_gaussian():
    codes, label = correlated(torch.Generator().manual_seed(1), rows=600)
    flow = ClassFlow(DIM, CLASSES, layers=2, hidden=8)
    flow.whiten(codes, label, shrink=0.0)
    for k in range(CLASSES):
        rows = codes[label == k].double()
        wanted = -MultivariateNormal(rows.mean(0), rows.T.cov()).log_prob(rows).mean()
        found = losses.flow_nll(*flow(codes[label == k], label[label == k]))
        assert found.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_a_flow_that_only_whitens_has_no_way_to_go_and_one_that_bends_has():
    codes, label = correlated(torch.Generator().manual_seed(1), rows=90)
    straight, bent = ClassFlow(DIM, CLASSES, layers=2, hidden=8), random_flow(4)
    for flow in (straight, bent):
        flow.whiten(codes, label)
    assert losses.flow_transport(straight(codes, label)[0], straight.whitened(codes, label)).item() == pytest.approx(0, abs=1e-9)
    way = bent(codes, label)[0] - (bent.whitening[label] @ (codes - bent.code_means[label])[..., None])[..., 0]
    found = losses.flow_transport(bent(codes, label)[0], bent.whitened(codes, label))
    assert found.item() == pytest.approx(way.square().sum().item() / len(codes), rel=1e-4)
    assert found > 0.01


@pytest.mark.parametrize(("kind", "dim_s"), VARIANTS)
def test_folding_gives_every_class_mean_zero_and_deviation_one_and_stays_invertible(kind, dim_s):
    codes, label = correlated(torch.Generator().manual_seed(0), rows=900)
    z_s = class_codes(label)
    flow = random_flow(4, kind=kind, dim_s=dim_s)
    with torch.no_grad():
        flow.whiten(codes, label)
        flow.fold(codes, label, z_s)
        z_u, _ = flow(codes, label, z_s)
        assert torch.allclose(flow.inverse(z_u, label, z_s), codes, atol=1e-3)
    for k in range(CLASSES):
        assert z_u[label == k].mean(0).abs().max() < 1e-4
        assert (z_u[label == k].std(0) - 1).abs().max() < 1e-4


@pytest.mark.parametrize("rows_of_the_last_class", [0, 1, DIM])
def test_a_class_that_is_hardly_ever_read_is_whitened_like_all_codes_and_not_folded(rows_of_the_last_class):
    codes, label = correlated(torch.Generator().manual_seed(0), rows=300)
    label = torch.where(label == CLASSES - 1, 0, label)
    label[:rows_of_the_last_class] = CLASSES - 1
    flow = random_flow(5)
    with torch.no_grad():
        flow.whiten(codes, label)
        flow.fold(codes, label)
        z_u, _ = flow(codes, torch.full((300,), CLASSES - 1))
    assert torch.allclose(flow.code_means[-1], codes.mean(0), atol=1e-4)
    assert torch.equal(flow.fold_log_scales[-1], torch.zeros(DIM))
    assert z_u.isfinite().all()
