"""The flow is invertible, its Jacobian is the one autograd finds, and whitening and folding do what they say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal

from twofold.model import losses
from twofold.model.flow import ClassFlow, alive

CLASSES, DIM = 3, 5


def random_flow(seed: int, dim: int = DIM, layers: int = 4, strength: float = 0.3) -> ClassFlow:
    """A flow whose every weight and buffer differs from its start: whitened, coupled and folded on random codes."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    flow = ClassFlow(dim, CLASSES, layers, hidden=8)
    for coupling in flow.couplings:
        for parameter in (coupling.condition.weight, coupling.last.weight, coupling.last.bias):
            torch.nn.init.normal_(parameter, std=strength)
    codes, label = correlated(generator, dim)
    with torch.no_grad():
        flow.whiten(codes, label)
        flow.fold(codes, label)
    return flow


def correlated(generator: torch.Generator, dim: int = DIM, rows: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes with a mean and a covariance of their own in every class."""
    label = torch.arange(rows) % CLASSES
    mixing = torch.randn(CLASSES, dim, dim, generator=generator) + torch.eye(dim)
    means = 3 * torch.randn(CLASSES, dim, generator=generator)
    return means[label] + (mixing[label] @ torch.randn(rows, dim, 1, generator=generator))[..., 0], label


@pytest.mark.parametrize("seed", range(3))
def test_the_flow_is_inverted_to_1e_5_for_every_class(seed):
    flow = random_flow(seed, layers=8, strength=0.1)
    codes, label = correlated(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        z_u, _ = flow(codes, label)
        assert (flow.inverse(z_u, label) - codes).abs().max() < 1e-5 * codes.abs().max()
        assert (flow(flow.inverse(z_u, label), label)[0] - z_u).abs().max() < 1e-5 * z_u.abs().max()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    dim=st.integers(2, 6),
    layers=st.integers(1, 5),
)
def test_couplings_of_any_size_are_inverted_exactly(seed, dim, layers):
    flow = random_flow(seed, dim, layers, 0.5).double()
    x, label = torch.randn(6, dim, dtype=torch.float64), torch.arange(6) % CLASSES
    with torch.no_grad():
        for coupling in flow.couplings:
            assert torch.allclose(coupling.inverse(coupling(x, label)[0], label), x, atol=1e-9)


def test_the_log_determinant_is_that_of_autograds_jacobian():
    flow = random_flow(0).double()
    for k in range(CLASSES):
        label = torch.tensor([k])
        e = torch.randn(1, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
        wanted = jacobian(lambda v, label=label: flow(v[None], label)[0][0], e[0]).slogdet().logabsdet
        # the whitening's own log-determinant is kept in float32
        assert flow(e, label)[1].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_the_log_variance_is_first_order_in_autograds_jacobian():
    flow = random_flow(1).double()
    e, log_var = torch.randn(2, 6, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    label = torch.arange(6) % CLASSES
    mean, found = flow.forward_with_log_var(e, log_var, label)
    assert torch.allclose(mean, flow(e, label)[0])
    for i in range(6):
        slopes = jacobian(lambda v, i=i: flow(v[None], label[i : i + 1])[0][0], e[i])
        assert torch.allclose(found[i].exp(), (slopes.square() * log_var[i].exp()).sum(1))


def test_tangents_are_carried_as_autograd_carries_them():
    coupling = random_flow(2).double().couplings[0]
    x, tangents = torch.randn(2, 20, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    label = torch.arange(20) % CLASSES
    y, carried = coupling.forward_with_tangents(x, tangents[:, None], label)
    wanted_y, wanted = torch.autograd.functional.jvp(lambda v: coupling(v, label)[0], x, tangents)
    assert torch.allclose(y, wanted_y)
    assert torch.allclose(carried[:, 0], wanted)


def test_a_coupling_leaves_its_masked_half_and_reads_nothing_else():
    flow = random_flow(3)
    x, label = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    for coupling in flow.couplings:
        kept = coupling.mask.bool()
        y, _ = coupling(x, label)
        assert torch.equal(y[:, kept], x[:, kept])
        assert (y[:, ~kept] != x[:, ~kept]).all()
        other = torch.where(kept, x, x + 1)
        assert torch.equal(coupling.net(x, label), coupling.net(other, label))


def test_every_dimension_is_moved_by_one_of_two_neighbouring_couplings():
    masks = [coupling.mask for coupling in ClassFlow(7, 2, layers=6, hidden=4).couplings]
    assert all(torch.equal(a + b, torch.ones(7)) for a, b in zip(masks[::2], masks[1::2], strict=True))


def test_an_untrained_flow_is_the_identity():
    e, label = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0)), torch.arange(4) % CLASSES
    z_u, log_det = ClassFlow(DIM, CLASSES, layers=4, hidden=8)(e, label)
    assert torch.equal(z_u, e)
    assert torch.equal(log_det, torch.zeros(4))


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


def test_folding_gives_every_class_mean_zero_and_deviation_one_and_stays_invertible():
    codes, label = correlated(torch.Generator().manual_seed(0), rows=900)
    flow = random_flow(4)
    with torch.no_grad():
        flow.whiten(codes, label)
        flow.fold(codes, label)
        z_u, _ = flow(codes, label)
        assert torch.allclose(flow.inverse(z_u, label), codes, atol=1e-3)
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


@torch.no_grad()
def test_without_couplings_the_flow_is_the_whitening_and_every_class_is_standard():
    codes, label = correlated(torch.Generator().manual_seed(0))
    flow = ClassFlow(DIM, CLASSES, layers=0)
    assert flow.whiten(codes, label, shrink=0.0) == DIM
    z_u, _ = flow(codes, label)
    for k in range(CLASSES):
        rows = z_u[label == k]
        assert torch.allclose(rows.mean(0), torch.zeros(DIM), atol=1e-4)
        assert torch.allclose(rows.T.cov(), torch.eye(DIM), atol=0.02)
    assert torch.allclose(flow.inverse(z_u, label), codes, atol=1e-4)


@torch.no_grad()
def test_dead_dimensions_are_dropped_and_the_flow_is_inverted_on_the_others():
    codes, label = correlated(torch.Generator().manual_seed(0))
    codes[:, 2] *= 1e-3
    flow = ClassFlow(DIM, CLASSES, layers=0)
    assert flow.whiten(codes, label, dead_variance=0.05) == DIM - 1
    z_u, log_det = flow(codes, label)
    assert (z_u[:, 2] == 0).all()
    assert log_det.isfinite().all()
    back, alive = flow.inverse(z_u, label), torch.arange(DIM) != 2
    assert torch.allclose(back[:, alive], codes[:, alive], atol=1e-4)
    anything = flow.inverse(z_u + torch.eye(DIM)[2], label)
    assert torch.equal(anything, back)  # what is drawn there changes nothing
    assert torch.allclose(flow(back, label)[0], z_u, atol=1e-4)


def test_the_dimension_that_varies_most_is_alive_however_little_that_is():
    codes = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-3, 2e-3, 0.0])
    assert alive(codes, 0.5).tolist() == [False, True, False]
    assert alive(codes, 0.0).all()


@torch.no_grad()
def test_codes_that_are_all_the_same_are_whitened_to_finite_numbers():
    flow = ClassFlow(DIM, CLASSES, layers=0)
    codes, label = torch.zeros(30, DIM), torch.arange(30) % CLASSES
    assert flow.whiten(codes, label, dead_variance=0.5) == DIM
    z_u, log_det = flow(codes, label)
    assert torch.equal(z_u, codes)
    assert log_det.isfinite().all()
