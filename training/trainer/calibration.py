"""What is measured on the codes of the training split between stages: the actions that a stage names in `before` and `after`.

Knows the model and codes; knows nothing of losses or of time. preflight.py refuses an action whose size of the model is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from twofold.model.flow import alive
from twofold.model.vae_gan import VaeGan
from twofold.training.trainer.latents import Codes

DEAD_STEP = 1e9


@torch.no_grad()
def fit_sampler(model: VaeGan, codes: Codes) -> None:
    """Fit the default sampler to the training codes: z_s by true class, z_u over all."""
    # z_u = f(e; c(z_s)) of the posterior means
    z_u = codes.q.mean if model.flow is None else model.flow(codes.q.mean, codes.read)[0]
    model.fitted.fit(codes.z_s, z_u, codes.label)


@torch.no_grad()
def standard(model: VaeGan, codes: Codes) -> None:
    """Set the default sampler to the means of the classes and z_u ~ N(0, I), whatever the codes."""
    model.fitted.be_standard(model.prior)


@torch.no_grad()
def whiten(model: VaeGan, codes: Codes) -> str:
    """Set the flow's per-class whitening from the codes, by the class read; says which dimensions stay out of it."""
    assert model.flow is not None
    kept, dims = model.flow.whiten(codes.q.mean, codes.read, dead_variance=model.sizes.dead_variance), model.sizes.dim_u
    return "" if kept == dims else f"{kept} of {dims} style dimensions are alive; the others are dropped, and nothing is drawn from them"


@torch.no_grad()
def fold(model: VaeGan, codes: Codes) -> None:
    """Fold the per-class mean and deviation of z_u into the flow, by the class read."""
    assert model.flow is not None
    model.flow.fold(codes.q.mean, codes.read)


@torch.no_grad()
def quantize_style(model: VaeGan, codes: Codes) -> None:
    """Set the step that E_u's means are rounded to: `style_step` root mean square deviations of its posterior, per dimension."""
    assert model.encoder_u.style_step is not None
    # step_j = style_step * sqrt(E_x exp v_j(x)); a dead dimension has one so large that it rounds to 0
    steps = model.sizes.style_step * codes.q.log_var.exp().mean(0).sqrt()
    model.encoder_u.style_step.copy_(torch.where(alive(codes.q.mean, model.sizes.dead_variance), steps, DEAD_STEP))


@torch.no_grad()
def center_style(model: VaeGan, codes: Codes) -> None:
    """Set the class means that are subtracted from E_u's codes to those of the training codes, by the class read."""
    centres = model.encoder_u.class_running_mean
    assert centres is not None
    for k in codes.read.unique():
        # the codes are centred already: what is left of their mean is what the running mean has missed
        centres[k] += codes.q.mean[codes.read == k].mean(0)


@torch.no_grad()
def shrink_to_class_mean(model: VaeGan, codes: Codes) -> None:
    """From now on z_s is moved by `shrinkage` of its way to the mean of the class that it is read as."""
    assert model.prior.shrinkage is not None
    model.prior.shrinkage.fill_(model.sizes.shrinkage)


ACTIONS: dict[str, Callable[[VaeGan, Codes], str | None]] = {
    action.__name__: action for action in (fit_sampler, standard, whiten, fold, center_style, quantize_style, shrink_to_class_mean)
}
CHANGE_CODES = ("center_style", "quantize_style", "shrink_to_class_mean")  # what follows them is measured on other codes
# The size of the model that an action needs.
REQUIRES = {
    "whiten": "has_flow",
    "fold": "has_flow",
    "center_style": "style_centered",
    "quantize_style": "style_step",
    "shrink_to_class_mean": "shrinkage",
}


def act(model: VaeGan, actions: Sequence[str], codes: Callable[[], Codes]) -> list[str]:
    """Do the named actions in their order, and return what they say; codes are made anew only behind an action that changes them."""
    found, said = None, list[str]()
    for action in actions:
        found = found or codes()
        said.append(ACTIONS[action](model, found) or "")
        if action in CHANGE_CODES:
            found = None
    return [text for text in said if text]
