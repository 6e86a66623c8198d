"""The forward pass of one update, as explicit functions: encode, draw, score, read back, flow. Each returns a frozen dataclass.

    z_s = E_s(x),   q(e | x) = E_u(x),   e ~ q                         encode_class, encode_style
    x_rec = G(z_s, e),   x_swap = G(z_s^a, e^b),   x_smp = G(z_s', e')    draw
    D(x, y),   D(x', y')                                             score
    E_s(x'),   E_u(x')                                               read_back
    z_u = f(e; c(z_s))                                               flow_codes

`forward` calls those that the losses of the update need. Knows the model and a stage; knows no losses, weights and optimisers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from twofold.model.flow import ClassFlow
from twofold.model.posterior import DiagonalGaussian
from twofold.model.vae_gan import VaeGan
from twofold.training.config.schema import Stage
from twofold.training.data.augment import VIEWS
from twofold.training.trainer.draws import Draws

KINDS = ("rec", "swap", "smp")  # what G draws: reconstructions, swaps, samples

# What a loss may need of the forward pass, beside the kinds of pictures; objectives.py names one or more for each loss.
Z_S, STYLE, FLOW = "z_s", "style", "flow"  # E_s on x; E_u on x; f on E_u's code
CYCLE, RETURNED = "cycle", "returned"  # E_s and E_u on what was drawn; a style that is given back to its owner
D_SCORES, G_SCORES = "scores for D", "scores for G"  # without and with gradient to the pictures


@dataclass(frozen=True)
class Batch:
    """Pictures x [B, C, H, W] in [0, 1], label [B], and the codes of the encoders that this stage does not train."""

    x: Tensor
    label: Tensor
    z_s: Tensor | None = None
    q: DiagonalGaussian | None = None
    plain: Tensor | None = None  # x before any augmentation, where there is one


@dataclass(frozen=True)
class Setting:
    """What a forward pass is made with: the model, its stage, the random numbers of this pass, bf16 autocast or not."""

    model: VaeGan
    stage: Stage
    draws: Draws
    bf16: bool = False

    def autocast(self) -> torch.autocast:
        """For convolutional networks alone: codes, flow and losses stay float32."""
        return torch.autocast(self.model.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    @property
    def flow(self) -> ClassFlow:
        assert self.model.flow is not None, "preflight.check refuses a stage that needs a flow where there is none"
        return self.model.flow


@dataclass(frozen=True)
class ClassCodes:
    """z_s [B, D_s], the logits of p(c | z_s) [B, K], and the class read from z_s [B], which sends no gradient."""

    z_s: Tensor
    logits: Tensor
    read: Tensor


@dataclass(frozen=True)
class StyleCodes:
    """q(e | x) and one draw of it, the code e [B, D_u] (which is z_u itself where there is no flow)."""

    q: DiagonalGaussian
    code: Tensor


@dataclass(frozen=True)
class Source:
    """What G draws n pictures from: z_s [n, D_s], E_u's code [n, D_u], the class they should show [n], and z_u [n, D_u], before f^-1."""

    z_s: Tensor
    code: Tensor
    label: Tensor
    z_u: Tensor


@dataclass(frozen=True)
class Drawn:
    """By kind, pictures [n, C, H, W] and what they were drawn from."""

    pictures: dict[str, Tensor]
    sources: dict[str, Source]


@dataclass(frozen=True)
class Scores:
    """D's scores [n] by kind: `for_d` of real pictures too and without gradient to any, `for_g` with gradient to the picture."""

    for_d: dict[str, Tensor]
    for_g: dict[str, Tensor]


@dataclass(frozen=True)
class Cycle:
    """Of n swaps and samples: the codes that were drawn into them, and what the encoders read there."""

    label: Tensor
    z_s: Tensor
    z_s_read: Tensor
    z_u: Tensor
    z_u_read: Tensor


@dataclass(frozen=True)
class Flowed:
    """Codes e [B, D_u] under noise, the class read [B], z_u = f(e; c) [B, D_u], and log |det df/de| [B]."""

    code: Tensor
    label: Tensor
    z_u: Tensor
    log_det: Tensor


class _NotComputed:
    """Stands where no loss of the update needs a part of the forward pass."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name}: not computed in this forward pass; the `needs` of the objective must say that it is used")


NOT_COMPUTED: Any = _NotComputed()


@dataclass(frozen=True)
class Forward:
    """One forward pass. What no loss needs is NOT_COMPUTED: using it raises AttributeError."""

    setting: Setting
    batch: Batch
    classes: ClassCodes = NOT_COMPUTED
    style: StyleCodes = NOT_COMPUTED
    drawn: Drawn = NOT_COMPUTED
    scores: Scores = NOT_COMPUTED
    cycle: Cycle = NOT_COMPUTED
    returned: Tensor = NOT_COMPUTED
    flowed: Flowed = NOT_COMPUTED


def forward(setting: Setting, batch: Batch, needs: Iterable[str]) -> Forward:
    """Compute what the losses of an update need, and no more: pictures that nobody asked for would move BatchNorm's statistics."""
    needs = frozenset(needs)
    kinds = kinds_of(needs, setting.stage)
    from_x = bool({"rec", "swap"} & kinds)
    by_class = {Z_S, FLOW, STYLE} if setting.model.sizes.style_centered else {Z_S, FLOW}
    classes = encode_class(setting, batch) if from_x or by_class & needs else NOT_COMPUTED
    style = encode_style(setting, batch, classes) if from_x or {STYLE, FLOW} & needs else NOT_COMPUTED
    given = class_code(setting, batch, classes) if from_x else NOT_COMPUTED
    drawn = draw(setting, batch, classes, style, given, kinds) if kinds else Drawn({}, {})
    return Forward(
        setting,
        batch,
        classes,
        style,
        drawn,
        cycle=read_back(setting, drawn) if CYCLE in needs else NOT_COMPUTED,
        returned=give_back(setting, drawn, given) if RETURNED in needs else NOT_COMPUTED,
        scores=score(setting, batch, drawn, needs) if {D_SCORES, G_SCORES} & needs else NOT_COMPUTED,
        flowed=flow_codes(setting, batch, classes, style) if FLOW in needs else NOT_COMPUTED,
    )


def kinds_of(needs: Iterable[str], stage: Stage) -> frozenset[str]:
    """The kinds of pictures that G has to draw; a cycle is of swaps and samples as far as the stage has a share of them."""
    needs = frozenset(needs)
    shares = {"swap": stage.swap_share, "smp": stage.sample_share}
    of_cycle = {kind for kind, share in shares.items() if share > 0} if CYCLE in needs else set()
    return (needs & set(KINDS)) | of_cycle


# ------------------------------------------------------------------------------------------------------------ encode


def encode_class(setting: Setting, batch: Batch) -> ClassCodes:
    """z_s = E_s(x), shrunk to its class mean where it is served so: an encoder in training is not."""
    z_s = batch.z_s
    if z_s is None:
        setting.draws.dropout("encode")
        with setting.autocast():
            z_s = setting.model.encoder_s(batch.x)
        if "encoder_s" not in setting.stage.trained:
            z_s = setting.model.prior.shrunk(z_s)
    # log pi_k + log N(z_s; mu_k, Sigma_k); c(z_s) is its argmax, the condition of the flow
    logits = setting.model.prior.logits(z_s)
    return ClassCodes(z_s, logits, logits.detach().argmax(1))


def encode_style(setting: Setting, batch: Batch, classes: ClassCodes) -> StyleCodes:
    """q(e | x) = E_u(x), and a draw under `style_noise` of its deviation."""
    q = batch.q
    if q is None:
        # codes that are centred depend on the class read in x
        read = classes.read if setting.model.sizes.style_centered else None
        with setting.autocast():
            q = setting.model.encoder_u.within_class(batch.x, read)
    return StyleCodes(q, _near(setting, "style noise", q, setting.stage.style_noise, len(batch.label)))


def _near(setting: Setting, purpose: str, q: DiagonalGaussian, share: Tensor | float, rows: int) -> Tensor:
    """e = m + share * exp(v / 2) eps for q = N(m, diag exp v), of which the first of a batch's `rows` are given: [n, D_u]."""
    noise = setting.draws.normal(purpose, rows, q.mean.shape[1])[: len(q.mean)]
    return q.mean + share * (0.5 * q.log_var).exp() * noise


# -------------------------------------------------------------------------------------------------------------- draw


def class_code(setting: Setting, batch: Batch, classes: ClassCodes) -> Tensor:
    """The class code that G gets of each picture: perhaps of another picture of the class, detached, with noise. [B, D_s]."""
    stage = setting.stage
    z_s = setting.model.class_code(classes.z_s, batch.label)
    if stage.class_code == "detached":  # then no reconstruction reaches E_s
        z_s = z_s.detach()
    if stage.class_exchange:
        z_s = z_s[partners(setting, batch.label)]
    if stage.class_noise:
        # z_s + class_noise * exp(s_y / 2) eps: nothing finer than the class itself can be read in z_s
        deviation = (0.5 * setting.model.prior.log_vars[batch.label]).exp().detach()
        z_s = z_s + stage.class_noise * deviation * setting.draws.normal("class noise", *z_s.shape)
    return z_s


def partners(setting: Setting, label: Tensor) -> Tensor:
    """For each row another row of the same class, at random (itself where it is alone), of this process's rows: [B]."""
    rows, classes = len(label), len(setting.model.prior.means)
    generator = setting.draws.generator("partners")
    # sorted by (class, random), every row takes the next of its class, the last of a class the first
    keys = label.double() + torch.rand(rows, generator=generator, dtype=torch.float64, device=label.device)
    order = keys.argsort()
    by_class = label[order]
    counts = (label[:, None] == torch.arange(classes, device=label.device)).sum(0)  # bincount would wait for the device
    starts = counts.cumsum(0) - counts
    position = torch.arange(rows, device=label.device) - starts[by_class]
    following = starts[by_class] + (position + 1) % counts[by_class]
    found = torch.empty_like(order)
    found[order] = order[following]
    return found


def draw(setting: Setting, batch: Batch, classes: ClassCodes, style: StyleCodes, given: Tensor, kinds: frozenset[str]) -> Drawn:
    """What G draws, all kinds in one batch, so that BatchNorm sees what will be served. `given` is that of `class_code`."""
    sources = {}
    if "rec" in kinds:
        sources["rec"] = Source(given, style.code, batch.label, style.code)
    if "swap" in kinds:
        sources["swap"] = swap_source(setting, batch, classes, style, given)
    if "smp" in kinds:
        sources["smp"] = sample_source(setting, len(batch.label))
    z_s, code = torch.cat([s.z_s for s in sources.values()]), torch.cat([s.code for s in sources.values()])
    with setting.autocast():
        pictures = setting.model.decoder(z_s, code)
    return Drawn(dict(zip(sources, pictures.split([len(s.label) for s in sources.values()]), strict=True)), sources)


def swap_source(setting: Setting, batch: Batch, classes: ClassCodes, style: StyleCodes, given: Tensor) -> Source:
    """Swaps: z_s and class of a, style of b. b are the first rows of the batch, a other rows of it."""
    stage = setting.stage
    rows = math.ceil(len(batch.label) * stage.swap_share)
    if stage.pairs == "class":
        a = partners(setting, batch.label)[:rows]
    else:
        a = torch.randperm(len(batch.label), generator=setting.draws.generator("swap pairs"), device=batch.label.device)[:rows]
    # an exchanged class code is another picture's already: a swap takes a's own
    z_s = setting.model.class_code(classes.z_s, batch.label).detach()[a] if stage.class_exchange else given[a]
    code = style.code[:rows]
    if not stage.through_flow:
        return Source(z_s, code, batch.label[a], code)
    with torch.no_grad():
        # z_u = f(e_b; c_b),  e = f^-1(z_u; c(z_s^a)): as the service swaps
        z_u, _ = setting.flow(code, classes.read[:rows])
        return Source(z_s, setting.model.code_from_style(z_u, z_s), batch.label[a], z_u)


def sample_source(setting: Setting, batch_rows: int) -> Source:
    """Samples: classes by their frequency, z_s and z_u from the stage's sampler. No gradient."""
    model, stage, distributed = setting.model, setting.stage, setting.draws.distributed
    rows = math.ceil(batch_rows * stage.sample_share) * distributed.size
    generator = setting.draws.generator("samples")
    with torch.no_grad():
        # c ~ Cat(pi),  z_s | c ~ N(mu_c, Sigma_c),  z_u ~ N(0, I); or the Gaussians that were fitted to the training codes
        label = torch.multinomial(model.prior.log_weights.exp(), rows, replacement=True, generator=generator)
        if stage.sampler == "fitted":
            z_s, z_u = model.fitted.sample(label, generator)
        else:
            z_s = model.prior.sample(label, generator)
            z_u = torch.randn(rows, model.sizes.dim_u, generator=generator, device=label.device)
        label, z_s, z_u = (distributed.shard(drawn) for drawn in (label, z_s, z_u))
        z_s = model.class_code(z_s, label)
        code = model.code_from_style(z_u, z_s) if stage.through_flow else z_u
    return Source(z_s, code, label, z_u)


# ------------------------------------------------------------------------------------------------------------- score


def score(setting: Setting, batch: Batch, drawn: Drawn, needs: frozenset[str]) -> Scores:
    """D(x, y) and D(x', y'), in a fixed order: every call of D moves the estimate of its spectral norms."""
    kinds = sorted(drawn.pictures)
    discriminator = setting.model.discriminator
    for_d: dict[str, Tensor] = {}
    for_g: dict[str, Tensor] = {}
    if D_SCORES in needs:
        pictures = {"real": batch.x, **{kind: drawn.pictures[kind].detach() for kind in kinds}}
        labels = torch.cat([batch.label, *(drawn.sources[kind].label for kind in kinds)])
        viewed = torch.cat([view(setting, f"{kind} for D", x) for kind, x in pictures.items()])
        with setting.autocast():
            scores = discriminator(viewed, labels)
        for_d = dict(zip(pictures, scores.float().split([len(x) for x in pictures.values()]), strict=True))
    if G_SCORES in needs:
        for kind in kinds:
            viewed = view(setting, f"{kind} for G", drawn.pictures[kind])
            with setting.autocast():
                for_g[kind] = discriminator(viewed, drawn.sources[kind].label).float()
    return Scores(for_d, for_g)


def view(setting: Setting, purpose: str, pictures: Tensor) -> Tensor:
    """Pictures [n, C, H, W] as D gets them: under the stage's views, every row by an amount of its own. Zhao et al. 2020."""
    for name in setting.stage.discriminator_views:
        pictures = VIEWS[name](pictures, setting.draws.uniform(f"{name} of {purpose}", len(pictures), 2))
    return pictures


# --------------------------------------------------------------------------------------------------------- read back


def read_back(setting: Setting, drawn: Drawn) -> Cycle:
    """Swaps and samples encoded again, beside the codes that were drawn into them."""
    model, kinds = setting.model, [kind for kind in ("swap", "smp") if kind in drawn.pictures]
    sources = [drawn.sources[kind] for kind in kinds]
    pictures = torch.cat([drawn.pictures[kind] for kind in kinds])
    z_s, z_u, label = (torch.cat(parts) for parts in zip(*((s.z_s, s.z_u, s.label) for s in sources), strict=True))
    asked = model.read_class(z_s)
    with setting.autocast():
        z_u_read = model.encoder_u.within_class(pictures, asked).mean
    if setting.stage.through_flow:
        # f(E_u(x'); c(z_s)): under the class that was asked for, not the one that E_s reads in x'
        z_u_read, _ = setting.flow(z_u_read, asked)
    setting.draws.dropout("cycle")
    with setting.autocast():
        z_s_read = model.encoder_s(pictures)
    return Cycle(label, z_s.detach(), z_s_read, z_u, z_u_read)


def give_back(setting: Setting, drawn: Drawn, given: Tensor) -> Tensor:
    """Pictures [n, C, H, W] from a style that is read in a swap and given back to its owner, one for each swap.

    The cycle of Zhu et al. 2017 (CycleGAN). No gradient passes through the swap itself: it may hide nothing for the way back.
    """
    model, swap = setting.model, drawn.sources["swap"]
    owner, rows = given[: len(swap.label)], len(given)
    asked = model.read_class(swap.z_s.detach())
    with setting.autocast():
        q = model.encoder_u.within_class(drawn.pictures["swap"].detach(), asked)
    # e = E_u(x_swap) is the style of b under the class of a; f^-1(f(e; c_a); c_b) is the same style under that of b
    code = _near(setting, "returned style noise", q, setting.stage.style_noise, rows)
    if setting.stage.through_flow:
        z_u, _ = setting.flow(code, asked)
        code = model.code_from_style(z_u, owner.detach())
    with setting.autocast():
        return model.decoder(owner, code)


# -------------------------------------------------------------------------------------------------------------- flow


def flow_codes(setting: Setting, batch: Batch, classes: ClassCodes, style: StyleCodes) -> Flowed:
    """f of codes under a share U^flow_noise of the posterior's deviation, U uniform (none ... full, a draw for each row)."""
    share = setting.draws.uniform("flow noise share", len(batch.label), 1) ** setting.stage.flow_noise
    code = _near(setting, "flow noise", style.q, share, len(batch.label))
    z_u, log_det = setting.flow(code, classes.read)
    return Flowed(code, classes.read, z_u, log_det)
