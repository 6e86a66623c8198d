"""What is measured on the training codes between stages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from twofold.model.vae_gan import Sizes, VaeGan
from twofold.training.trainer.calibration import ACTIONS, REQUIRES, act, fit_sampler
from twofold.training.trainer.latents import encode, to_tensor


@pytest.fixture
def model() -> VaeGan:
    torch.manual_seed(0)
    widths = (4, 4, 6)
    sizes = Sizes(dim_s=3, dim_u=4, encoder_s_widths=widths, encoder_u_widths=widths, decoder_widths=widths, flow_layers=2, flow_hidden=8)
    return VaeGan(sizes, torch.full((10,), 0.1), channels=1, height=28, width=28)


def test_pixels_become_pictures_between_zero_and_one(few):
    x = to_tensor(few.pixels[:3])
    assert x.shape == (3, 1, 28, 28)
    assert torch.equal((255 * x[:, 0]).round().byte(), torch.from_numpy(few.pixels[:3, :, :, 0]))


def test_codes_do_not_depend_on_the_chunk_and_leave_the_model_as_it_was(model, few):
    model.train()
    model.decoder.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole, chunked = encode(model, few.pixels, few.labels), encode(model, few.pixels, few.labels, chunk=7)
    assert torch.allclose(whole.z_s, chunked.z_s, atol=1e-5)
    assert torch.allclose(whole.q.mean, chunked.q.mean, atol=1e-5)
    assert whole.label.tolist() == few.labels.tolist()
    assert torch.equal(whole.read, model.read_class(whole.z_s))
    assert not whole.z_s.requires_grad
    assert model.encoder_s.training
    assert not model.decoder.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_sampler_is_fitted_to_z_s_by_true_class_and_to_the_style_that_is_served(model, few):
    codes = encode(model, few.pixels, few.labels)
    ACTIONS["whiten"](model, codes)
    ACTIONS["fold"](model, codes)
    fit_sampler(model, codes)
    with torch.no_grad():
        z_u = model.flow(codes.q.mean, codes.read)[0]
    for k in range(10):
        assert torch.allclose(model.fitted.means[k], codes.z_s[codes.label == k].mean(0), atol=1e-5)
    assert torch.allclose(model.fitted.z_u_mean, z_u.mean(0), atol=1e-5)


def test_the_standard_sampler_is_read_as_the_class_that_was_asked_for(model, few):
    codes = encode(model, few.pixels, few.labels)
    model.prior.raw_log_vars.data.fill_(1.5)  # classes that overlap
    fit_sampler(model, codes)
    ACTIONS["standard"](model, codes)
    label = torch.arange(10).repeat(200)
    z_s, z_u = model.fitted.sample(label, torch.Generator().manual_seed(0))
    assert torch.equal(model.read_class(z_s), label)
    assert z_u.mean(0).abs().max() < 0.1
    assert z_u.std(0) == pytest.approx([1.0] * 4, abs=0.1)


def test_without_a_flow_the_sampler_is_fitted_to_the_codes_themselves(model, few):
    model.flow = None
    ACTIONS["fit_sampler"](model, encode(model, few.pixels, few.labels))
    assert torch.allclose(model.fitted.z_u_mean, encode(model, few.pixels, few.labels).q.mean.mean(0), atol=1e-5)


def test_every_requirement_is_of_an_action_and_a_size_of_the_model(model):
    assert set(REQUIRES) <= set(ACTIONS)
    assert all(hasattr(model.sizes, size) for size in REQUIRES.values())


def test_the_style_step_is_measured_in_deviations_of_the_posterior(model, few):
    rounding = VaeGan(replace(model.sizes, style_step=2.0), torch.full((10,), 0.1), 1, 28, 28).eval()
    codes = encode(rounding, few.pixels[:50], few.labels[:50])
    ACTIONS["quantize_style"](rounding, codes)
    assert torch.allclose(rounding.encoder_u.style_step, 2 * codes.q.log_var.exp().mean(0).sqrt())


def test_codes_are_shrunk_by_the_shrinkage_of_the_sizes(model, few):
    shrinking = VaeGan(replace(model.sizes, shrinkage=0.8), torch.full((10,), 0.1), 1, 28, 28).eval()
    before = encode(shrinking, few.pixels[:50], few.labels[:50])
    ACTIONS["shrink_to_class_mean"](shrinking, before)
    assert float(shrinking.prior.shrinkage) == pytest.approx(0.8)
    assert torch.allclose(encode(shrinking, few.pixels[:50], few.labels[:50]).z_s, shrinking.prior.shrunk(before.z_s))


@pytest.fixture
def centring(model, few) -> VaeGan:
    sizes = replace(model.sizes, style_centered=True, style_step=1.0, flow_layers=0, flow_affine=True, dead_variance=1e-5)
    made = VaeGan(sizes, torch.full((10,), 0.1), 1, 28, 28).eval()
    with torch.no_grad():
        made.encoder_u.head.weight[:4] *= 20
        made.encoder_u.head.bias[4:] = -8
        made.encoder_u.head.weight[2] = made.encoder_u.head.bias[2] = 0  # a dead dimension
    return made


def test_centred_codes_have_the_same_mean_in_every_class(centring, few):
    ACTIONS["center_style"](centring, encode(centring, few.pixels, few.labels))
    codes = encode(centring, few.pixels, few.labels)
    for k in codes.read.unique():
        assert torch.allclose(codes.q.mean[codes.read == k].mean(0), torch.zeros(4), atol=1e-4)


def test_an_action_is_measured_on_the_codes_that_the_one_before_it_left(centring, few):
    said = act(centring, ("center_style", "quantize_style", "whiten"), lambda: encode(centring, few.pixels, few.labels))
    codes = encode(centring, few.pixels, few.labels)
    assert (codes.q.mean[:, 2] == 0).all()
    assert said == ["3 of 4 style dimensions are alive; the others are dropped, and nothing is drawn from them"]
    for k in codes.read.unique():
        rows = codes.q.mean[codes.read == k]
        if len(rows) > 4:
            assert torch.allclose(centring.flow.code_means[k], rows.mean(0), atol=1e-5)
