"""Who moves what: each part moves on its own losses alone, and no gradient goes where the method forbids it."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
from collections.abc import Collection, Iterator

import pytest
import torch

from twofold.model.vae_gan import PARTS, Sizes, VaeGan
from twofold.training.config.schema import Config, ConfigError, Stage, Update, from_dict, read
from twofold.training.trainer.step import KINDS, TERMS, Batch, Diverged, Forward, check_terms, kinds_for, make_optimizers, set_modes, step

ROWS, CLASSES = 12, 3


JOINT_STAGE = """
name = "joint"
epochs = 4
batch = 128
lr = { encoder_u = 4e-4, decoder = 4e-4, flow = 1e-3, discriminator = 5e-4 }
betas = [0.0, 0.99]
schedule = "cosine"
ema = 0.998
class_code = "detached"
class_noise = 1.0
pairs = "class"
before = ["whiten"]
after = ["fold", "fit_sampler"]
[[update]]
train.encoder_u = { recon_sse = 8.0, kl_sum = 1.0, cka_penalty = 100.0, gen_rec = 15.0, gen_swap = 15.0, flow_nll = 0.2 }
train.decoder = { recon_sse = 8.0, gen_rec = 15.0, gen_swap = 15.0 }
train.flow = { flow_nll = 1.0 }
train.discriminator = { discriminator_real = 1.0, discriminator_rec = 0.5, discriminator_swap = 0.5 }
"""


def joint() -> Config:
    """The first stages of tiny, then one whose flow trains together with E_u and G."""
    raw = read("tiny").to_dict()
    return from_dict(raw | {"stage": [*raw["stage"][:2], tomllib.loads(JOINT_STAGE)]})


JOINT = joint().stage[2]
UPDATES = [
    pytest.param(stage, i, id=f"{name}: {stage.name}, update {i + 1}")
    for name, config in {**{preset: read(preset) for preset in ("paper", "fashion", "tiny", "cifar10")}, "method.md": joint()}.items()
    for stage in config.stage
    for i in range(len(stage.update))
]
PAPER = read("paper").stage[0]
CLASS_ENCODER, CODES, FLOW, SERVED, _ = read("fashion").stage


def make_model(stage: Stage, shrinkage: float = 0.0) -> VaeGan:
    """A small model with the flow that the stage needs, and no weight at zero."""
    torch.manual_seed(0)
    sizes = Sizes(
        dim_s=4,
        dim_u=5,
        encoder_s_widths=(4, 6),
        encoder_u_widths=(4, 6),
        decoder_hidden=8,
        decoder_widths=(6, 4),
        discriminator_widths=(4, 6),
        classifier_hidden=8,
        flow_layers=0 if stage is PAPER else 2,
        flow_hidden=8,
        shrinkage=shrinkage,
    )
    model = VaeGan(sizes, torch.tensor([0.5, 0.3, 0.2]), channels=1, height=8, width=8)
    torch.nn.init.normal_(model.prior.raw_log_vars, std=0.3)
    for coupling in model.flow.couplings if model.flow else ():
        torch.nn.init.normal_(coupling.last.weight, std=0.3)
        torch.nn.init.normal_(coupling.condition.weight)
    return model


def endless_batches(seed: int = 0) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield Batch(torch.rand(ROWS, 1, 8, 8, generator=generator), torch.arange(ROWS) % CLASSES)


def state_of(model: VaeGan) -> dict[str, dict[str, torch.Tensor]]:
    return {name: {k: v.clone() for k, v in part.state_dict().items()} for name, part in model.named_children()}


def forward_of(stage: Stage, model: VaeGan | None = None, batch: Batch | None = None, kinds: Collection[str] = KINDS) -> Forward:
    """A forward pass on which every loss can be asked for, with every part open to gradients."""
    generator = torch.Generator().manual_seed(1)
    return Forward(model or make_model(stage), stage, batch or next(endless_batches()), kinds, generator, bf16=False)


def reached(stage: Stage, term: str) -> set[str]:
    """The parts that a loss sends any gradient to; in evaluation mode, for BatchNorm's statistics tie the rows of a batch together."""
    forward = forward_of(stage, make_model(stage).eval())
    value = TERMS[term](forward)
    found = set()
    for name in PARTS:
        parameters = list(getattr(forward.model, name).parameters()) if getattr(forward.model, name) else []
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True) if parameters else ()
        if any(gradient is not None and gradient.any() for gradient in gradients):
            found.add(name)
    return found


# ---------------------------------------------------------------------------------------------------------- who moves


@pytest.mark.parametrize(("stage", "index"), UPDATES)
def test_each_optimiser_moves_exactly_its_own_parameters(stage, index):
    model, update = make_model(stage), stage.update[index]
    set_modes(model, stage)
    before = state_of(model)
    alone = dataclasses.replace(stage, update=(update,))
    step(model, alone, endless_batches(), make_optimizers(model, stage), torch.Generator().manual_seed(0))
    after = state_of(model)
    for name in before:
        if name in update.train:
            for key, _ in getattr(model, name).named_parameters():
                assert not torch.equal(before[name][key], after[name][key]), f"{name}.{key} stood still"
        else:
            for key in before[name]:
                assert torch.equal(before[name][key], after[name][key]), f"{name}.{key} moved"


@pytest.mark.parametrize(("stage", "index"), UPDATES)
def test_a_part_takes_the_gradient_of_its_own_weighted_sum(stage, index):
    model, update = make_model(stage), dataclasses.replace(stage.update[index], repeat=1)
    set_modes(model, stage)
    before = copy.deepcopy(model)
    alone = dataclasses.replace(stage, update=(update,))
    step(model, alone, endless_batches(), make_optimizers(model, stage), torch.Generator().manual_seed(1))
    terms = sorted({term for weights in update.train.values() for term in weights})
    for part, weights in update.train.items():
        forward = forward_of(stage, copy.deepcopy(before), kinds=kinds_for(terms, stage))
        values = {term: TERMS[term](forward) for term in terms}
        total = sum(weight * values[term] for term, weight in weights.items())
        parameters = dict(getattr(forward.model, part).named_parameters())
        wanted = torch.autograd.grad(total, list(parameters.values()))
        taken = [parameter.grad for parameter in getattr(model, part).parameters()]
        for key, a, b in zip(parameters, taken, wanted, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max())), f"{part}.{key}"


def test_an_update_is_repeated_on_fresh_batches():
    seen = []

    def counted():
        for batch in endless_batches():
            seen.append(batch)
            yield batch

    model = make_model(PAPER)
    set_modes(model, PAPER)
    losses = step(model, PAPER, counted(), make_optimizers(model, PAPER), torch.Generator().manual_seed(0))
    assert len(seen) == PAPER.batches_per_step == 4
    assert len({float(batch.x.sum()) for batch in seen}) == 4
    assert set(losses) == {term for update in PAPER.update for weights in update.train.values() for term in weights}


# ------------------------------------------------------------------------------------------------ where gradients go


@pytest.mark.parametrize(
    ("stage", "term", "parts"),
    [
        (PAPER, "class", {"encoder_s", "prior"}),
        (PAPER, "likelihood", {"encoder_s", "prior"}),
        (PAPER, "kl_mean", {"encoder_u"}),
        (PAPER, "latent_adversary", {"encoder_u", "classifier"}),  # the adversary knows nothing of E_s
        (PAPER, "latent_classifier", {"classifier"}),
        (PAPER, "recon_mse", {"encoder_s", "encoder_u", "decoder"}),  # not mu, not Sigma
        (PAPER, "gen_smp", {"decoder", "discriminator"}),
        *((PAPER, term, {"discriminator"}) for term in ("discriminator_real", "discriminator_rec", "discriminator_smp")),
        (CODES, "recon_sse", {"encoder_u", "decoder"}),  # z_s is detached
        (CODES, "cka_penalty", {"encoder_u"}),
        (CODES, "gen_swap", {"encoder_u", "decoder", "discriminator"}),
        *((CODES, term, {"discriminator"}) for term in ("discriminator_real", "discriminator_rec", "discriminator_swap")),
        *(
            (SERVED, term, {"discriminator"})
            for term in ("discriminator_real", "discriminator_rec", "discriminator_swap", "discriminator_smp")
        ),
        (CODES, "cycle_consistency", {"encoder_u", "decoder"}),  # not through the swap: what D says of it stays D's business
        (PAPER, "cycle_consistency", {"encoder_s", "encoder_u", "decoder"}),
        (SERVED, "cycle_consistency", {"encoder_u", "flow", "decoder"}),
        (SERVED, "gen_swap", {"decoder", "discriminator"}),
        (SERVED, "gen_smp", {"decoder", "discriminator"}),
        (CLASS_ENCODER, "log_var_regularizer", {"prior"}),
        (FLOW, "flow_nll", {"encoder_u", "flow"}),
        (FLOW, "flow_transport", {"encoder_u", "flow"}),
        (JOINT, "flow_nll", {"encoder_u", "flow"}),
        (JOINT, "recon_sse", {"encoder_u", "decoder"}),
    ],
)
def test_a_loss_reaches_these_parts_and_no_other(stage, term, parts):
    assert reached(stage, term) == parts


def test_the_flow_is_fitted_under_the_share_of_noise_that_the_configuration_says():
    def distance(flow_noise: float) -> torch.Tensor:
        forward = forward_of(dataclasses.replace(FLOW, flow_noise=flow_noise), make_model(FLOW))
        return ((forward.flow_codes - forward.q.mean) * (-0.5 * forward.q.log_var).exp()).abs().detach()

    all_of_it, half, little = distance(0.0), distance(1.0), distance(1000.0)
    assert (half < all_of_it).all()  # the same draws, less of each
    assert (half / all_of_it).std(1).max() < 1e-4  # one share for all dimensions of a row
    assert (half / all_of_it)[:, 0].std() > 0.1  # and for every row its own
    assert little.max() < 1e-3 < all_of_it.max()


def test_in_a_joint_stage_the_flow_pulls_on_the_codes_as_the_configuration_says():
    def moved(weight: float) -> dict[str, dict[str, torch.Tensor]]:
        losses = {k: v for k, v in JOINT.update[0].train["encoder_u"].items() if k != "flow_nll"} | ({"flow_nll": weight} if weight else {})
        update = dataclasses.replace(JOINT.update[0], train={**JOINT.update[0].train, "encoder_u": losses})
        stage = dataclasses.replace(JOINT, update=(update,))
        model = make_model(stage)
        set_modes(model, stage)
        step(model, stage, endless_batches(), make_optimizers(model, stage), torch.Generator().manual_seed(0))
        return state_of(model)

    without, light, heavy = moved(0), moved(0.1), moved(10.0)
    for part in ("flow", "decoder", "discriminator"):  # E_u's own sum is nothing to them
        assert all(torch.equal(without[part][key], heavy[part][key]) for key in without[part]), part
    heads = [state["encoder_u"]["head.weight"] for state in (without, light, heavy)]
    assert not any(torch.equal(a, b) for a, b in ((heads[0], heads[1]), (heads[1], heads[2])))


def test_the_label_enters_neither_the_codes_nor_the_reconstruction():
    model = make_model(PAPER).eval()
    x = next(endless_batches()).x
    labels = torch.arange(ROWS) % CLASSES, torch.arange(ROWS).flip(0) % CLASSES
    one, other = (forward_of(PAPER, model, Batch(x, label)) for label in labels)
    assert torch.equal(one.z_s, other.z_s)
    assert torch.equal(one.q.mean, other.q.mean)
    assert torch.equal(one.drawn["rec"], other.drawn["rec"])
    assert TERMS["class"](one) != TERMS["class"](other)


# ------------------------------------------------------------------------------------------------- what G is given


def test_the_partner_of_a_picture_is_another_picture_of_its_class():
    label = torch.tensor([0, 1, 0, 2, 1, 0, 1, 0])
    for seed in range(20):
        forward = forward_of(PAPER, batch=Batch(torch.rand(8, 1, 8, 8), label))
        forward.generator.manual_seed(seed)
        assert torch.equal(label[forward.partners], label)
        assert sorted(forward.partners.tolist()) == list(range(8))
        assert [i for i, j in enumerate(forward.partners.tolist()) if i == j] == [3]  # the only one of its class


def test_scores_do_not_depend_on_the_order_in_which_a_set_holds_the_kinds():
    """It differs from process to process, and each call of D in training moves its spectral norm."""
    scores = [forward_of(PAPER, kinds=order).fake_scores for order in (KINDS, KINDS[::-1])]
    assert all(torch.equal(scores[0][kind], scores[1][kind]) for kind in KINDS)


def test_exchange_gives_g_the_class_code_of_the_partner():
    forward = forward_of(dataclasses.replace(PAPER, class_exchange=True))
    assert torch.equal(forward.class_code, forward.z_s[forward.partners])


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_noise_on_the_class_code_is_measured_in_deviations_of_the_class(share):
    stage = dataclasses.replace(CODES, class_noise=share)
    model = make_model(stage)
    model.prior.raw_log_vars.data = torch.tensor([[0.0], [2.0], [-4.0]]).expand(3, 4).clone()
    label = torch.arange(3000) % CLASSES
    batch = Batch(torch.rand(3000, 1, 8, 8), label, z_s=torch.zeros(3000, 4))
    noise = forward_of(stage, model, batch).class_code
    for k, log_var in enumerate((0.0, 2.0, -4.0)):
        wanted = share * torch.tensor(0.5 * log_var).exp().item()
        assert noise[label == k].std().item() == pytest.approx(wanted, rel=0.05)


def test_swaps_of_a_served_stage_are_what_the_service_decodes():
    model, batch = make_model(SERVED).eval(), next(endless_batches())
    scattered = model.prior.means.detach()[batch.label.roll(1)] + 0.1 * torch.rand(ROWS, 4)  # some are misread
    forward = forward_of(SERVED, model, Batch(batch.x, batch.label, z_s=scattered))
    z_s, code, label, z_u = forward.swap_codes
    assert len(forward.read.unique()) == CLASSES
    rows = len(z_s)
    assert rows == ROWS * SERVED.swap_share
    style = forward.model.style_from_code(forward.q, forward.read).mean[:rows]
    assert torch.allclose(z_u, style, atol=1e-5)
    assert torch.allclose(code, forward.model.code_from_style(style, z_s), atol=1e-4)
    sources = [int((forward.z_s == row).all(1).nonzero()[0, 0]) for row in z_s]
    assert torch.equal(label, forward.label[sources])


def test_samples_have_the_class_frequencies_of_the_training_split():
    stage = dataclasses.replace(PAPER, sample_share=1.0)
    batch = Batch(torch.rand(3000, 1, 8, 8), torch.zeros(3000, dtype=torch.int64))
    _, _, label, _ = forward_of(stage, batch=batch).sample_codes
    assert (torch.bincount(label) / 3000).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.04)


@pytest.mark.parametrize(
    ("terms", "kinds"),
    [
        ({"class", "likelihood"}, set()),
        ({"recon_sse", "kl_sum"}, {"rec"}),
        ({"gen_smp", "discriminator_real", "discriminator_smp"}, {"smp"}),
        ({"recon_mse", "discriminator_smp"}, {"rec", "smp"}),
        ({"latent_regression_u"}, {"swap", "smp"}),
        ({"latent_regression_s"}, {"swap", "smp"}),
        ({"cycle_consistency"}, {"swap"}),
    ],
)
def test_g_draws_what_the_losses_ask_for_and_nothing_else(terms, kinds):
    """Pictures that nobody asked for would still move BatchNorm's statistics."""
    assert kinds_for(terms, PAPER) == kinds
    if kinds:
        assert set(forward_of(PAPER, kinds=kinds).drawn) == kinds


@pytest.mark.parametrize(
    ("term", "shares"),
    [
        ("gen_smp", {"sample_share": 0.0}),
        ("cycle_consistency", {"swap_share": 0.0}),
        ("cycle_class", {"swap_share": 0.0, "sample_share": 0.0}),
    ],
)
def test_a_loss_on_pictures_of_which_the_stage_draws_none_is_refused(term, shares):
    config, update = read("fashion"), Update({"decoder": {term: 1.0}})
    check_terms(dataclasses.replace(config, stage=(dataclasses.replace(CODES, update=(update,)),)))
    with pytest.raises(ConfigError, match=f"'codes': '{term}' needs"):
        check_terms(dataclasses.replace(config, stage=(dataclasses.replace(CODES, update=(update,), **shares),)))


def test_a_cycle_is_of_what_the_stage_has_a_share_of():
    stage = dataclasses.replace(CODES, sample_share=0.0)
    assert kinds_for({"cycle_class", "latent_regression_s", "latent_regression_u"}, stage) == {"swap"}
    cycle = forward_of(stage, kinds={"swap"}).cycle
    assert [len(part) for part in cycle] == 5 * [ROWS]


@pytest.mark.parametrize("exchange", [False, True], ids=["own", "exchanged"])
def test_a_class_code_is_asked_back_from_what_was_drawn_with_it_and_pulls_on_nothing_but_the_reader_and_the_picture(exchange):
    stage = dataclasses.replace(SERVED, class_code="live", class_exchange=exchange)
    forward = forward_of(stage, make_model(stage).eval())
    drawn = torch.cat([forward.drawn["swap"], forward.drawn["smp"]])
    asked = torch.cat([forward.swap_codes[0], forward.sample_codes[0]])
    wanted = (forward.model.encoder_s(drawn) - asked).square().mean()
    assert TERMS["latent_regression_s"](forward).item() == pytest.approx(wanted.item(), rel=1e-4)
    assert not forward.cycle.z_s.requires_grad
    assert reached(SERVED, "latent_regression_s") == {"encoder_s", "decoder"}


@pytest.mark.parametrize("stage", [CODES, SERVED], ids=["codes", "served"])
def test_a_style_that_is_lent_and_given_back_is_that_of_the_swap_under_its_owners_class(stage):
    stage = dataclasses.replace(stage, style_noise=0.0, class_noise=0.0, pairs="any", swap_share=0.5)
    model = make_model(stage).eval()
    forward = forward_of(stage, model, kinds={"swap"})
    z_s, swapped = model.encoder_s(forward.x), forward.drawn["swap"]
    borrower, owner = forward.swap_codes[0], z_s[: ROWS // 2]
    code = model.encoder_u(swapped).mean
    if stage.through_flow:
        code = model.code_from_style(model.flow(code, model.read_class(borrower))[0], owner)
    assert torch.allclose(forward.returned, model.decoder(owner, code), atol=1e-6)
    wanted = (forward.returned - forward.x[: ROWS // 2]).square().sum((1, 2, 3)).mean()
    assert TERMS["cycle_consistency"](forward).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_decoder_that_takes_the_mean_is_trained_on_that_of_the_true_class():
    stage, model = dataclasses.replace(PAPER, swap_share=0.5), make_model(PAPER)
    model.sizes = dataclasses.replace(model.sizes, decoder_takes="mean")
    forward = forward_of(stage, model)
    assert torch.equal(forward.class_code, model.prior.means[forward.label])
    for z_s, _, label, _ in (forward.swap_codes, forward.sample_codes):
        assert torch.equal(z_s, model.prior.means[label])


def test_a_way_back_moves_the_decoder_and_the_style_encoder_in_a_step():
    def moved(weight: float) -> dict[str, dict[str, torch.Tensor]]:
        losses = {"recon_sse": 8.0, "kl_sum": 1.0} | ({"cycle_consistency": weight} if weight else {})
        stage = dataclasses.replace(CODES, update=(Update({"encoder_u": losses, "decoder": losses}),))
        model = make_model(stage)
        set_modes(model, stage)
        found = step(model, stage, endless_batches(), make_optimizers(model, stage), torch.Generator().manual_seed(0))
        assert set(found) == set(losses)
        return state_of(model)

    without, light, heavy = moved(0), moved(1.0), moved(100.0)
    for part, weight in (("encoder_u", "head.weight"), ("decoder", "lift.0.weight")):
        states = [state[part][weight] for state in (without, light, heavy)]
        assert not any(torch.equal(a, b) for a, b in ((states[0], states[1]), (states[1], states[2]))), part


@pytest.mark.parametrize("spread", [1.0, 0.2], ids=["as they are", "shrunk"])
def test_codes_of_frozen_encoders_may_come_with_the_batch(spread):
    model = make_model(SERVED, shrinkage=1 - spread)
    set_modes(model, SERVED)
    if model.prior.shrinkage is not None:
        model.prior.shrinkage.fill_(1 - spread)
    x, label = (batch := next(endless_batches())).x, batch.label
    z_s, q, _ = model.codes(x)
    cached, fresh = (forward_of(SERVED, model, b) for b in (Batch(x, label, z_s, q), Batch(x, label)))
    assert TERMS["recon_sse"](cached).item() == pytest.approx(TERMS["recon_sse"](fresh).item(), rel=1e-5)


def test_an_encoder_that_moves_is_not_settled():
    model = make_model(CLASS_ENCODER, shrinkage=0.8)
    model.prior.shrinkage.fill_(0.8)
    forward = forward_of(CLASS_ENCODER, model)
    assert torch.equal(forward.z_s, model.encoder_s(forward.x))


# ------------------------------------------------------------------------------------------------------- what D sees

VIEWED = dataclasses.replace(SERVED, discriminator_views=("brightness", "translation", "cutout"))


def seen_by_the_discriminator(stage: Stage, seed: int = 1) -> list[torch.Tensor]:
    """The pictures that D was handed, in order: those that G learns from, then those that D learns from."""
    model, handed = make_model(stage).eval(), []
    model.discriminator.register_forward_pre_hook(lambda module, inputs: handed.append(inputs[0]))
    forward = forward_of(stage, model)
    forward.generator.manual_seed(seed)
    for scores in (forward.fake_scores, forward.discriminator_scores):
        assert all(score.isfinite().all() for score in scores.values())
    return handed


def test_d_sees_real_and_drawn_pictures_alike_under_views_that_the_seed_decides():
    plain, seen, again, other = (seen_by_the_discriminator(*args) for args in ((SERVED,), (VIEWED,), (VIEWED,), (VIEWED, 2)))
    assert all(torch.equal(a, b) for a, b in zip(seen, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(seen, other, strict=True))
    for a, b in zip(plain, seen, strict=True):
        assert ((a != b).flatten(1).float().mean(1) > 0.25).all()  # every row, the real ones at the head of the last batch too


def test_a_stage_without_views_draws_nothing_for_them():
    forward = forward_of(SERVED)
    before = forward.generator.get_state()
    x = next(endless_batches()).x
    assert forward.seen(x) is x
    assert torch.equal(forward.generator.get_state(), before)


def test_g_learns_through_the_views():
    forward = forward_of(VIEWED)
    gradients = torch.autograd.grad(TERMS["gen_smp"](forward), list(forward.model.decoder.parameters()))
    assert all(gradient.any() for gradient in gradients)


# --------------------------------------------------------------------------------------------------------- divergence


def test_a_loss_that_is_not_finite_names_itself_and_moves_nothing():
    model = make_model(CODES)
    set_modes(model, CODES)
    model.discriminator.score.bias.data.fill_(torch.nan)
    before = [p.clone() for p in model.decoder.parameters()]
    with pytest.raises(Diverged, match=r"^discriminator_real is not finite in stage 'codes': try a smaller lr"):
        step(model, CODES, endless_batches(), make_optimizers(model, CODES), torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(before, model.decoder.parameters(), strict=True))


def test_frozen_parts_are_in_evaluation_mode_and_moving_parts_train():
    model = make_model(SERVED)
    set_modes(model, SERVED)
    for name in PARTS:
        moves = name in {"decoder", "discriminator"}
        assert all(module.training == moves for module in getattr(model, name).modules())
        assert all(parameter.requires_grad == moves for parameter in getattr(model, name).parameters())


def test_bf16_autocast_changes_a_loss_by_rounding_alone():
    losses = []
    for bf16 in (False, True):
        model = make_model(PAPER)
        set_modes(model, PAPER)
        only = dataclasses.replace(PAPER, update=(Update({"decoder": {"recon_mse": 1.0}}),))
        losses.append(step(model, only, endless_batches(), make_optimizers(model, only), torch.Generator().manual_seed(0), bf16))
    assert losses[0]["recon_mse"] != losses[1]["recon_mse"]
    assert losses[0]["recon_mse"] == pytest.approx(losses[1]["recon_mse"], rel=0.02)
