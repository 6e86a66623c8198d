"""The whole model: two encoders, class Gaussians, flow, decoder, and the two opponents.

Puts the parts together and says how codes are read and drawn. Knows no losses, no optimisers, no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from twofold.model.blocks import BLOCKS, UPSAMPLINGS
from twofold.model.decoder import Decoder
from twofold.model.discriminators import Discriminator, LatentClassifier
from twofold.model.encoders import ClassEncoder, StyleEncoder, Trunk
from twofold.model.flow import ClassFlow
from twofold.model.posterior import DiagonalGaussian
from twofold.model.prior import ClassPrior, FittedPrior

DECODER_TAKES = ("z_s", "mean")


def _is(description: str) -> object:
    return Field(description=description)


@dataclass(frozen=True)
class Sizes:
    """Everything that decides what the model is: the shapes of its parameters, and what G takes (a configuration's `[model]` table).

    Raises ValueError, naming the key, where no model can be built.
    """

    dim_s: Annotated[int, _is("length of the class code z_s")] = 16
    dim_u: Annotated[int, _is("length of the style code z_u")] = 16
    blocks: Annotated[
        str, _is("what encoders, decoder and discriminator are built of: plain convolutions, or residual blocks for 32x32 and larger")
    ] = "plain"
    encoder_s_widths: Annotated[tuple[int, ...], _is("channels of E_s at each resolution, largest picture first")] = (24, 48, 96)
    encoder_u_widths: Annotated[tuple[int, ...], _is("channels of E_u at each resolution, largest picture first")] = (16, 32, 64)
    style_centered: Annotated[
        bool, _is("the mean of the class that is read is subtracted from every code of E_u, so that no linear map of codes finds the class")
    ] = False
    style_step: Annotated[
        float, _is("E_u's means are rounded to so many posterior deviations, once `quantize_style` has measured them; 0: never")
    ] = 0.0
    shrinkage: Annotated[
        float, _is("how far `shrink_to_class_mean` moves z_s onto the mean of the class it is read as; 0: not at all, 1: all the way")
    ] = 0.0
    decoder_takes: Annotated[str, _is("what G takes for the class: z_s, or the mean of the class that z_s is read as")] = "z_s"
    decoder_hidden: Annotated[int, _is("hidden layer of G, before the smallest grid")] = 128
    decoder_widths: Annotated[tuple[int, ...], _is("channels of G at each resolution, smallest grid first")] = (56, 32, 16)
    decoder_modulated: Annotated[bool, _is("the codes scale and shift the channels of every grid of G, not of the smallest alone")] = False
    upsampling: Annotated[
        str, _is("how G doubles its grid: by 4x4 transposed convolutions of stride 2, or by repeated pixels and 3x3 convolutions")
    ] = "transposed"
    discriminator_widths: Annotated[
        tuple[int, ...], _is("channels of D; each but the last halves the picture, so D is as deep as there are widths")
    ] = (32, 64, 96)
    classifier_hidden: Annotated[int, _is("hidden layer of the latent classifier C")] = 256
    flow_layers: Annotated[int, _is("affine couplings of the flow; 0: no flow, z_u is E_u's code")] = 8
    flow_hidden: Annotated[int, _is("hidden width of the networks in the couplings")] = 128
    flow_affine: Annotated[bool, _is("with flow_layers = 0: the flow is the whitening of each class alone, for a few thousand codes")] = (
        False
    )
    dead_variance: Annotated[
        float, _is("dimensions of E_u's mean of a smaller variance are dead: `quantize_style` and `whiten` set them to 0; 0: none is")
    ] = 0.0
    dropout: Annotated[float, _is("dropout before the head of E_s")] = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.shrinkage <= 1:
            raise ValueError("shrinkage must be 0 to 1")
        if not self.style_step >= 0:
            raise ValueError("style_step must be 0 or more")
        if not self.dead_variance >= 0:
            raise ValueError("dead_variance must be 0 or more")
        if self.flow_affine and self.flow_layers:
            raise ValueError("flow_affine needs flow_layers = 0")
        if len(self.discriminator_widths) < 2:
            raise ValueError("discriminator_widths must be two numbers or more")
        for key, allowed in (("blocks", BLOCKS), ("decoder_takes", DECODER_TAKES), ("upsampling", UPSAMPLINGS)):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key} must be one of {', '.join(allowed)}")

    @property
    def has_flow(self) -> bool:
        """Whether there is a flow between E_u's code and z_u."""
        return self.flow_layers > 0 or self.flow_affine


# The parts, and the sizes that decide the shape of each, or what it is given.
SIZES_OF = {
    "encoder_s": ("dim_s", "blocks", "encoder_s_widths", "dropout"),
    "prior": ("dim_s", "shrinkage"),
    "encoder_u": ("dim_u", "blocks", "encoder_u_widths", "style_centered", "style_step"),
    "decoder": ("dim_s", "dim_u", "blocks", "decoder_takes", "decoder_hidden", "decoder_widths", "decoder_modulated", "upsampling"),
    "flow": ("dim_u", "flow_layers", "flow_hidden", "flow_affine", "dead_variance"),
    "discriminator": ("blocks", "discriminator_widths"),
    "classifier": ("dim_u", "classifier_hidden"),
}
PARTS = tuple(SIZES_OF)


class VaeGan(nn.Module):
    """The parts, by the names that a configuration uses: see PARTS. `fitted` is measured, never trained.

    Args: sizes, class_weights [K] (training frequencies), channels, height and width of the pictures.
    Raises ValueError where the widths do not suit pictures of this size.
    """

    def __init__(self, sizes: Sizes, class_weights: Tensor, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.sizes = sizes
        picture = (channels, height, width)
        classes = len(class_weights)
        self.encoder_s = ClassEncoder(Trunk(*picture, sizes.encoder_s_widths, sizes.dropout, sizes.blocks), sizes.dim_s)
        self.prior = ClassPrior(class_weights, sizes.dim_s, shrinks=sizes.shrinkage > 0)
        trunk_u = Trunk(*picture, sizes.encoder_u_widths, blocks=sizes.blocks)
        self.encoder_u = StyleEncoder(trunk_u, sizes.dim_u, sizes.style_step > 0, classes if sizes.style_centered else 0)
        drawn = (sizes.decoder_hidden, sizes.decoder_widths, *picture, sizes.blocks, sizes.decoder_modulated, sizes.upsampling)
        self.decoder = Decoder(sizes.dim_s, sizes.dim_u, *drawn)
        self.flow = ClassFlow(sizes.dim_u, classes, sizes.flow_layers, sizes.flow_hidden) if sizes.has_flow else None
        self.discriminator = Discriminator(channels, sizes.discriminator_widths, classes, sizes.blocks)
        self.classifier = LatentClassifier(sizes.dim_u, classes, sizes.classifier_hidden)
        self.fitted = FittedPrior(classes, sizes.dim_s, sizes.dim_u)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.prior.means.device

    def class_point(self, x: Tensor) -> Tensor:
        """Pictures [B, C, H, W] -> z_s [B, D_s] as it is served: what E_s says, shrunk where the prior shrinks."""
        # z_s = E_s(x), or m + (1 - a) (E_s(x) - m), m = E[mu_c | E_s(x)]
        return self.prior.shrunk(self.encoder_s(x))

    def read_class(self, z_s: Tensor) -> Tensor:
        """The class that z_s [B, D_s] is read as: argmax of the mixture posterior, [B].

        The condition of the flow on both sides, so that f and f^-1 share it even where the class is misread.
        """
        # c(z_s) = argmax_k log pi_k + log N(z_s; mu_k, Sigma_k)
        return self.prior.logits(z_s).argmax(1)

    def class_code(self, z_s: Tensor, label: Tensor | None = None) -> Tensor:
        """z_s [B, D_s] -> what G takes of it: z_s itself, or mu of the class `label` [B] (of the class read, where it is not given)."""
        # z_s, or mu_y: with the mean G sees K class codes only, as if the label were its input
        if self.sizes.decoder_takes == "z_s":
            return z_s
        return self.prior.means[self.read_class(z_s) if label is None else label]

    def style_from_code(self, q: DiagonalGaussian, label: Tensor) -> DiagonalGaussian:
        """E_u's q(e | x) [B, D_u] -> q(z_u | x) [B, D_u], through the flow of the class `label` [B] if there is one."""
        # z_u = f(e; c): the mean f(m; c), the log-variance to first order in e - m
        return q if self.flow is None else DiagonalGaussian(*self.flow.forward_with_log_var(q.mean, q.log_var, label))

    def code_from_style(self, z_u: Tensor, z_s: Tensor) -> Tensor:
        """z_u [B, D_u], z_s [B, D_s] -> E_u's code [B, D_u] that the decoder takes beside z_s."""
        # e = f^-1(z_u; c(z_s)); under another z_s this is a swap
        return z_u if self.flow is None else self.flow.inverse(z_u, self.read_class(z_s))

    def read(self, x: Tensor) -> tuple[Tensor, DiagonalGaussian, Tensor]:
        """Pictures [B, C, H, W] in [0, 1] -> z_s [B, D_s], q(z_u | x), log p(c | z_s) [B, K]."""
        # z_s = E_s(x);  q(e | x) = E_u(x);  z_u = f(e; c(z_s))
        # p(c | z_s) is the softmax of the logits, so the posterior of the class costs no network of its own
        z_s = self.class_point(x)
        logits = self.prior.logits(z_s)
        read = logits.argmax(1)
        return z_s, self.style_from_code(self.encoder_u.within_class(x, read), read), logits.log_softmax(1)

    def decode(self, z_s: Tensor, z_u: Tensor) -> Tensor:
        """z_s [B, D_s], z_u [B, D_u] -> pictures [B, C, H, W] in [0, 1]."""
        # x = G(z_s, f^-1(z_u; c(z_s)))
        return self.draw(z_s, self.code_from_style(z_u, z_s))

    def draw(self, z_s: Tensor, code: Tensor) -> Tensor:
        """z_s [B, D_s], E_u's code [B, D_u] -> pictures [B, C, H, W] in [0, 1]."""
        # x = G(z_s, e)
        return self.decoder(self.class_code(z_s), code)

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, DiagonalGaussian, Tensor]:
        """Pictures [B, C, H, W] -> z_s [B, D_s], E_u's q(e | x) *before* the flow, and the class read from z_s [B]."""
        z_s = self.class_point(x)
        read = self.read_class(z_s)
        return z_s, self.encoder_u.within_class(x, read), read
