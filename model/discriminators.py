"""The two opponents: D on pictures (which class it should be is an input), C on style codes. Never exported.

D(x, y) = w . phi(x) + b + v_y . phi(x)        Miyato & Koyama 2018
C(z_u) = softmax logits of the class            Zheng & Sun 2019, section 3
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from twofold.model.blocks import Residual, discriminator_level


class Discriminator(nn.Module):
    """D(x, y): projection discriminator with spectral normalisation on the convolutions. Miyato & Koyama 2018.

    pictures [B, C, H, W] in [0, 1], label [B] -> score [B]. Each width but the last halves the picture: as deep as there are widths.
    """

    def __init__(self, channels: int, widths: Sequence[int], classes: int, blocks: str = "plain") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths[:-2]), widths[:-1], strict=True):
            layers += discriminator_level(blocks, before, after, halves=True)
        layers += discriminator_level(blocks, widths[-2], widths[-1], halves=False)
        self.trunk = nn.Sequential(*layers)
        self.score = nn.Linear(widths[-1], 1)
        self.embedding = nn.Embedding(classes, widths[-1])
        # v_y ~ N(0, I / F): <v_y, phi> begins with the variance |phi|^2 / F, whatever the width F
        nn.init.normal_(self.embedding.weight, std=widths[-1] ** -0.5)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Pictures [B, C, H, W] in [0, 1], label [B] -> score [B], float32."""
        # [B, C, H, W] -> [B, F, h, w] -> [B, F]
        # phi(x): mean over the last grid, of pictures on [-1, 1]
        features = self.trunk(2 * x - 1).float().mean((2, 3))
        # psi(phi) + <v_y, phi>: whether it is real, and whether it is of class y. A log density ratio of (x, y) splits into that of x,
        # which is psi, and that of y given x, which is linear in phi where both are softmax classifiers on phi
        return self.score(features)[:, 0] + (self.embedding(label) * features).sum(1)

    def features(self, x: Tensor) -> list[Tensor]:
        """Pictures [B, C, H, W] in [0, 1] -> what each level but the first says of them, [B, C', H', W'] each."""
        found, h = list[Tensor](), 2 * x - 1
        for layer in self.trunk:
            h = layer(h)
            if isinstance(layer, nn.LeakyReLU | Residual):  # the end of a level
                found.append(h)
        return found[1:]


class LatentClassifier(nn.Sequential):
    """C(z_u): one hidden layer of 256, as the authors' code: [B, D_u] -> logits [B, K]."""

    def __init__(self, dim_u: int, classes: int, hidden: int = 256) -> None:
        # logits = W2 relu(W1 z_u + b1) + b2
        super().__init__(nn.Linear(dim_u, hidden), nn.ReLU(), nn.Linear(hidden, classes))
