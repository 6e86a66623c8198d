"""`twofold-train toy`: the paper's three moons, learned by our method and by a cVAE-GAN, side by side in one picture.

Points of the plane instead of pictures, codes of two numbers each, small networks; the class Gaussians, the posterior, the flow and the
losses are the model's own. The style code is then the place along a moon and across it.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from twofold.model import losses
from twofold.model.flow import ClassFlow
from twofold.model.posterior import DiagonalGaussian
from twofold.model.prior import ClassPrior
from twofold.training.reporting import charts
from twofold.training.trainer.optim import follow

PLOT, FIGURES = "three-moons.svg", "three-moons.json"
NAMES = ("left", "middle", "right")
CENTRES, SIGNS = np.array([[-1.2, -0.3], [0.0, 0.3], [1.2, -0.3]]), np.array([1, -1, 1])  # of half circles of radius 1: up, down, up
NOISE = 0.15  # deviation of a point from its arc
ROWS, MEASURED, SHOWN = 2_000, 3_000, 400  # per class: to learn from, to measure, to draw
BATCH, SNAPSHOTS = 200, (3, 10, 30, 100)  # epochs after which points are drawn
DIM_S = DIM_U = 2
BOX, WIDTH = ((-2.6, 2.6), (-1.3, 1.3)), 240  # of the plots; their pixels across
RECON, ADVERSARIAL = 50.0, 1.0  # weights: a reconstruction is sharp to a deviation of 0.1

Points = NDArray[np.float32]
Labels = NDArray[np.int64]


class Result(TypedDict):
    """three-moons.json. `figures` are by method and epoch; "real" are other real points. Seconds are the processor's."""

    seed: int
    figures: dict[str, dict[int, dict[str, float]]]
    seconds: dict[str, float]


# ------------------------------------------------------------------------------------------------------ data and measures


def moons(rows: int, rng: np.random.Generator) -> tuple[Points, Labels]:
    """Points [3 * rows, 2] and labels: so many of every moon, evenly along its arc, off it by NOISE."""
    labels = np.repeat(np.arange(3), rows)
    angle = np.pi * rng.random(len(labels))
    arc = np.stack([np.cos(angle), SIGNS[labels] * np.sin(angle)], 1)
    return (CENTRES[labels] + (1 + NOISE * rng.normal(size=(len(labels), 1))) * arc).astype(np.float32), labels


def spread(points: Points, labels: Labels) -> float:
    """Root mean square distance of points [N, 2] from the arc of their class; real points have NOISE."""
    away = points - CENTRES[labels]
    radial = np.linalg.norm(away, axis=1) - 1
    ends = np.linalg.norm(np.abs(away) - [1, 0], axis=1)
    return float(np.sqrt(np.square(np.where(away[:, 1] * SIGNS[labels] >= 0, radial, ends)).mean()))


def sliced_wasserstein(points: Points, labels: Labels, others: Points, other_labels: Labels, directions: int = 64) -> float:
    """Mean over classes and directions of the distance between sorted projections; both have as many points of every class."""
    angle = np.pi * np.arange(directions) / directions
    axes = np.stack([np.cos(angle), np.sin(angle)])
    gaps = [np.abs(np.sort(points[labels == k] @ axes, 0) - np.sort(others[other_labels == k] @ axes, 0)).mean() for k in range(3)]
    return float(np.mean(gaps))


# ---------------------------------------------------------------------------------------------------------------- methods


def _mlp(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs))


def _posterior(found: Tensor) -> DiagonalGaussian:
    mean, log_var = found.chunk(2, 1)
    return DiagonalGaussian(mean, log_var.clamp(-8, 4))


class ToyDiscriminator(nn.Module):
    """D(x, y) on points [B, 2]: the projection discriminator of `model/discriminators.py` without its convolutions."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers = [spectral_norm(nn.Linear(2, width)), nn.LeakyReLU(0.2), spectral_norm(nn.Linear(width, width)), nn.LeakyReLU(0.2)]
        self.trunk, self.score, self.embedding = nn.Sequential(*layers), nn.Linear(width, 1), nn.Embedding(3, width)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        features = self.trunk(x)
        return self.score(features)[:, 0] + (self.embedding(label) * features).sum(1)


class Method(Protocol):
    """A generator of points that learns a step at a time."""

    @property
    def generator(self) -> nn.Module: ...
    def step(self, x: Tensor, label: Tensor) -> None: ...
    def sample(self, label: Tensor, generator: nn.Module) -> Tensor: ...


def _adam(*parts: nn.Module, lr: float = 1e-3) -> torch.optim.Adam:
    return torch.optim.Adam([p for part in parts for p in part.parameters()], lr, betas=(0.0, 0.9))


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


class Opponents:
    """The game that both methods play: the discriminator against reconstructions and samples."""

    def __init__(self) -> None:
        self.discriminator = ToyDiscriminator()
        self.optimizer = _adam(self.discriminator)

    def fool(self, *fakes: Tensor, label: Tensor) -> Tensor:
        return ADVERSARIAL * torch.stack([losses.generator_loss(self.discriminator(fake, label)) for fake in fakes]).mean()

    def learn(self, x: Tensor, *fakes: Tensor, label: Tensor) -> None:
        caught = torch.stack([losses.discriminator_fake_loss(self.discriminator(fake.detach(), label)) for fake in fakes]).mean()
        _update(self.optimizer, losses.discriminator_real_loss(self.discriminator(x, label)) + caught)


class Ours:
    """Class Gaussians, two encoders, flow and G, all in one stage; z_s reaches G detached and under one deviation of its class."""

    def __init__(self) -> None:
        self.prior, self.flow = ClassPrior(torch.full((3,), 1 / 3), DIM_S), ClassFlow(DIM_U, 3, layers=6, hidden=32)
        self.encoder_s, self.encoder_u = _mlp(2, DIM_S), _mlp(2, 2 * DIM_U)
        self.generator, self.game = _mlp(DIM_S + DIM_U, 2), Opponents()
        self.for_class, self.for_style = _adam(self.encoder_s, self.prior), _adam(self.encoder_u, self.generator)
        self.for_flow = _adam(self.flow)

    def step(self, x: Tensor, label: Tensor) -> None:
        z_s = self.encoder_s(x)
        mixture = losses.class_loss(self.prior.logits(z_s), label) + 0.1 * losses.log_var_regularizer(self.prior.log_vars)
        _update(self.for_class, mixture + 0.1 / DIM_S * losses.likelihood_loss(self.prior.log_prob(z_s, label)))
        with torch.no_grad():
            noisy = z_s + (0.5 * self.prior.log_vars[label]).exp() * torch.randn_like(z_s)
            z_s_new, e_new = self.prior.sample(label), self.flow.inverse(torch.randn(len(x), DIM_U), label)
        q = _posterior(self.encoder_u(x))
        fakes = self.generator(torch.cat([noisy, q.sample()], 1)), self.generator(torch.cat([z_s_new, e_new], 1))
        codes = RECON * losses.recon_sse(x, fakes[0]) + losses.kl_sum(q) + losses.cka_penalty(q.mean, label)
        _update(self.for_style, codes + self.game.fool(*fakes, label=label))
        self.game.learn(x, *fakes, label=label)
        _update(self.for_flow, losses.flow_nll(*self.flow(DiagonalGaussian(q.mean.detach(), q.log_var.detach()).sample(), label)))

    def sample(self, label: Tensor, generator: nn.Module) -> Tensor:
        e = self.flow.inverse(torch.randn(len(label), DIM_U), label)
        return generator(torch.cat([self.prior.sample(label), e], 1))


class CvaeGan:
    """The label is an input of the encoder and of G instead of being read: x = G(y, z), z ~ N(0, I). Bao et al. 2017."""

    def __init__(self) -> None:
        self.encoder, self.generator, self.game = _mlp(2 + 3, 2 * DIM_U), _mlp(3 + DIM_U, 2), Opponents()
        self.for_codes = _adam(self.encoder, self.generator)

    def step(self, x: Tensor, label: Tensor) -> None:
        y = nn.functional.one_hot(label, 3).float()
        q = _posterior(self.encoder(torch.cat([x, y], 1)))
        fakes = self.generator(torch.cat([y, q.sample()], 1)), self.generator(torch.cat([y, torch.randn(len(x), DIM_U)], 1))
        codes = RECON * losses.recon_sse(x, fakes[0]) + losses.kl_sum(q)
        _update(self.for_codes, codes + self.game.fool(*fakes, label=label))
        self.game.learn(x, *fakes, label=label)

    def sample(self, label: Tensor, generator: nn.Module) -> Tensor:
        return generator(torch.cat([nn.functional.one_hot(label, 3).float(), torch.randn(len(label), DIM_U)], 1))


METHODS: dict[str, Callable[[], Method]] = {"ours": Ours, "cVAE-GAN": CvaeGan}


# ------------------------------------------------------------------------------------------------------------ the picture


def learn(method: Method, seed: int, snapshots: tuple[int, ...]) -> dict[int, tuple[Points, Labels]]:
    """{epoch: samples of it}, MEASURED of every class, drawn from the average of the generator's weights."""
    points, labels = (torch.from_numpy(array) for array in moons(ROWS, np.random.default_rng([seed, 0])))
    asked = torch.arange(3).repeat_interleave(MEASURED)
    average, step, found = copy.deepcopy(method.generator), 0, {}
    for epoch in range(1, max(snapshots) + 1):
        for rows in torch.randperm(len(points)).split(BATCH):
            method.step(points[rows], labels[rows])
            follow(average, method.generator, 0.99, step)
            step += 1
        if epoch in snapshots:
            with torch.no_grad():
                found[epoch] = method.sample(asked, average).numpy(), asked.numpy()
    return found


def toy(out: Path, seed: int = 0, snapshots: tuple[int, ...] = SNAPSHOTS, log: Callable[[str], object] = print) -> Result:
    """Train both methods, write the picture and the figures into the folder `out` (created) and return the figures."""
    real, again = (moons(MEASURED, np.random.default_rng([seed, 1 + i])) for i in range(2))
    drawn, seconds = {"real": {0: again}}, {}
    for name, make in METHODS.items():
        torch.manual_seed(seed)
        since = time.process_time()
        drawn[name] = learn(make(), seed, snapshots)
        seconds[name] = round(time.process_time() - since, 1)
    figures = {name: {epoch: _figures(*points, *real) for epoch, points in epochs.items()} for name, epochs in drawn.items()}
    for name, epochs in figures.items():
        log(
            f"{name}: "
            + "; ".join(f"epoch {epoch}: W {f['sliced_wasserstein']:.3f}, spread {f['spread']:.3f}" for epoch, f in epochs.items())
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / PLOT).write_text(_plot(drawn, figures), encoding="utf-8")
    result: Result = {"seed": seed, "figures": figures, "seconds": seconds}
    (out / FIGURES).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _figures(points: Points, labels: Labels, real: Points, real_labels: Labels) -> dict[str, float]:
    return {"sliced_wasserstein": sliced_wasserstein(points, labels, real, real_labels), "spread": spread(points, labels)}


@charts.styled
def _plot(drawn: Mapping[str, Mapping[int, tuple[Points, Labels]]], figures: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """SVG: a row of plots per method, real points first, then its samples after so many epochs; SHOWN points of every class."""
    (left, right), (low, high) = BOX
    height = round(WIDTH * (high - low) / (right - left))
    columns = 1 + max(len(drawn[name]) for name in METHODS)
    figure = charts.new_figure(12 + columns * (WIDTH + 12), len(METHODS) * (height + 56))
    figure.patch.set_facecolor("white")
    for j, name in enumerate(METHODS):
        top = j * (height + 56) + 28
        cells = [("real", "real", 0), *((f"epoch {epoch}", name, epoch) for epoch in drawn[name])]
        for i, (title, row, epoch) in enumerate(cells):
            axes = charts.empty_axes(figure, 12 + i * (WIDTH + 12), top, WIDTH, height, background="#f6f6f8")
            axes.set(xlim=BOX[0], ylim=BOX[1])
            measured = figures[row][epoch]
            caption = f"{title}: W {measured['sliced_wasserstein']:.3f}, spread {measured['spread']:.3f}"
            axes.text(0, -0.05, caption, transform=axes.transAxes, color="#444", va="top")
            for k, points in enumerate(_shown(*drawn[row][epoch])):
                charts.add_dots(axes, points, charts.hue(k, len(NAMES)), NAMES[k], size=2, alpha=0.7)
            if i == 0:
                axes.text(0, 1.06, name, transform=axes.transAxes, color="#222", fontsize=14, weight="bold")
    return charts.as_svg(figure)


def _shown(points: Points, labels: Labels) -> list[NDArray[np.float64]]:
    """SHOWN points of every class, those inside BOX."""
    low, high = np.array(BOX).T
    inside = np.all((points > low) & (points < high), axis=1)
    rows = [np.flatnonzero(labels == k)[:SHOWN] for k in range(len(NAMES))]
    return [points[mine[inside[mine]]].astype(np.float64) for mine in rows]
