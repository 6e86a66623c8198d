"""The heart: ONE optimisation step.

A stage is a list of updates. An update makes one forward pass over a fresh batch; then every part it names moves on its own
weighted sum of losses (the table "who moves what" of the paper is such a list, see config/presets/paper.toml). Gradients of a part
are taken for that part alone, so nothing leaks: mu and Sigma never see the reconstruction, E_s never sees the latent
classifier, the discriminator's loss never reaches an encoder.

Knows the losses and who moves on them; knows nothing of files, epochs or logging.

Longer than 250 lines because every term of the method stands here, one function per term, beside the step that weighs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from twofold.model import losses
from twofold.model.flow import ClassFlow
from twofold.model.posterior import DiagonalGaussian
from twofold.model.vae_gan import VaeGan
from twofold.training.config.schema import Config, ConfigError, Stage, nearest
from twofold.training.data.augment import VIEWS
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed

KINDS = ("rec", "swap", "smp")  # what G draws: reconstructions, swaps, samples


class Diverged(Exception):
    """A loss is not finite; the text names the term and the keys of the configuration to try."""


@dataclass(frozen=True)
class Batch:
    """Pictures x [B, C, H, W] in [0, 1], label [B], and the codes of the encoders that this stage does not move."""

    x: Tensor
    label: Tensor
    z_s: Tensor | None = None
    q: DiagonalGaussian | None = None


class Cycle(NamedTuple):
    """What was drawn into pictures [B, C, H, W], and what the encoders find there."""

    label: Tensor
    z_s: Tensor
    z_s_found: Tensor
    z_u: Tensor
    z_u_found: Tensor


# ------------------------------------------------------------------------------------------------------ forward pass


class Forward:
    """One forward pass: every tensor is computed at most once, when a loss first asks for it."""

    def __init__(
        self,
        model: VaeGan,
        stage: Stage,
        batch: Batch,
        kinds: frozenset[str],
        generator: torch.Generator,
        bf16: bool,
        distributed: Distributed = SINGLE_PROCESS,
    ) -> None:
        self.model, self.stage, self.batch, self.kinds, self.generator, self.bf16 = model, stage, batch, kinds, generator, bf16
        self.x, self.label, self.distributed = batch.x, batch.label, distributed

    def run(self, network: nn.Module, *inputs: Tensor) -> Any:
        """A convolutional network under bf16 autocast where asked for; codes, flow and losses stay float32."""
        with torch.autocast(self.x.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return network(*inputs)

    def noise(self, dim: int, kind: Callable[..., Tensor] = torch.randn) -> Tensor:
        """Noise [B, dim] for this process's rows, drawn for the whole batch: a row's noise is the same however many share it."""
        return self.distributed.share(kind(len(self.label) * self.distributed.size, dim, generator=self.generator, device=self.x.device))

    def near(self, q: DiagonalGaussian, share: Tensor | float) -> Tensor:
        """A draw of q [rows, D] under `share` of its deviation, for the first rows of this process."""
        return q.mean + share * (0.5 * q.log_var).exp() * self.noise(q.mean.shape[1])[: len(q.mean)]

    # -- what the encoders say

    @cached_property
    def z_s(self) -> Tensor:
        if self.batch.z_s is not None:
            return self.batch.z_s
        z_s = self.run(self.model.encoder_s, self.x)
        return z_s if "encoder_s" in self.stage.trained else self.model.prior.shrunk(z_s)

    @cached_property
    def logits(self) -> Tensor:
        return self.model.prior.logits(self.z_s)

    @cached_property
    def read(self) -> Tensor:
        """The class read from z_s: with z_s itself the condition of the flow, which sends no gradient to E_s."""
        return self.logits.detach().argmax(1)

    @cached_property
    def q(self) -> DiagonalGaussian:
        return self.batch.q if self.batch.q is not None else self.run(self.model.encoder_u, self.x)

    @cached_property
    def code(self) -> Tensor:
        """A draw of E_u's code e (z_u itself where there is no flow)."""
        return self.near(self.q, self.stage.style_noise)

    @cached_property
    def own_class_code(self) -> Tensor:
        """Of each picture what G takes of its class: z_s, or the mean of its true class."""
        return self.model.class_code(self.z_s, self.label)

    @cached_property
    def class_code(self) -> Tensor:
        """The class code that G gets: perhaps of another picture of the class, detached, with noise."""
        z_s = self.own_class_code.detach() if self.stage.class_code == "detached" else self.own_class_code
        if self.stage.class_exchange:
            z_s = z_s[self.partners]
        if self.stage.class_noise:
            deviation = (0.5 * self.model.prior.log_vars[self.label]).exp().detach()
            z_s = z_s + self.stage.class_noise * deviation * self.noise(z_s.shape[1])
        return z_s

    @cached_property
    def partners(self) -> Tensor:
        """For each row another row of the same class, at random (itself where it is alone), of this process's rows: [B]."""
        device = self.label.device
        keys = self.label.double() + torch.rand(len(self.label), generator=self.generator, dtype=torch.float64, device=device)
        order = keys.argsort()
        sorted_label = self.label[order]
        counts = torch.bincount(sorted_label)
        starts = counts.cumsum(0) - counts
        position = torch.arange(len(order), device=device) - starts[sorted_label]
        following = starts[sorted_label] + (position + 1) % counts[sorted_label]
        partners = torch.empty_like(order)
        partners[order] = order[following]
        return partners

    # -- what G draws: all in one batch, so that BatchNorm sees what will be served

    @cached_property
    def swap_codes(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z_s of a, code of b brought to the class of a, label of a, z_u of b (before f^-1)."""
        rows = math.ceil(len(self.label) * self.stage.swap_share)
        if self.stage.pairs == "class":
            a = self.partners[:rows]
        else:
            a = torch.randperm(len(self.label), generator=self.generator, device=self.x.device)[:rows]
        z_s, code = self.class_code[a] if not self.stage.class_exchange else self.own_class_code.detach()[a], self.code[:rows]
        if not self.stage.through_flow:
            return z_s, code, self.label[a], code
        with torch.no_grad():
            z_u, _ = self.flow(code, self.read[:rows])
            return z_s, self.model.code_from_style(z_u, z_s), self.label[a], z_u

    @cached_property
    def sample_codes(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z_s, code, label, z_u of samples: classes by their frequency, z_s and z_u from the stage's sampler."""
        rows = math.ceil(len(self.label) * self.stage.sample_share) * self.distributed.size
        with torch.no_grad():
            label = torch.multinomial(self.model.prior.log_weights.exp(), rows, replacement=True, generator=self.generator)
            if self.stage.sampler == "fitted":
                z_s, z_u = self.model.fitted.sample(label, self.generator)
            else:
                z_s = self.model.prior.sample(label, self.generator)
                z_u = torch.randn(rows, self.model.sizes.dim_u, generator=self.generator, device=self.x.device)
            label, z_s, z_u = (self.distributed.share(drawn) for drawn in (label, z_s, z_u))
            z_s = self.model.class_code(z_s, label)
            code = self.model.code_from_style(z_u, z_s) if self.stage.through_flow else z_u
        return z_s, code, label, z_u

    @cached_property
    def drawn(self) -> dict[str, Tensor]:
        """Pictures by kind: rec, swap, smp (those that this update needs)."""
        codes_of = {"rec": lambda: (self.class_code, self.code), "swap": lambda: self.swap_codes[:2], "smp": lambda: self.sample_codes[:2]}
        codes = {kind: codes_of[kind]() for kind in KINDS if kind in self.kinds}
        z_s, code = (torch.cat(parts) for parts in zip(*codes.values(), strict=True))
        pictures = self.run(self.model.decoder, z_s, code)
        return dict(zip(codes, pictures.split([len(c[0]) for c in codes.values()]), strict=True))

    def label_of(self, kind: str) -> Tensor:
        return {"rec": lambda: self.label, "swap": lambda: self.swap_codes[2], "smp": lambda: self.sample_codes[2]}[kind]()

    def seen(self, pictures: Tensor) -> Tensor:
        """What D sees of pictures [B, C, H, W]: under the stage's views, every row by an amount of its own, drawn at every look."""
        for view in self.stage.discriminator_views:
            uniform = torch.rand(len(pictures) * self.distributed.size, 2, generator=self.generator, device=pictures.device)
            pictures = VIEWS[view](pictures, self.distributed.share(uniform))
        return pictures

    @cached_property
    def fake_scores(self) -> dict[str, Tensor]:
        """D on each kind, with gradient to the picture. In a fixed order: every call moves the spectral norm's estimate."""
        kinds = sorted(self.kinds)
        return {kind: self.run(self.model.discriminator, self.seen(self.drawn[kind]), self.label_of(kind)).float() for kind in kinds}

    @cached_property
    def discriminator_scores(self) -> dict[str, Tensor]:
        """D on real pictures and on each kind, without gradient to the picture."""
        kinds = ["real", *sorted(self.kinds)]
        pictures = [self.x, *(self.drawn[kind].detach() for kind in kinds[1:])]
        labels = [self.label, *(self.label_of(kind) for kind in kinds[1:])]
        scores = self.run(self.model.discriminator, self.seen(torch.cat(pictures)), torch.cat(labels)).float()
        return dict(zip(kinds, scores.split([len(p) for p in pictures]), strict=True))

    # -- what the frozen encoders read from what was drawn

    @cached_property
    def cycle(self) -> Cycle:
        """Swaps and samples encoded again, beside what was drawn into them."""
        kinds = [kind for kind in ("swap", "smp") if kind in self.kinds]
        codes = {"swap": lambda: self.swap_codes, "smp": lambda: self.sample_codes}
        pictures = torch.cat([self.drawn[kind] for kind in kinds])
        label = torch.cat([codes[kind]()[2] for kind in kinds])
        z_s, wanted = (torch.cat([codes[kind]()[i] for kind in kinds]) for i in (0, 3))
        found = self.run(self.model.encoder_u, pictures).mean
        if self.stage.through_flow:
            found, _ = self.flow(found, self.model.read_class(z_s))
        return Cycle(label, z_s.detach(), self.run(self.model.encoder_s, pictures), wanted, found)

    @cached_property
    def returned(self) -> Tensor:
        """Pictures whose style was lent to another class, read again there, and given back to their own: one for each swap.

        No gradient passes through the swap itself: it may hide nothing for the way back.
        """
        borrower, rows = self.swap_codes[0].detach(), len(self.swap_codes[0])
        code = self.near(self.run(self.model.encoder_u, self.drawn["swap"].detach()), self.stage.style_noise)
        owner = self.class_code[:rows]
        if self.stage.through_flow:
            z_u, _ = self.flow(code, self.model.read_class(borrower))
            code = self.model.code_from_style(z_u, owner.detach())
        return self.run(self.model.decoder, owner, code)

    @property
    def flow(self) -> ClassFlow:
        if self.model.flow is None:
            raise ConfigError("this stage needs a flow: set model.flow_layers above 0")
        return self.model.flow

    @cached_property
    def flow_codes(self) -> Tensor:
        """Codes for the flow's likelihood: noise of the posterior deviation times U^flow_noise (none ... full, a draw for each row)."""
        return self.near(self.q, self.noise(1, torch.rand) ** self.stage.flow_noise)

    @cached_property
    def flowed(self) -> tuple[Tensor, Tensor]:
        """f of them, and log of the absolute determinant of df/de; no gradient to E_s."""
        return self.flow(self.flow_codes, self.read)


# ------------------------------------------------------------------------------------------------------------ losses


def _discriminator_fake(kind: str, f: Forward) -> Tensor:
    return losses.discriminator_fake_loss(f.discriminator_scores[kind])


def _generator(kind: str, f: Forward) -> Tensor:
    return losses.generator_loss(f.fake_scores[kind])


TERMS: dict[str, Callable[[Forward], Tensor]] = {
    "class": lambda f: losses.class_loss(f.logits, f.label),
    # per dimension, so that its weight does not depend on D_s
    "likelihood": lambda f: losses.likelihood_loss(f.model.prior.log_prob(f.z_s, f.label)) / f.z_s.shape[1],
    "log_var_regularizer": lambda f: losses.log_var_regularizer(f.model.prior.log_vars),
    "recon_sse": lambda f: losses.recon_sse(f.x, f.drawn["rec"]),
    "recon_mse": lambda f: losses.recon_mse(f.x, f.drawn["rec"]),
    "kl_sum": lambda f: losses.kl_sum(f.q),
    "kl_mean": lambda f: losses.kl_mean(f.q),
    "cka_penalty": lambda f: losses.cka_penalty(f.q.mean, f.label),
    "latent_adversary": lambda f: losses.latent_adversary_loss(f.model.classifier(f.code), f.model.prior.log_weights.exp()),
    "latent_classifier": lambda f: losses.latent_classifier_loss(f.model.classifier(f.code.detach()), f.label),
    "flow_nll": lambda f: losses.flow_nll(*f.flowed),
    "flow_transport": lambda f: losses.flow_transport(f.flowed[0], f.flow.whitened(f.flow_codes, f.read)),
    "cycle_class": lambda f: losses.class_loss(f.model.prior.logits(f.cycle.z_s_found), f.cycle.label),
    "latent_regression_s": lambda f: losses.latent_regression(f.cycle.z_s_found, f.cycle.z_s),
    "latent_regression_u": lambda f: losses.latent_regression(f.cycle.z_u_found, f.cycle.z_u),
    "cycle_consistency": lambda f: losses.recon_sse(f.x[: len(f.returned)], f.returned),
    "discriminator_real": lambda f: losses.discriminator_real_loss(f.discriminator_scores["real"]),
    **{f"discriminator_{kind}": partial(_discriminator_fake, kind) for kind in KINDS},
    **{f"gen_{kind}": partial(_generator, kind) for kind in KINDS},
}


def check_terms(config: Config) -> None:
    """Raises ConfigError for an update that names a loss that does not exist, or one of pictures of which its stage draws none."""
    for stage in config.stage:
        for update in stage.update:
            for weights in update.train.values():
                for term in weights:
                    if term not in TERMS:
                        raise ConfigError(f"stage {stage.name!r}: unknown loss {term!r}{nearest(term, TERMS)}")
                    kinds = kinds_for([term], stage)
                    empty = {"swap": not stage.swap_share > 0, "smp": not stage.sample_share > 0, "rec": False}
                    if any(empty[kind] for kind in kinds) or (term.startswith("cycle") and not kinds):
                        raise ConfigError(f"stage {stage.name!r}: {term!r} needs a swap_share or sample_share above 0")


# --------------------------------------------------------------------------------------------------------- one step


def make_optimizers(model: VaeGan, stage: Stage) -> dict[str, torch.optim.Optimizer]:
    """One optimiser per part that the stage moves."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[stage.optimizer]
    betas = (stage.betas[0], stage.betas[1])
    return {
        part: kind(getattr(model, part).parameters(), lr=stage.lr[part], betas=betas, weight_decay=stage.weight_decay)
        for part in sorted(stage.trained)
    }


def set_modes(model: VaeGan, stage: Stage) -> None:
    """Parts that the stage moves train; the others are frozen and in evaluation mode."""
    model.eval()
    for name, part in model.named_children():
        part.train(name in stage.trained)
        part.requires_grad_(name in stage.trained)


def step(
    model: VaeGan,
    stage: Stage,
    batches: Iterator[Batch],
    optimizers: dict[str, torch.optim.Optimizer],
    generator: torch.Generator,
    bf16: bool = False,
    distributed: Distributed = SINGLE_PROCESS,
) -> dict[str, float]:
    """One step: the stage's updates in written order. Returns the value of every loss it used, mean over the processes.

    Raises Diverged.
    """
    seen: dict[str, float] = {}
    for update in stage.update:
        terms = sorted({term for weights in update.train.values() for term in weights})
        for _ in range(update.repeat):
            forward = Forward(model, stage, next(batches), kinds_for(terms, stage), generator, bf16, distributed)
            values = {term: TERMS[term](forward) for term in terms}
            found = torch.stack([value.detach() for value in values.values()])
            distributed.average([found])  # before the check, so that all stop where one diverges
            seen |= dict(zip(values, found.tolist(), strict=True))
            _check_finite(seen, stage)
            _take_gradients(model, update.train, values)
            distributed.average([p.grad for part in update.train for p in getattr(model, part).parameters() if p.grad is not None])
            for part in update.train:
                optimizers[part].step()
    distributed.average([buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var"))])
    return seen


def kinds_for(terms: Collection[str], stage: Stage) -> frozenset[str]:
    """What G has to draw for these losses: a cycle is of swaps and samples (with a way back, of swaps) as far as the stage has any."""
    kinds = {kind for kind in KINDS if {f"gen_{kind}", f"discriminator_{kind}"} & set(terms)}
    if any(term.startswith("recon") for term in terms):
        kinds |= {"rec"}
    if "cycle_consistency" in terms:
        kinds |= {"swap"}
    if {"cycle_class", "latent_regression_s", "latent_regression_u"} & set(terms):
        kinds |= {kind for kind, share in (("swap", stage.swap_share), ("smp", stage.sample_share)) if share > 0}
    return frozenset(kinds)


def _check_finite(seen: Mapping[str, float], stage: Stage) -> None:
    for term, value in seen.items():
        if not math.isfinite(value):
            moved = sorted({part for update in stage.update for part, weights in update.train.items() if term in weights})
            keys = " or ".join(f"lr.{part} (now {stage.lr[part]:g})" for part in moved)
            raise Diverged(f'{term} is not finite in stage {stage.name!r}: try a smaller {keys}, or precision = "fp32"')


def _take_gradients(model: VaeGan, move: Mapping[str, Mapping[str, float]], values: dict[str, Tensor]) -> None:
    """Gradient of each part's own sum for that part's parameters alone; parts with the same sum share one pass."""
    groups: dict[tuple[tuple[str, float], ...], list[nn.Parameter]] = {}
    for part, weights in move.items():
        groups.setdefault(tuple(sorted(weights.items())), []).extend(getattr(model, part).parameters())
    for i, (terms, parameters) in enumerate(groups.items()):
        total = torch.stack([weight * values[term] for term, weight in terms]).sum()
        gradients = torch.autograd.grad(total, parameters, retain_graph=i + 1 < len(groups), allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
