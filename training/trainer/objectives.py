"""The registry of losses: for each its function, its formula, what it tells in plain words, and what it needs of the forward pass.

To add a loss: its equation as a pure function in model/losses.py, and one entry here. A configuration then names it beside the part that
it trains, the report explains it, and docs/reference/losses.md lists it. Knows no weights and no optimisers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from twofold.model import losses
from twofold.training.trainer.forward import CYCLE, D_SCORES, FLOW, G_SCORES, KINDS, RETURNED, STYLE, Z_S, Forward, view


@dataclass(frozen=True)
class Objective:
    """One loss, a scalar. `formula` and `reduction` are for docs/reference/losses.md, `words` for the report, `source` cites."""

    function: Callable[[Forward], Tensor]
    formula: str
    reduction: str
    words: str
    source: str
    needs: frozenset[str] = frozenset()


def needs_of(names: Iterable[str]) -> frozenset[str]:
    """What the losses of these names need of a forward pass together."""
    return frozenset[str]().union(*(OBJECTIVES[name].needs for name in names))


def _likelihood(f: Forward) -> Tensor:
    # per dimension, so that its weight does not depend on D_s
    return losses.likelihood_loss(f.setting.model.prior.log_prob(f.classes.z_s, f.batch.label)) / f.classes.z_s.shape[1]


def _latent_adversary(f: Forward) -> Tensor:
    return losses.latent_adversary_loss(f.setting.model.classifier(f.style.code), f.setting.model.prior.log_weights.exp())


def _latent_classifier(f: Forward) -> Tensor:
    return losses.latent_classifier_loss(f.setting.model.classifier(f.style.code.detach()), f.batch.label)


def _flow_transport(f: Forward) -> Tensor:
    return losses.flow_transport(f.flowed.z_u, f.setting.flow.whitened(f.flowed.code, f.flowed.label))


def _cycle_class(f: Forward) -> Tensor:
    return losses.class_loss(f.setting.model.prior.logits(f.cycle.z_s_read), f.cycle.label)


def _cycle_consistency(f: Forward) -> Tensor:
    return losses.recon_sse(f.batch.x[: len(f.returned)], f.returned)


def _feature_matching(f: Forward) -> Tensor:
    drawn = f.drawn.pictures["rec"]
    with f.setting.autocast():
        both = f.setting.model.discriminator.features(torch.cat([drawn, f.batch.x]))
    return losses.feature_matching([h[: len(drawn)] for h in both], [h[len(drawn) :] for h in both])


def _spectrum(f: Forward) -> Tensor:
    # interpolation has smoothed what is augmented
    real = f.batch.x if f.batch.plain is None else f.batch.plain
    return losses.spectrum_loss(torch.cat([f.drawn.pictures["swap"], f.drawn.pictures["smp"]]), real)


def _gradient_penalty(f: Forward) -> Tensor:
    # in float32: the penalty is differentiated again
    x = view(f.setting, "real for the penalty", f.batch.x).detach().requires_grad_()
    return losses.gradient_penalty(f.setting.model.discriminator(x, f.batch.label), x)


def _discriminator(kind: str, f: Forward) -> Tensor:
    return losses.discriminator_fake_loss(f.scores.for_d[kind])


def _generator(kind: str, f: Forward) -> Tensor:
    return losses.generator_loss(f.scores.for_g[kind])


PICTURES_OF = {"rec": "reconstructions", "swap": "swaps", "smp": "samples"}
FROM_OF = {"rec": "[1, 8]", "swap": "[8]; swap ours", "smp": "[1, 8]"}

OBJECTIVES: dict[str, Objective] = {
    "class": Objective(
        lambda f: losses.class_loss(f.classes.logits, f.batch.label),
        "CE(logits, y), logits_k = log pi_k - 1/2 sum_j [(z_j - mu_kj)^2 exp(-s_kj) + s_kj]",
        "mean over B",
        "reading the class right",
        "L_cls [1, 3]",
        frozenset({Z_S}),
    ),
    "likelihood": Objective(
        _likelihood,
        "-log N(z_s; mu_y, Sigma_y) / D_s",
        "mean over B and dimensions",
        "class codes lie close to the middle of their class",
        "L_lkd [1, 3]",
        frozenset({Z_S}),
    ),
    "log_var_regularizer": Objective(
        lambda f: losses.log_var_regularizer(f.setting.model.prior.log_vars),
        "e^s - s - 1 of the class log-variances; zero at s = 0",
        "mean over classes and dimensions",
        "classes neither shrink nor grow without end",
        "ours",
    ),
    "recon_sse": Objective(
        lambda f: losses.recon_sse(f.batch.x, f.drawn.pictures["rec"]),
        "(x - x')^2, x in [0, 1]; with weight w, -log N(x; x', I / 2w) up to a constant",
        "sum over pixels, mean over B",
        "difference between a picture and its reconstruction",
        "L_rec [1]",
        frozenset({"rec"}),
    ),
    "recon_mse": Objective(
        lambda f: losses.recon_mse(f.batch.x, f.drawn.pictures["rec"]),
        "(x - x')^2 on the scale [-1, 1]",
        "mean over pixels and B",
        "difference between a picture and its reconstruction",
        "(code)",
        frozenset({"rec"}),
    ),
    "recon_nll": Objective(
        lambda f: losses.recon_nll(f.batch.x, f.drawn.pictures["rec"]),
        "-log N(x; x', sigma^2 I) = D/2 log of the mean (x - x')^2 over the batch, for D pixels, up to a constant",
        "sum over pixels, mean over B",
        "difference between a picture and its reconstruction, weighed by how large it still is",
        "[17]",
        frozenset({"rec"}),
    ),
    "kl_sum": Objective(
        lambda f: losses.kl_sum(f.style.q),
        "KL(q(e given x) ‖ N(0, I))",
        "sum over D_u, mean over B",
        "how much the style code tells, in nats",
        "L_KL [1, 4]",
        frozenset({STYLE}),
    ),
    "kl_mean": Objective(
        lambda f: losses.kl_mean(f.style.q),
        "KL(q(e given x) ‖ N(0, I))",
        "mean over D_u and B",
        "how much the style code tells, in nats per number",
        "(code)",
        frozenset({STYLE}),
    ),
    "cka_penalty": Objective(
        lambda f: losses.cka_penalty(f.style.q.mean, f.batch.label),
        'centred kernel alignment of the means of q with "is of the same class", 0 to 1; Gaussian kernel, median bandwidth',
        "over pairs of the batch",
        "how much the style code depends on the class",
        "[5, 6]",
        frozenset({STYLE}),
    ),
    "latent_adversary": Objective(
        _latent_adversary,
        "CE(C(z_u), pi) - H(pi) = KL(pi ‖ C(z_u)) >= 0, on sampled codes",
        "mean over B",
        "what the latent classifier still reads in the style",
        "L_adv of E_u [1]",
        frozenset({STYLE}),
    ),
    "latent_classifier": Objective(
        _latent_classifier,
        "CE(C(z_u), y), on sampled codes without gradient to E_u",
        "mean over B",
        "error of the latent classifier, which reads the class in the style",
        "L_adv of C [1]",
        frozenset({STYLE}),
    ),
    "flow_nll": Objective(
        lambda f: losses.flow_nll(f.flowed.z_u, f.flowed.log_det),
        "-log N(f(e; c); 0, I) - log of the absolute determinant of df/de",
        "sum over D_u, mean over B",
        "how far the style code is from standard normal noise",
        "[7]",
        frozenset({FLOW}),
    ),
    "flow_transport": Objective(
        _flow_transport,
        "squared distance between f(e; c) and e under the whitening of c: how far the couplings move a code",
        "sum over D_u, mean over B",
        "how far the flow moves a style code",
        "Monge's cost, as in [13]",
        frozenset({FLOW}),
    ),
    "cycle_class": Objective(
        _cycle_class,
        "class loss of E_s(x') for swaps and samples, against the class that was asked for",
        "mean over B",
        "the class is read again from what was drawn",
        "ours",
        frozenset({CYCLE}),
    ),
    "latent_regression_s": Objective(
        lambda f: losses.latent_regression(f.cycle.z_s_read, f.cycle.z_s),
        "(z_s read in x' - z_s decoded into it)^2, swaps and samples. It still has a gradient where E_s is long sure of the class",
        "mean over D_s and B",
        "the class code is read again from what was drawn",
        "ours",
        frozenset({CYCLE}),
    ),
    "latent_regression_u": Objective(
        lambda f: losses.latent_regression(f.cycle.z_u_read, f.cycle.z_u),
        "(z_u read in x' - z_u decoded into it)^2, swaps and samples",
        "mean over D_u and B",
        "the style code is read again from what was drawn",
        "ours",
        frozenset({CYCLE}),
    ),
    "cycle_consistency": Objective(
        _cycle_consistency,
        "squared error of a picture whose style was given to another class, read again in that swap, and given back to its own; "
        "without gradient through the swap",
        "sum over pixels, mean over the swaps",
        "difference between a picture and what is left of it after its style was given to another class and back",
        "[12]",
        frozenset({"swap", RETURNED}),
    ),
    "feature_matching": Objective(
        _feature_matching,
        "absolute difference between what the levels of D say of x' and of x, reconstructions",
        "mean over features and B, sum over levels",
        "difference between a picture and its reconstruction as the discriminator sees it",
        "[18]",
        frozenset({"rec"}),
    ),
    "spectrum": Objective(
        _spectrum,
        "(log P(x') - log P(x))^2, P the mean power by distance from frequency 0 and in four directions; swaps and samples "
        "against training pictures",
        "mean over distances and directions",
        "swaps and samples are smoother or rougher than real pictures",
        "after [20]",
        frozenset({"swap", "smp"}),
    ),
    "r1": Objective(
        _gradient_penalty,
        "1/2 of the squared norm of dD(x, y)/dx on real pictures",
        "sum over pixels, mean over B",
        "how steep the discriminator is at real pictures",
        "[19]",
    ),
    "discriminator_real": Objective(
        lambda f: losses.discriminator_real_loss(f.scores.for_d["real"]),
        "relu(1 - D(x, y))",
        "mean over B",
        "the discriminator takes real pictures for drawn ones",
        "[1, 8]",
        frozenset({D_SCORES}),
    ),
    **{
        f"discriminator_{kind}": Objective(
            partial(_discriminator, kind),
            f"relu(1 + D(x', y')) of {PICTURES_OF[kind]}, without gradient to x'",
            "mean over B",
            f"the discriminator takes {PICTURES_OF[kind]} for real",
            FROM_OF[kind],
            frozenset({kind, D_SCORES}),
        )
        for kind in KINDS
    },
    **{
        f"gen_{kind}": Objective(
            partial(_generator, kind),
            f"-D(x', y') of {PICTURES_OF[kind]}",
            "mean over B",
            f"{PICTURES_OF[kind]} that the discriminator finds out",
            f"L_GD {FROM_OF[kind]}",
            frozenset({kind, G_SCORES}),
        )
        for kind in KINDS
    },
}
