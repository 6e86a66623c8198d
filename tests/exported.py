"""A model that has seen real pictures, and the bundle exported of it: seconds instead of a training, where no good model is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from twofold.model.contract import Preprocessing
from twofold.model.couplings import AffineCoupling
from twofold.model.vae_gan import Sizes, VaeGan
from twofold.training.config.schema import read
from twofold.training.data.dataset import Pictures, load_for, preprocessing_of
from twofold.training.data.provenance import manifest
from twofold.training.export.bundle import CardFacts, export
from twofold.training.trainer.calibration import fit_sampler, fold, whiten
from twofold.training.trainer.latents import encode, to_tensor
from twofold.training.trainer.trainer import build

SAMPLE = Path(__file__).parent / "data" / "fashion-sample"
SMALL = Sizes(
    dim_s=3,
    dim_u=2,
    encoder_s_widths=(4, 6),
    encoder_u_widths=(4, 6),
    decoder_hidden=8,
    decoder_widths=(6, 4),
    discriminator_widths=(4, 4),
    flow_layers=0,
)


@dataclass(frozen=True)
class Exported:
    """The model as it was handed to the export, the held-out pictures it was verified on, and its bundle."""

    model: VaeGan
    held: Pictures
    bundle: Path


def make_exported(folder: Path) -> Exported:
    """Export a model of the sizes of tiny.toml; every part of it has moved away from its initial values."""
    config = read("tiny")
    kept, held = load_for(config.data, SAMPLE)
    model = lived_in(build(config, kept), kept)
    card: CardFacts = {
        "name": "lived-in",
        "preprocessing": preprocessing_of(config.data, 1),
        "data": {**manifest(kept, held), "licence": "MIT"},
        "training": config.to_dict(),
        "revision": "0000000",
    }
    return Exported(model, held, export(model, held, folder / "bundle", card))


def small_model(seed: int = 0) -> VaeGan:
    """For 8x8 grey pictures of four classes, without a flow: exports fastest."""
    torch.manual_seed(seed)
    return VaeGan(SMALL, torch.full((4,), 0.25), 1, 8, 8).eval()


def small_card(name: str = "small") -> CardFacts:
    return {"name": name, "preprocessing": Preprocessing((255,))}


def lived_in(model: VaeGan, pictures: Pictures) -> VaeGan:
    """Codes and pictures spread out, BatchNorm has statistics and a scale of its own, the couplings bend, codes are whitened and fitted."""
    torch.manual_seed(1)
    with torch.no_grad():
        for part in (model.encoder_s, model.encoder_u, model.decoder):
            for layer in part.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    nn.init.kaiming_normal_(layer.weight)
                elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                    layer.weight.uniform_(0.5, 1.5)
                    layer.bias.normal_(std=0.2)
                    layer.momentum = None  # the plain mean of what it sees below
        for coupling in (part for part in model.modules() if isinstance(part, AffineCoupling)):
            coupling.last.weight.normal_(std=0.05)
            coupling.condition.weight.normal_()
        model.train()
        for start in range(0, 192, 64):
            x = to_tensor(pictures.pixels[start : start + 64])
            model.decoder(model.encoder_s(x), model.encoder_u(x).mean)
        model.eval()
    for action in (whiten, fold, fit_sampler):
        action(model, encode(model, pictures.pixels, pictures.labels))
    return model
