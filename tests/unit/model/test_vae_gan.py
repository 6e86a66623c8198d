"""The parts together: an output depends on its own row alone, and no label enters what is exported."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace

import pytest
import torch

from twofold.model.blocks import BLOCKS, UPSAMPLINGS, residual_up, up
from twofold.model.decoder import Decoder, Modulation
from twofold.model.encoders import CENTRE_DECAY, LOG_VAR_LIMITS, ClassEncoder, StyleEncoder
from twofold.model.posterior import DiagonalGaussian
from twofold.model.prior import FittedDensity
from twofold.model.vae_gan import SIZES_OF, Sizes, VaeGan

ROWS, CLASSES = 8, 4
SIZES = Sizes(
    dim_s=5,
    dim_u=6,
    encoder_s_widths=(4, 6),
    encoder_u_widths=(4, 6),
    decoder_hidden=10,
    decoder_widths=(6, 4),
    discriminator_widths=(4, 6),
    classifier_hidden=8,
    flow_layers=3,
    flow_hidden=8,
)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.rand(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=[("plain", False), ("residual", True)], ids=["plain", "residual, modulated"])
def model(x, request) -> VaeGan:
    """A small model whose BatchNorm has seen pictures and whose flow is not the identity."""
    torch.manual_seed(0)
    blocks, modulated = request.param
    model = VaeGan(
        replace(SIZES, blocks=blocks, decoder_modulated=modulated),
        torch.full((CLASSES,), 1 / CLASSES),
        channels=1,
        height=8,
        width=8,
    )
    for coupling in model.flow.couplings:
        torch.nn.init.normal_(coupling.last.weight, std=0.3)
        torch.nn.init.normal_(coupling.condition.weight)
    for modulation in model.decoder.modulations:
        torch.nn.init.normal_(modulation.said.weight, std=0.3)
    with torch.no_grad():
        for _ in range(3):
            model.decoder(model.encoder_s(x), model.encoder_u(x).sample())
    return model.eval()


def rows_of(outputs) -> list[torch.Tensor]:
    if isinstance(outputs, DiagonalGaussian):
        return [outputs.mean, outputs.log_var]
    return [outputs] if isinstance(outputs, torch.Tensor) else [row for output in outputs for row in rows_of(output)]


def calls(model: VaeGan):
    """Every part, by name, with a call on pictures, z_s, z_u and label."""
    return {
        "encoder_s": lambda x, z_s, z_u, label: model.encoder_s(x),
        "encoder_u": lambda x, z_s, z_u, label: model.encoder_u(x),
        "prior": lambda x, z_s, z_u, label: model.prior.logits(z_s),
        "flow": lambda x, z_s, z_u, label: model.flow(z_u, label),
        "inverse flow": lambda x, z_s, z_u, label: model.flow.inverse(z_u, label),
        "flow with log-variance": lambda x, z_s, z_u, label: model.flow.forward_with_log_var(z_u, -z_u.abs(), label),
        "decoder": lambda x, z_s, z_u, label: model.decoder(z_s, z_u),
        "discriminator": lambda x, z_s, z_u, label: model.discriminator(x, label),
        "classifier": lambda x, z_s, z_u, label: model.classifier(z_u),
        "read": lambda x, z_s, z_u, label: model.read(x),
        "log_density": lambda x, z_s, z_u, label: FittedDensity(model.fitted, model.prior.log_weights)(z_s, z_u),
        "decode": lambda x, z_s, z_u, label: model.decode(z_s, z_u),
    }


@pytest.mark.parametrize("part", list(calls(None)))  # type: ignore[arg-type]
@torch.no_grad()
def test_an_output_does_not_depend_on_its_batch(part, model, x):
    generator = torch.Generator().manual_seed(1)
    inputs = x, 4 * torch.randn(ROWS, 5, generator=generator), torch.randn(ROWS, 6, generator=generator), torch.arange(ROWS) % CLASSES
    call = calls(model)[part]
    together = rows_of(call(*inputs))
    alone = [rows_of(call(*(a[i : i + 1] for a in inputs))) for i in range(ROWS)]
    for k, output in enumerate(together):
        assert output.std(0).max() > 1e-3  # rows differ, so mixing them up would be seen
        assert torch.allclose(output, torch.cat([row[k] for row in alone]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("takes", "inputs"),
    [
        (ClassEncoder.forward, ["x"]),
        (StyleEncoder.forward, ["x"]),
        (Decoder.forward, ["z_s", "z_u"]),
        (VaeGan.read, ["x"]),
        (VaeGan.decode, ["z_s", "z_u"]),
    ],
)
def test_no_label_enters_an_encoder_or_the_decoder(takes, inputs):
    assert list(inspect.signature(takes).parameters) == ["self", *inputs]


@torch.no_grad()
def test_encoding_and_decoding_share_the_flow_even_where_the_class_is_misread(model, x):
    z_s, q, log_prob = model.read(x)
    code = model.encoder_u(x).mean
    assert torch.allclose(log_prob.exp().sum(1), torch.ones(ROWS), atol=1e-5)
    assert torch.allclose(model.code_from_style(q.mean, z_s), code, atol=1e-4)
    assert torch.allclose(model.decode(z_s, q.mean), model.decoder(z_s, code), atol=1e-4)


@torch.no_grad()
def test_the_condition_of_the_flow_is_the_class_read_from_z_s(model, x):
    z_s, z_u = model.prior.means.detach(), torch.randn(CLASSES, 6, generator=torch.Generator().manual_seed(2))
    assert torch.equal(model.read_class(z_s), torch.arange(CLASSES))
    assert torch.equal(model.code_from_style(z_u, z_s), model.flow.inverse(z_u, torch.arange(CLASSES)))


@torch.no_grad()
def test_without_a_flow_the_style_is_the_code(x):
    torch.manual_seed(0)
    sizes = replace(SIZES, flow_layers=0)
    model = VaeGan(sizes, torch.full((CLASSES,), 1 / CLASSES), channels=1, height=8, width=8).eval()
    z_s, q, _ = model.read(x)
    assert torch.equal(q.mean, model.encoder_u(x).mean)
    assert torch.equal(q.log_var, model.encoder_u(x).log_var)
    assert torch.equal(model.decode(z_s, q.mean), model.decoder(z_s, q.mean))


@torch.no_grad()
def test_a_decoder_that_takes_the_mean_draws_nothing_of_z_s_but_its_class():
    torch.manual_seed(0)
    sizes = replace(SIZES, decoder_takes="mean", flow_layers=0)
    model = VaeGan(sizes, torch.full((CLASSES,), 1 / CLASSES), channels=1, height=8, width=8).eval()
    near, z_u = model.prior.means + 0.3 * torch.rand(CLASSES, 5), torch.randn(CLASSES, 6)
    assert torch.equal(model.read_class(near), torch.arange(CLASSES))
    assert torch.equal(model.decode(near, z_u), model.decoder(model.prior.means, z_u))
    assert torch.equal(model.class_code(near, torch.tensor([3, 2, 1, 0])), model.prior.means.flip(0))


def test_a_decoder_takes_z_s_or_the_mean_of_its_class():
    with pytest.raises(ValueError, match="decoder_takes must be one of z_s, mean"):
        Sizes(decoder_takes="label")


@torch.no_grad()
def test_pictures_and_log_variances_stay_in_their_range_for_wild_inputs(model):
    pictures = model.decode(100 * torch.ones(2, 5), -100 * torch.ones(2, 6))
    assert (pictures >= 0).all()
    assert (pictures <= 1).all()
    log_var = model.encoder_u(1e4 * torch.ones(2, 1, 8, 8)).log_var
    assert (log_var >= LOG_VAR_LIMITS[0]).all()
    assert (log_var <= LOG_VAR_LIMITS[1]).all()


@torch.no_grad()
def test_a_swap_decodes_the_style_of_b_under_the_whole_class_code_of_a(model, x):
    z_s, q, _ = model.read(x)
    swapped = model.flow.inverse(q.mean.roll(1, 0), model.read_class(z_s))
    assert torch.equal(model.decode(z_s, q.mean.roll(1, 0)), model.decoder(z_s, swapped))
    found, _ = model.flow(swapped, model.read_class(z_s))
    assert torch.allclose(found, q.mean.roll(1, 0), atol=1e-4)  # read again under the same z_s it is the style of b


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize(("height", "width"), [(28, 28), (32, 32), (48, 32), (64, 64)])
def test_pictures_come_out_in_the_size_they_went_in(height, width, blocks, upsampling):
    widths = (4,) * (5 if min(height, width) == 64 else 4 if min(height, width) == 32 else 3)
    sizes = Sizes(encoder_s_widths=widths, encoder_u_widths=widths, decoder_widths=widths, discriminator_widths=(4, 4), flow_layers=0)
    model = VaeGan(
        replace(sizes, blocks=blocks, upsampling=upsampling), torch.full((CLASSES,), 1 / CLASSES), channels=3, height=height, width=width
    ).eval()
    z_s, q, _ = model.read(torch.rand(1, 3, height, width))
    assert model.decode(z_s, q.mean).shape == (1, 3, height, width)


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("widths", [(4, 6), (4, 5, 6), (4, 5, 6, 7)])
def test_the_discriminator_is_as_deep_and_as_wide_as_its_widths(blocks, widths):
    discriminator = VaeGan(replace(SIZES, blocks=blocks, discriminator_widths=widths), torch.ones(2) / 2, 1, 8, 8).discriminator
    features = discriminator.trunk(torch.rand(2, 1, 8, 8))
    assert features.shape == (2, widths[-1], *(2 * [8 >> (len(widths) - 1)]))
    convolutions = [module for module in discriminator.trunk.modules() if isinstance(module, torch.nn.Conv2d)]
    assert all(hasattr(module, "parametrizations") for module in convolutions)
    assert len(convolutions) == len(widths) * (3 if blocks == "residual" else 1)


def test_every_size_decides_the_shape_of_some_part_and_is_listed_there():
    listed = {size for sizes in SIZES_OF.values() for size in sizes}
    assert listed == {field.name for field in fields(Sizes)}


@pytest.mark.parametrize("sides", [(30, 30), (28, 31), (3, 3)])
def test_a_picture_that_does_not_halve_evenly_is_refused_with_the_sizes_that_do(sides):
    with pytest.raises(ValueError, match="4 to 7 times a power of two"):
        VaeGan(SIZES, torch.ones(2) / 2, 1, *sides)


def test_a_wrong_number_of_widths_is_refused_with_the_right_one():
    with pytest.raises(ValueError, match="28x28 pictures need 3 widths, not 2"):
        VaeGan(SIZES, torch.ones(2) / 2, 1, 28, 28)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": "dense"}, "blocks must be one of plain, residual"),
        ({"shrinkage": 1.5}, "shrinkage must be 0 to 1"),
        ({"style_step": -1.0}, "style_step must be 0 or more"),
        ({"discriminator_widths": (4,)}, "discriminator_widths must be two numbers or more"),
    ],
)
def test_a_size_that_no_part_can_be_built_with_is_refused_with_what_it_may_be(changes, message):
    with pytest.raises(ValueError, match=message):
        Sizes(**changes)


def test_means_are_multiples_of_the_style_step_once_it_is_measured(x):
    encoder = VaeGan(replace(SIZES, style_step=1.0), torch.full((CLASSES,), 1 / CLASSES), 1, 8, 8).encoder_u.eval()
    with torch.no_grad():
        fine = encoder(x).mean
        assert torch.equal(fine, encoder.fine(x).mean)
        encoder.style_step.copy_(torch.full_like(encoder.style_step, 0.5 * float(fine.std())))
        encoder.style_step[0] = 1e3
        encoder.style_step[1] = 0
        rounded = encoder(x).mean
    assert (rounded[:, 0] == 0).all()
    assert torch.equal(rounded[:, 1], fine[:, 1])
    places = rounded[:, 2:] / encoder.style_step[2:]
    assert torch.allclose(places, places.round(), atol=1e-4)
    assert ((rounded - fine)[:, 2:].abs() <= 0.5 * encoder.style_step[2:] + 1e-6).all()


def test_the_gradient_passes_the_rounding_as_if_it_were_not_there(x):
    encoder = VaeGan(replace(SIZES, style_step=1.0), torch.full((CLASSES,), 1 / CLASSES), 1, 8, 8).encoder_u
    encoder.style_step.fill_(0.3)
    mean = torch.randn(4, len(encoder.style_step), requires_grad=True)
    encoder.quantized(mean).sum().backward()
    assert torch.equal(mean.grad, torch.ones_like(mean))


@pytest.mark.parametrize("blocks", BLOCKS)
def test_a_modulation_begins_as_the_identity_and_then_all_grids_depend_on_codes(blocks):
    torch.manual_seed(0)
    codes = torch.randn(ROWS, SIZES.dim_s), torch.randn(ROWS, SIZES.dim_u)
    plain, modulated = (Decoder(5, 6, 10, (6, 4), 1, 8, 8, blocks, modulated).eval() for modulated in (False, True))
    modulated.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(modulated(*codes), plain(*codes))
    assert [m.said.weight.shape for m in modulated.modulations] == [(12, 11), (8, 11)]
    with torch.no_grad():  # the lift does not depend on the codes any more; what is left comes through the modulations
        modulated.lift[0].weight.zero_()
        assert (modulated(*codes) == modulated(*codes)[:1]).all()
        for modulation in modulated.modulations:
            modulation.said.weight.normal_()
            assert not torch.allclose(modulated(*codes), modulated(*codes)[:1].expand(ROWS, -1, -1, -1), atol=1e-4)
            modulation.said.weight.zero_()


def test_a_modulation_scales_and_shifts_channels():
    modulation = Modulation(2, 3)
    with torch.no_grad():
        modulation.said.weight[0, 0] = 1  # code 0 is the gain of channel 0
        modulation.said.weight[4, 1] = 1  # code 1 is the shift of channel 1
    h, codes = torch.rand(4, 3, 5, 5), torch.randn(4, 2)
    wanted = h.clone()
    wanted[:, 0] *= 1 + codes[:, 0, None, None]
    wanted[:, 1] += codes[:, 1, None, None]
    assert torch.allclose(modulation(h, codes), wanted)


def test_a_picture_is_read_as_shrunk_once_the_prior_says_so(x):
    torch.manual_seed(0)
    model = VaeGan(replace(SIZES, shrinkage=0.75), torch.full((CLASSES,), 1 / CLASSES), 1, 8, 8).eval()
    with torch.no_grad():
        z_s = model.encoder_s(x)
        assert torch.allclose(model.read(x)[0], z_s, atol=1e-6)
        model.prior.shrinkage.fill_(0.75)
        shrunk = model.prior.shrunk(z_s)
        assert not torch.allclose(shrunk, z_s)
        assert torch.equal(model.read(x)[0], shrunk)
        assert torch.equal(model.codes(x)[0], shrunk)
        assert torch.equal(model.read(x)[2], model.prior.logits(shrunk).log_softmax(1))


@pytest.mark.parametrize("double", [up, residual_up])
@torch.no_grad()
def test_repeated_pixels_draw_no_grid_on_a_flat_area_and_transposed_kernels_do(double):
    torch.manual_seed(0)
    flat = torch.rand(1, 6, 1, 1).expand(1, 6, 8, 8)
    spread = {kind: double(6, 4, kind).eval()(flat)[..., 4:-4, 4:-4].std((2, 3)).max() for kind in UPSAMPLINGS}
    assert spread["nearest"] < 1e-6
    assert spread["transposed"] > 1e-3


@pytest.fixture
def centring() -> VaeGan:
    """Codes that are centred by class and rounded, with class means that are not 0."""
    torch.manual_seed(0)
    sizes = replace(SIZES, style_centered=True, style_step=1.0, flow_layers=0, flow_affine=True)
    model = VaeGan(sizes, torch.full((CLASSES,), 1 / CLASSES), channels=1, height=8, width=8).eval()
    torch.nn.init.normal_(model.encoder_u.class_running_mean)
    model.encoder_u.style_step.fill_(0.01)
    return model


@torch.no_grad()
def test_codes_are_centred_on_the_class_that_is_read_and_rounded_after_that(centring, x):
    z_s, q, read = centring.codes(x)
    fine = centring.encoder_u.fine(x)
    assert torch.equal(q.mean, centring.encoder_u.quantized(fine.mean - centring.encoder_u.class_running_mean[read]))
    places = q.mean / 0.01
    assert torch.allclose(places, places.round(), atol=1e-3)
    assert torch.equal(centring.read_class(z_s), read)


@torch.no_grad()
def test_the_decoder_is_given_centred_codes_and_a_picture_returns_to_its_own(centring, x):
    z_s, q, _ = centring.read(x)
    assert torch.allclose(centring.code_from_style(q.mean, z_s), centring.codes(x)[1].mean, atol=1e-5)


def test_class_means_follow_the_codes_in_training_as_many_as_there_are_of_each(x):
    torch.manual_seed(0)
    encoder = VaeGan(replace(SIZES, style_centered=True), torch.full((CLASSES,), 1 / CLASSES), 1, 8, 8).encoder_u
    mean, read = torch.ones(6, 6), torch.tensor([0, 0, 0, 1, 2, 2])
    encoder.train().centred(mean, read)
    expected = 1 - CENTRE_DECAY ** torch.tensor([3.0, 1.0, 2.0, 0.0])
    assert torch.allclose(encoder.class_running_mean, expected[:, None].expand(-1, 6))
    before = encoder.class_running_mean.clone()
    encoder.eval().centred(mean, read)
    assert torch.equal(encoder.class_running_mean, before)


def test_whitening_alone_takes_the_place_of_couplings():
    with pytest.raises(ValueError, match="flow_affine needs flow_layers = 0"):
        Sizes(flow_affine=True)
    with pytest.raises(ValueError, match="dead_variance must be 0 or more"):
        Sizes(dead_variance=-1.0)
    assert [Sizes(flow_layers=n, flow_affine=a).has_flow for n, a in ((0, False), (0, True), (2, False))] == [False, True, True]
