"""Who moves what: each part moves on its own losses alone, and no gradient goes where the method forbids it."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
from collections.abc import Iterable, Iterator

import pytest
import torch

from twofold.model.vae_gan import PARTS, Sizes, VaeGan
from twofold.training.config.schema import Config, Stage, Update, from_dict, read
from twofold.training.trainer.draws import Draws
from twofold.training.trainer.forward import (
    CYCLE,
    D_SCORES,
    G_SCORES,
    KINDS,
    RETURNED,
    Z_S,
    Batch,
    Forward,
    Setting,
    class_code,
    encode_class,
    forward,
    kinds_of,
    partners,
    view,
)
from twofold.training.trainer.objectives import OBJECTIVES, needs_of
from twofold.training.trainer.step import Diverged, Health, _adversarial_factor, make_optimizers, set_modes, step

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


def setting_of(stage: Stage, model: VaeGan | None = None, seed: int = 0) -> Setting:
    """As `step` makes it for its first update, with every part open to gradients."""
    return Setting(model or make_model(stage), stage, Draws((seed, 0, 0, 0, 0)))


def forward_of(stage: Stage, needs: Iterable[str], model: VaeGan | None = None, batch: Batch | None = None, seed: int = 0) -> Forward:
    return forward(setting_of(stage, model, seed), batch or next(endless_batches()), needs)


def loss_of(stage: Stage, name: str, model: VaeGan | None = None, batch: Batch | None = None) -> torch.Tensor:
    """The value of one loss on a forward pass that computes what it needs and nothing else."""
    objective = OBJECTIVES[name]
    return objective.function(forward_of(stage, objective.needs, model, batch))


def take_step(model: VaeGan, stage: Stage, batches: Iterator[Batch] | None = None, bf16: bool = False) -> dict[str, torch.Tensor]:
    health = Health(stage)
    found = step(model, stage, batches or endless_batches(), make_optimizers(model, stage), (0, 0, 0), health, bf16)
    health.check()
    return found


def reached(stage: Stage, name: str) -> set[str]:
    """The parts that a loss sends any gradient to; in evaluation mode, for BatchNorm's statistics tie the rows of a batch together."""
    model = make_model(stage).eval()
    value = loss_of(stage, name, model)
    found = set()
    for part in PARTS:
        parameters = list(getattr(model, part).parameters()) if getattr(model, part) else []
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True) if parameters else ()
        if any(gradient is not None and gradient.any() for gradient in gradients):
            found.add(part)
    return found


# ---------------------------------------------------------------------------------------------------------- who moves


@pytest.mark.parametrize(("stage", "index"), UPDATES)
def test_each_optimiser_moves_exactly_its_own_parameters(stage, index):
    model, update = make_model(stage), stage.update[index]
    set_modes(model, stage)
    before = state_of(model)
    alone = dataclasses.replace(stage, update=(update,))
    take_step(model, alone)
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
    take_step(model, alone)
    names = sorted({name for weights in update.train.values() for name in weights})
    for part, weights in update.train.items():
        fresh = copy.deepcopy(before)
        passed = forward_of(stage, needs_of(names), fresh)
        values = {name: OBJECTIVES[name].function(passed) for name in names}
        total = sum(weight * values[name] for name, weight in weights.items())
        parameters = dict(getattr(fresh, part).named_parameters())
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
    losses = take_step(model, PAPER, counted())
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
        passed = forward_of(dataclasses.replace(FLOW, flow_noise=flow_noise), OBJECTIVES["flow_nll"].needs)
        return ((passed.flowed.code - passed.style.q.mean) * (-0.5 * passed.style.q.log_var).exp()).abs().detach()

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
        take_step(model, stage)
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
    one, other = (forward_of(PAPER, {"rec"}, model, Batch(x, label)) for label in labels)
    assert torch.equal(one.classes.z_s, other.classes.z_s)
    assert torch.equal(one.style.q.mean, other.style.q.mean)
    assert torch.equal(one.drawn.pictures["rec"], other.drawn.pictures["rec"])
    assert loss_of(PAPER, "class", model, Batch(x, labels[0])) != loss_of(PAPER, "class", model, Batch(x, labels[1]))


# ------------------------------------------------------------------------------------------------- what G is given


def test_the_partner_of_a_picture_is_another_picture_of_its_class():
    label = torch.tensor([0, 1, 0, 2, 1, 0, 1, 0])
    for seed in range(20):
        found = partners(setting_of(PAPER, seed=seed), label)
        assert torch.equal(label[found], label)
        assert sorted(found.tolist()) == list(range(8))
        assert [i for i, j in enumerate(found.tolist()) if i == j] == [3]  # the only one of its class


def test_exchange_gives_g_the_class_code_of_the_partner():
    setting, batch = setting_of(dataclasses.replace(PAPER, class_exchange=True)), next(endless_batches())
    classes = encode_class(setting, batch)
    assert torch.equal(class_code(setting, batch, classes), classes.z_s[partners(setting, batch.label)])


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_noise_on_the_class_code_is_measured_in_deviations_of_the_class(share):
    stage = dataclasses.replace(CODES, class_noise=share)
    model = make_model(stage)
    model.prior.raw_log_vars.data = torch.tensor([[0.0], [2.0], [-4.0]]).expand(3, 4).clone()
    label = torch.arange(3000) % CLASSES
    batch = Batch(torch.rand(3000, 1, 8, 8), label, z_s=torch.zeros(3000, 4))
    setting = setting_of(stage, model)
    noise = class_code(setting, batch, encode_class(setting, batch))
    for k, log_var in enumerate((0.0, 2.0, -4.0)):
        wanted = share * torch.tensor(0.5 * log_var).exp().item()
        assert noise[label == k].std().item() == pytest.approx(wanted, rel=0.05)


def test_swaps_of_a_served_stage_are_what_the_service_decodes():
    model, batch = make_model(SERVED).eval(), next(endless_batches())
    scattered = model.prior.means.detach()[batch.label.roll(1)] + 0.1 * torch.rand(ROWS, 4)  # some are misread
    passed = forward_of(SERVED, {"swap"}, model, Batch(batch.x, batch.label, z_s=scattered))
    swap = passed.drawn.sources["swap"]
    assert len(passed.classes.read.unique()) == CLASSES
    rows = len(swap.z_s)
    assert rows == ROWS * SERVED.swap_share
    style = model.style_from_code(passed.style.q, passed.classes.read).mean[:rows]
    assert torch.allclose(swap.z_u, style, atol=1e-5)
    assert torch.allclose(swap.code, model.code_from_style(style, swap.z_s), atol=1e-4)
    sources = [int((scattered == row).all(1).nonzero()[0, 0]) for row in swap.z_s]
    assert torch.equal(swap.label, batch.label[sources])


def test_samples_have_the_class_frequencies_of_the_training_split():
    stage = dataclasses.replace(PAPER, sample_share=1.0)
    batch = Batch(torch.rand(3000, 1, 8, 8), torch.zeros(3000, dtype=torch.int64))
    label = forward_of(stage, {"smp"}, batch=batch).drawn.sources["smp"].label
    assert (torch.bincount(label) / 3000).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.04)


@pytest.mark.parametrize(
    ("names", "kinds"),
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
def test_g_draws_what_the_losses_ask_for_and_nothing_else(names, kinds):
    """Pictures that nobody asked for would still move BatchNorm's statistics."""
    assert kinds_of(needs_of(names), PAPER) == kinds
    assert set(forward_of(PAPER, needs_of(names)).drawn.pictures) == kinds


def test_what_no_loss_needs_is_not_computed_and_using_it_says_so():
    passed = forward_of(PAPER, needs_of({"kl_mean"}))
    with pytest.raises(AttributeError, match="`needs` of the objective"):
        OBJECTIVES["class"].function(passed)


def test_a_cycle_is_of_what_the_stage_has_a_share_of():
    stage = dataclasses.replace(CODES, sample_share=0.0)
    needs = needs_of({"cycle_class", "latent_regression_s", "latent_regression_u"})
    assert kinds_of(needs, stage) == {"swap"}
    cycle = forward_of(stage, needs).cycle
    assert [len(part) for part in (cycle.label, cycle.z_s, cycle.z_s_read, cycle.z_u, cycle.z_u_read)] == 5 * [ROWS]


@pytest.mark.parametrize("exchange", [False, True], ids=["own", "exchanged"])
def test_a_class_code_is_regressed_from_what_was_drawn_with_it(exchange):
    stage = dataclasses.replace(SERVED, class_code="live", class_exchange=exchange)
    model = make_model(stage).eval()
    passed = forward_of(stage, {CYCLE}, model)
    drawn = torch.cat([passed.drawn.pictures["swap"], passed.drawn.pictures["smp"]])
    asked = torch.cat([passed.drawn.sources["swap"].z_s, passed.drawn.sources["smp"].z_s])
    wanted = (model.encoder_s(drawn) - asked).square().mean()
    assert loss_of(stage, "latent_regression_s", model).item() == pytest.approx(wanted.item(), rel=1e-4)
    assert not passed.cycle.z_s.requires_grad
    assert reached(SERVED, "latent_regression_s") == {"encoder_s", "decoder"}


@pytest.mark.parametrize("stage", [CODES, SERVED], ids=["codes", "served"])
def test_a_style_given_back_is_that_read_in_the_swap_under_its_owners_class(stage):
    stage = dataclasses.replace(stage, style_noise=0.0, class_noise=0.0, pairs="any", swap_share=0.5)
    model, batch = make_model(stage).eval(), next(endless_batches())
    passed = forward_of(stage, {"swap", RETURNED}, model, batch)
    z_s, swapped = model.encoder_s(batch.x), passed.drawn.pictures["swap"]
    borrower, owner = passed.drawn.sources["swap"].z_s, z_s[: ROWS // 2]
    code = model.encoder_u(swapped).mean
    if stage.through_flow:
        code = model.code_from_style(model.flow(code, model.read_class(borrower))[0], owner)
    assert torch.allclose(passed.returned, model.decoder(owner, code), atol=1e-6)
    wanted = (passed.returned - batch.x[: ROWS // 2]).square().sum((1, 2, 3)).mean()
    assert loss_of(stage, "cycle_consistency", model, batch).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_decoder_that_takes_the_mean_is_trained_on_that_of_the_true_class():
    stage, model = dataclasses.replace(PAPER, swap_share=0.5), make_model(PAPER)
    model.sizes = dataclasses.replace(model.sizes, decoder_takes="mean")
    passed = forward_of(stage, KINDS, model)
    for kind in KINDS:
        source = passed.drawn.sources[kind]
        assert torch.equal(source.z_s, model.prior.means[source.label]), kind
    assert torch.equal(passed.drawn.sources["rec"].label, passed.batch.label)


def test_a_way_back_moves_the_decoder_and_the_style_encoder_in_a_step():
    def moved(weight: float) -> dict[str, dict[str, torch.Tensor]]:
        losses = {"recon_sse": 8.0, "kl_sum": 1.0} | ({"cycle_consistency": weight} if weight else {})
        stage = dataclasses.replace(CODES, update=(Update({"encoder_u": losses, "decoder": losses}),))
        model = make_model(stage)
        set_modes(model, stage)
        found = take_step(model, stage)
        assert set(found) == set(losses)
        return state_of(model)

    without, light, heavy = moved(0), moved(1.0), moved(100.0)
    for part, weight in (("encoder_u", "head.weight"), ("decoder", "lift.0.weight")):
        states = [state[part][weight] for state in (without, light, heavy)]
        assert not any(torch.equal(a, b) for a, b in ((states[0], states[1]), (states[1], states[2]))), part


@pytest.mark.parametrize("shrinkage", [0.0, 0.8], ids=["as they are", "shrunk"])
def test_codes_of_frozen_encoders_may_come_with_the_batch(shrinkage):
    model = make_model(SERVED, shrinkage=shrinkage)
    set_modes(model, SERVED)
    if model.prior.shrinkage is not None:
        model.prior.shrinkage.fill_(shrinkage)
    x, label = (batch := next(endless_batches())).x, batch.label
    z_s, q, _ = model.codes(x)
    cached, fresh = (loss_of(SERVED, "recon_sse", model, b) for b in (Batch(x, label, z_s, q), Batch(x, label)))
    assert cached.item() == pytest.approx(fresh.item(), rel=1e-5)


def test_the_codes_of_an_encoder_in_training_are_not_shrunk():
    model = make_model(CLASS_ENCODER, shrinkage=0.8)
    model.prior.shrinkage.fill_(0.8)
    passed = forward_of(CLASS_ENCODER, {Z_S}, model)
    assert torch.equal(passed.classes.z_s, model.encoder_s(passed.batch.x))


# ------------------------------------------------------------------------------------------------------- what D is shown

VIEWED = dataclasses.replace(SERVED, discriminator_views=("brightness", "translation", "cutout"))


def shown_to_d(stage: Stage, seed: int = 1) -> list[torch.Tensor]:
    """The pictures that D was handed, in order: those that D learns from, then those that G learns from."""
    model, handed = make_model(stage).eval(), []
    model.discriminator.register_forward_pre_hook(lambda module, inputs: handed.append(inputs[0]))
    scores = forward_of(stage, {*KINDS, D_SCORES, G_SCORES}, model, seed=seed).scores
    assert set(scores.for_d) == {"real", *KINDS}
    assert set(scores.for_g) == set(KINDS)
    assert all(score.isfinite().all() for score in (*scores.for_d.values(), *scores.for_g.values()))
    return handed


def test_d_is_shown_real_and_drawn_pictures_alike_under_views_that_the_seed_decides():
    plain, shown, again, other = (shown_to_d(*args) for args in ((SERVED,), (VIEWED,), (VIEWED,), (VIEWED, 2)))
    assert all(torch.equal(a, b) for a, b in zip(shown, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(shown, other, strict=True))
    for a, b in zip(plain, shown, strict=True):
        assert ((a != b).flatten(1).float().mean(1) > 0.25).all()  # every row, the real ones too


def test_a_stage_without_views_shows_pictures_as_they_are():
    x = next(endless_batches()).x
    assert view(setting_of(SERVED), "real for D", x) is x


def test_g_learns_through_the_views():
    model = make_model(VIEWED)
    gradients = torch.autograd.grad(loss_of(VIEWED, "gen_smp", model), list(model.decoder.parameters()))
    assert all(gradient.any() for gradient in gradients)


# -------------------------------------------------------------------------------------------------------- random draws


def drawn_by(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> dict[tuple[tuple[int, ...], str], torch.Tensor]:
    """Every random tensor of two steps: by its pass and its purpose, the first numbers of its generator."""
    made: dict[tuple[tuple[int, ...], str], torch.Tensor] = {}
    plain = Draws.generator

    def noted(self: Draws, purpose: str) -> torch.Generator:
        made[self.place, purpose] = torch.rand(8, generator=plain(self, purpose))
        return plain(self, purpose)

    monkeypatch.setattr(Draws, "generator", noted)
    model = make_model(stage)
    set_modes(model, stage)
    optimizers, batches = make_optimizers(model, stage), endless_batches()
    for number in range(2):
        step(model, stage, batches, optimizers, (0, 0, number), Health(stage))
    monkeypatch.undo()
    return made


def with_losses(stage: Stage, part: str, losses: dict[str, float]) -> Stage:
    return dataclasses.replace(stage, update=(dataclasses.replace(stage.update[0], train={**stage.update[0].train, part: losses}),))


RANDOM = dataclasses.replace(CODES, class_exchange=True, pairs="any", discriminator_views=("cutout",))


@pytest.mark.parametrize("added", sorted(set(OBJECTIVES) - {"recon_mse"}))
def test_a_loss_of_weight_zero_changes_no_draw_of_another(monkeypatch, added):
    few = {"recon_sse": 8.0, "gen_rec": 1.0}
    stage = with_losses(RANDOM, "decoder", few)
    before = drawn_by(monkeypatch, stage)
    after = drawn_by(monkeypatch, with_losses(RANDOM, "decoder", {added: 0.0, **few}))
    assert len(before) >= 2 * 4
    assert set(before) <= set(after)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert len({tuple(value.tolist()) for value in after.values()}) == len(after)  # no two purposes share their numbers


def test_a_loss_under_another_name_moves_all_parts_alike_up_to_rounding(monkeypatch):
    def learned(name: str) -> dict[str, dict[str, torch.Tensor]]:
        stage = with_losses(RANDOM, "decoder", {name: 8.0, "gen_swap": 15.0, "cycle_class": 1.0})
        model = make_model(stage)
        set_modes(model, stage)
        take_step(model, stage)
        return state_of(model)

    monkeypatch.setitem(OBJECTIVES, "zebra", dataclasses.replace(OBJECTIVES["recon_sse"], words="the last by its name"))
    first, last = learned("recon_sse"), learned("zebra")
    assert all(torch.allclose(first[part][key], last[part][key], atol=1e-6) for part in first for key in first[part])


def test_dropout_of_a_pass_does_not_depend_on_what_was_drawn_before_it():
    found = []
    for used in (0, 5):
        torch.manual_seed(used)
        Draws((0, 0, 0, 0, 0)).dropout("encode")
        found.append(torch.rand(4))
    assert torch.equal(*found)


# --------------------------------------------------------------------------------------------------------- divergence


def test_a_loss_that_is_not_finite_is_named_with_the_rate_to_try():
    model = make_model(CODES)
    set_modes(model, CODES)
    model.discriminator.score.bias.data.fill_(torch.nan)
    with pytest.raises(Diverged, match=r"^discriminator_real is not finite in stage 'codes': try a smaller lr"):
        take_step(model, CODES)


def test_the_first_loss_that_was_not_finite_is_named_whatever_followed_from_it():
    health, names = Health(CODES), ("gen_rec", "kl_sum", "recon_sse")
    health.add(names, torch.tensor([1.0, 2.0, 3.0]))
    health.check()
    health.add(names, torch.tensor([1.0, torch.inf, 3.0]))
    health.add(names, torch.tensor([torch.nan, torch.nan, torch.nan]))
    health.add(names, torch.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(Diverged, match=r"^kl_sum is not finite"):
        health.check()


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
        losses.append(take_step(model, only, bf16=bf16)["recon_mse"].item())
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


# ------------------------------------------------------------------------------------------ the recipe for folders


def balanced(share: float = 0.5) -> Stage:
    """The served stage, its adversarial losses weighed by gradients."""
    weights = {"recon_nll": 1.0, "gen_rec": 0.5 * share, "gen_swap": 0.5 * share, "feature_matching": 0.5}
    update = Update(train={"decoder": weights})
    return dataclasses.replace(SERVED, update=(update,), adversarial="gradient")


def test_adversarial_losses_pull_at_the_last_layer_by_their_share():
    stage, model = balanced(), make_model(SERVED)
    train = stage.update[0].train["decoder"]
    passed = forward_of(stage, needs_of(train), model)
    values = {name: OBJECTIVES[name].function(passed) for name in train}
    factor = _adversarial_factor(model, train, values)
    assert not factor.requires_grad
    last = model.decoder.draw[-1].weight
    drawn = factor * (train["gen_rec"] * values["gen_rec"] + train["gen_swap"] * values["gen_swap"])
    norms = [torch.autograd.grad(value, last, retain_graph=True)[0].norm().item() for value in (drawn, values["recon_nll"])]
    assert norms[0] == pytest.approx(0.5 * norms[1], rel=1e-3)


def test_weighing_by_gradients_moves_the_decoder_otherwise_than_fixed_weights_do():
    moved = []
    for adversarial in ("fixed", "gradient"):
        model, stage = make_model(SERVED), dataclasses.replace(balanced(), adversarial=adversarial)
        set_modes(model, stage)
        take_step(model, stage)
        moved.append(model.decoder.draw[-1].weight.detach().clone())
    assert not torch.equal(*moved)


def test_the_gradient_of_a_part_is_clipped_to_its_norm():
    clipped, model = dataclasses.replace(CODES, clip=1e-3), make_model(CODES)
    set_modes(model, clipped)
    take_step(model, clipped)
    for part in ("encoder_u", "decoder"):
        norm = torch.stack([p.grad.norm() for p in getattr(model, part).parameters() if p.grad is not None]).norm().item()
        assert norm == pytest.approx(1e-3, rel=1e-3)


def test_the_spectrum_is_compared_with_pictures_as_they_were_before_augmentation():
    x, label = next(endless_batches()).x, torch.arange(ROWS) % CLASSES
    same, other = (loss_of(SERVED, "spectrum", batch=Batch(x, label, plain=plain)) for plain in (x, 0.1 * x))
    assert same.item() != pytest.approx(other.item())


def test_the_penalty_reaches_the_discriminator_alone():
    assert reached(SERVED, "r1") == {"discriminator"}
