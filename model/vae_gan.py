"""The whole model: two encoders, class Gaussians, flow, decoder, and the two opponents.

Puts the parts together and says how codes are read and drawn. Knows no losses, no optimisers, no files.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from twofold.model.blocks import BLOCKS
from twofold.model.decoder import Decoder
from twofold.model.discriminators import Discriminator, LatentClassifier
from twofold.model.encoders import ClassEncoder, StyleEncoder, Trunk
from twofold.model.flow import FLOW_KINDS, ClassFlow
from twofold.model.posterior import DiagonalGaussian
from twofold.model.prior import ClassPrior, FittedPrior


@dataclass(frozen=True)
class Sizes:
    """Everything that decides what the model is: the shapes of its parameters, and what G takes (a configuration's `[model]` table)."""

    dim_s: int = 16
    dim_u: int = 16
    blocks: str = "plain"  # plain | residual: what encoders, decoder and discriminator are built of
    encoder_s_widths: tuple[int, ...] = (24, 48, 96)  # channels at each resolution, largest picture first
    encoder_u_widths: tuple[int, ...] = (16, 32, 64)
    style_step: float = 0.0  # E_u's means are rounded to so many posterior deviations, once `quantize_style` has measured them; 0: never
    shrinkage: float = 0.0  # how far `shrink_to_class_mean` takes z_s to the mean of the class it is read as; 0: never, 1: all the way
    decoder_takes: str = "z_s"  # z_s | mean: of the class that z_s is read as, as conditional models without a z_s have it
    decoder_hidden: int = 128
    decoder_widths: tuple[int, ...] = (56, 32, 16)  # smallest grid first
    decoder_modulated: bool = False  # the codes scale and shift the channels of every grid
    discriminator_widths: tuple[int, ...] = (32, 64, 96)
    classifier_hidden: int = 256
    flow_layers: int = 8  # 0: no flow, z_u is E_u's code
    flow_hidden: int = 128
    flow_kind: str = "affine"  # affine | spline: how a coupling bends
    flow_bins: int = 8  # of each spline
    flow_condition: str = "class"  # class | code: the class read from z_s alone, or z_s itself beside it
    dropout: float = 0.0  # before the head of E_s
    prior_radius: float = 4.0  # norm of the initial class means
    log_var_bounds: tuple[float, ...] = (-8.0, 8.0)  # of the class Gaussians, nats

    def __post_init__(self) -> None:
        if len(self.log_var_bounds) != 2 or self.log_var_bounds[0] >= self.log_var_bounds[1]:
            raise ValueError("log_var_bounds must be two numbers, the lower one first")
        if not 0 <= self.shrinkage <= 1:
            raise ValueError("shrinkage must be 0 to 1")
        if not self.style_step >= 0:
            raise ValueError("style_step must be 0 or more")
        if len(self.discriminator_widths) < 2:
            raise ValueError("discriminator_widths must be two numbers or more")
        for key, allowed in (
            ("blocks", BLOCKS),
            ("decoder_takes", ("z_s", "mean")),
            ("flow_kind", FLOW_KINDS),
            ("flow_condition", ("class", "code")),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key} must be one of {', '.join(allowed)}")
        if self.flow_kind == "spline" and self.flow_layers and (self.dim_u < 2 or self.flow_bins < 2):
            raise ValueError("spline couplings need dim_u and flow_bins of 2 at least")


# The parts, and the sizes that decide the shape of each, or what it is given.
SIZES_OF = {
    "encoder_s": ("dim_s", "blocks", "encoder_s_widths", "dropout"),
    "prior": ("dim_s", "prior_radius", "log_var_bounds", "shrinkage"),
    "encoder_u": ("dim_u", "blocks", "encoder_u_widths", "style_step"),
    "decoder": ("dim_s", "dim_u", "blocks", "decoder_takes", "decoder_hidden", "decoder_widths", "decoder_modulated"),
    "flow": ("dim_s", "dim_u", "flow_layers", "flow_hidden", "flow_kind", "flow_bins", "flow_condition"),
    "discriminator": ("blocks", "discriminator_widths"),
    "classifier": ("dim_u", "classifier_hidden"),
}
PARTS = tuple(SIZES_OF)


class VaeGan(nn.Module):
    """The parts, by the names that a configuration uses: see PARTS. `fitted` is measured, never trained."""

    def __init__(self, sizes: Sizes, class_weights: Tensor, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.sizes = sizes
        picture = (channels, height, width)
        classes = len(class_weights)
        self.encoder_s = ClassEncoder(Trunk(*picture, sizes.encoder_s_widths, sizes.dropout, sizes.blocks), sizes.dim_s)
        bounds = (sizes.log_var_bounds[0], sizes.log_var_bounds[1])
        self.prior = ClassPrior(class_weights, sizes.dim_s, sizes.prior_radius, bounds, sizes.shrinkage > 0)
        self.encoder_u = StyleEncoder(Trunk(*picture, sizes.encoder_u_widths, blocks=sizes.blocks), sizes.dim_u, sizes.style_step > 0)
        drawn = (sizes.decoder_hidden, sizes.decoder_widths, *picture, sizes.blocks, sizes.decoder_modulated)
        self.decoder = Decoder(sizes.dim_s, sizes.dim_u, *drawn)
        read_s = sizes.dim_s if sizes.flow_condition == "code" else 0
        bent = (sizes.flow_layers, sizes.flow_hidden, sizes.flow_kind, sizes.flow_bins, read_s)
        self.flow = ClassFlow(sizes.dim_u, classes, *bent) if sizes.flow_layers else None
        self.discriminator = Discriminator(channels, sizes.discriminator_widths, classes, sizes.blocks)
        self.classifier = LatentClassifier(sizes.dim_u, classes, sizes.classifier_hidden)
        self.fitted = FittedPrior(classes, sizes.dim_s, sizes.dim_u)

    def class_point(self, x: Tensor) -> Tensor:
        """Pictures [B, C, H, W] -> z_s [B, D_s] as it is served: what E_s says, settled where the prior has been told to."""
        return self.prior.shrunk(self.encoder_s(x))

    def read_class(self, z_s: Tensor) -> Tensor:
        """The class that z_s [B, D_s] is read as: argmax of the mixture posterior, [B].

        The condition of the flow on both sides, so that f and f^-1 share it even where the class is misread.
        """
        return self.prior.logits(z_s).argmax(1)

    def class_code(self, z_s: Tensor, label: Tensor | None = None) -> Tensor:
        """z_s [B, D_s] -> what G takes of it: z_s itself, or mu of the class `label` [B] (of the class read, where it is not given)."""
        if self.sizes.decoder_takes == "z_s":
            return z_s
        return self.prior.means[self.read_class(z_s) if label is None else label]

    def style_from_code(self, q: DiagonalGaussian, label: Tensor, z_s: Tensor) -> DiagonalGaussian:
        """E_u's q(e | x) -> q(z_u | x), through the flow of z_s and the class read from it (first-order log-variance) if there is one."""
        if self.flow is None:
            return q
        return DiagonalGaussian(*self.flow.forward_with_log_var(q.mean, q.log_var, label, z_s))

    def code_from_style(self, z_u: Tensor, z_s: Tensor) -> Tensor:
        """z_u [B, D_u] -> what the decoder takes beside z_s: f^-1(z_u; z_s and its class)."""
        return z_u if self.flow is None else self.flow.inverse(z_u, self.read_class(z_s), z_s)

    def read(self, x: Tensor) -> tuple[Tensor, DiagonalGaussian, Tensor]:
        """Pictures [B, C, H, W] in [0, 1] -> z_s [B, D_s], q(z_u | x), log p(c | z_s) [B, K]."""
        z_s = self.class_point(x)
        logits = self.prior.logits(z_s)
        return z_s, self.style_from_code(self.encoder_u(x), logits.argmax(1), z_s), logits.log_softmax(1)

    def decode(self, z_s: Tensor, z_u: Tensor) -> Tensor:
        """z_s [B, D_s], z_u [B, D_u] -> pictures [B, C, H, W] in [0, 1]."""
        return self.draw(z_s, self.code_from_style(z_u, z_s))

    def draw(self, z_s: Tensor, code: Tensor) -> Tensor:
        """z_s [B, D_s], E_u's code [B, D_u] -> pictures [B, C, H, W] in [0, 1]."""
        return self.decoder(self.class_code(z_s), code)

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, DiagonalGaussian, Tensor]:
        """Pictures -> z_s, E_u's q(e | x) *before* the flow, and the class read from z_s."""
        z_s = self.class_point(x)
        return z_s, self.encoder_u(x), self.read_class(z_s)
