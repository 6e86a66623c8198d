"""What is measured on the codes of the training split between stages: the actions that a stage names in `before` and `after`.

Knows the model and codes; knows nothing of losses or of time. preflight.py refuses an action whose size of the model is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from twofold.model.vae_gan import VaeGan
from twofold.training.trainer.latents import Codes


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
def whiten(model: VaeGan, codes: Codes) -> None:
    """Set the flow's per-class whitening from the codes, by the class read."""
    assert model.flow is not None
    model.flow.whiten(codes.q.mean, codes.read)


@torch.no_grad()
def fold(model: VaeGan, codes: Codes) -> None:
    """Fold the per-class mean and deviation of z_u into the flow, by the class read."""
    assert model.flow is not None
    model.flow.fold(codes.q.mean, codes.read)


@torch.no_grad()
def quantize_style(model: VaeGan, codes: Codes) -> None:
    """Set the step that E_u's means are rounded to: `style_step` root mean square deviations of its posterior, per dimension."""
    assert model.encoder_u.style_step is not None
    # step_j = style_step * sqrt(E_x exp v_j(x))
    model.encoder_u.style_step.copy_(model.sizes.style_step * codes.q.log_var.exp().mean(0).sqrt())


@torch.no_grad()
def shrink_to_class_mean(model: VaeGan, codes: Codes) -> None:
    """From now on z_s is moved by `shrinkage` of its way to the mean of the class that it is read as."""
    assert model.prior.shrinkage is not None
    model.prior.shrinkage.fill_(model.sizes.shrinkage)


ACTIONS: dict[str, Callable[[VaeGan, Codes], None]] = {
    action.__name__: action for action in (fit_sampler, standard, whiten, fold, quantize_style, shrink_to_class_mean)
}
# The size of the model that an action needs above 0.
REQUIRES = {"whiten": "flow_layers", "fold": "flow_layers", "quantize_style": "style_step", "shrink_to_class_mean": "shrinkage"}


def act(model: VaeGan, actions: Sequence[str], codes: Callable[[], Codes]) -> None:
    """Do the named actions in their order; the codes are made once, and only if there is anything to do."""
    if actions:
        found = codes()
        for action in actions:
            ACTIONS[action](model, found)
