"""The staged recipe for folders of pictures that nobody prepared, as a TOML text that explains its keys (docs/adr/0017).

Knows how sizes, widths, weights and lengths follow from the data; reads no files and measures nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from twofold.model.blocks import halvings
from twofold.training.config.schema import keys

MANY_CLASSES = 12  # more: random batches hold too few pictures of each for an exchange
STAGES = ("class encoder", "codes", "served")
SHARES = {"class encoder": 0.12, "codes": 0.48, "served": 0.40}  # of the time
# A stage gains little beyond so many epochs, or so many steps where that is more.
ENOUGH = {"class encoder": (40, 1200), "codes": (150, 8000), "served": (60, 4000)}
MIN_CODES_STEPS = 1000  # with fewer, smaller pictures are learned better
BATCH = {"class encoder": 64, "codes": 64, "served": 32}
# Weights per number of a picture: recon_nll grows with how many there are, so what stands against it does too.
KL, CYCLE_CLASS, CYCLE_STYLE, SPECTRUM = 0.003, 0.02, 0.04, 0.02


@dataclass(frozen=True)
class DatasetFacts:
    """What the recipe depends on."""

    name: str
    height: int
    width: int
    channels: int
    background: tuple[int, ...]
    classes: int
    rows: int  # training pictures
    fewest: int  # of a class
    group: str = ""  # as `[data]` takes it


def batch(facts: DatasetFacts, stage: str) -> int:
    """Pictures of a step; fewer where an epoch would be a few steps."""
    largest = BATCH[stage]
    while largest > 16 and facts.rows < 8 * largest:
        largest //= 2
    return largest


def codes_steps(facts: DatasetFacts, epochs: Mapping[str, float]) -> int:
    """Steps of the stage that decides most."""
    return int(epochs["codes"] * facts.rows / batch(facts, "codes"))


def lengths(facts: DatasetFacts, epoch_s: Mapping[str, float], budget_s: float) -> dict[str, float]:
    """Epochs of each stage, by the seconds of one, so that all fit into `budget_s` seconds. What a stage cannot use goes to the others."""
    limits = {s: max(float(epochs), steps * batch(facts, s) / facts.rows) for s, (epochs, steps) in ENOUGH.items()}
    left, unset, found = max(0.0, budget_s), list(STAGES), dict[str, float]()
    while unset:
        whole = sum(SHARES[s] for s in unset)
        wanted = {s: left * SHARES[s] / whole / epoch_s[s] for s in unset}
        final = [s for s in unset if wanted[s] >= limits[s]] or unset
        found |= {s: _rounded(min(wanted[s], limits[s])) for s in final}
        left -= sum(found[s] * epoch_s[s] for s in final)
        unset = [s for s in unset if s not in final]
    return found


def _rounded(epochs: float) -> float:
    return float(int(epochs)) if epochs >= 20 else max(0.01, int(epochs * 100) / 100)


def card_name(name: str) -> str:
    """A name as a bundle's card takes it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:64].strip("-") or "model"


def text(facts: DatasetFacts, epochs: Mapping[str, float], header: str) -> str:
    """The TOML text, every key explained where it first stands. `header` is put above it as comments, `epochs` are by stage."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return comment + _explained(_TEMPLATE.format(**_values(facts), **_stage_values(facts, epochs)))


def _values(facts: DatasetFacts) -> dict[str, object]:
    sides = [min(facts.height, facts.width) >> i for i in range(halvings(facts.height, facts.width) + 1)]
    numbers = facts.height * facts.width * facts.channels
    many = facts.classes > MANY_CLASSES
    return {
        "name": json.dumps(card_name(facts.name)),
        "origin": json.dumps("".join(c for c in facts.name if c.isprintable()), ensure_ascii=False),
        "size": f"height = {facts.height}\nwidth = {facts.width}\nchannels = {facts.channels}",
        "background": list(facts.background),
        "group": json.dumps(facts.group, ensure_ascii=False),
        "dim_s": 16 if facts.classes <= 20 else 32 if facts.classes <= 200 else 64,
        "dim_u": dim_u(facts),
        "widths": _widths(facts, sides),
        "kl": f"{max(1.0, KL * numbers):.3g}",
        "cycle_class": f"{CYCLE_CLASS * numbers:.3g}",
        "cycle_style": f"{CYCLE_STYLE * numbers:.3g}",
        "spectrum": f"{SPECTRUM * numbers:.3g}",
        "clip": numbers,
        "augmentation": _augmentation(facts),
        "by_class": "\npictures_per_class = 4" if many else "",
    }


def _augmentation(facts: DatasetFacts) -> str:
    """Photographs are turned, scaled and recoloured a little; drawings on black or white are moved alone, which keeps their pixels."""
    lines = [f"shift = {max(1, round(min(facts.height, facts.width) / 28))}"]
    if not set(facts.background) <= {0, 255}:
        lines += ["rotate = 8.0", "scale = 0.1", "jitter = 0.15"]
    return "\n".join(lines)


def _stage_values(facts: DatasetFacts, epochs: Mapping[str, float]) -> dict[str, object]:
    values: dict[str, object] = {}
    for stage in STAGES:
        key = stage.split()[0]
        steps = epochs[stage] * facts.rows / batch(facts, stage)
        values[f"{key}_epochs"] = f"{epochs[stage]:g}"
        values[f"{key}_batch"] = batch(facts, stage)
        values[f"{key}_ema"] = _ema(steps)
    return values


def _explained(toml: str) -> str:
    """The text with the description of every key behind it, where the key first stands in a table of its kind."""
    table, seen, lines = "", set[tuple[str, str]](), []
    for line in toml.splitlines():
        if line.startswith("["):
            table = line.strip("[]")
        found = re.match(r"(\w+) = ", line)
        if found and (table, found[1]) not in seen:
            seen.add((table, found[1]))
            line += f"  # {_plain(keys()[table][found[1]]['description'])}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _plain(description: str) -> str:
    """A description without the references to the literature, which only the documentation has."""
    return re.sub(r" \[\d+\]", "", description)


def dim_u(facts: DatasetFacts) -> int:
    """Dimensions of the style: by size; the whitening of a class needs several pictures of it for every dimension."""
    side = max(facts.height, facts.width)
    wanted = 16 if side <= 32 else 20 if side <= 64 else 24
    return max(4, min(wanted, facts.fewest // 8 * 2))


def _ema(steps: float) -> str:
    """Decay of the average: over 500 steps, or a sixth of a short stage."""
    return f"{1 - max(1 / 500, min(0.1, 6 / max(1.0, steps))):.4g}"


def _widths(facts: DatasetFacts, sides: list[int]) -> str:
    """Channels at each resolution: thin where the grid is large, so that cost grows slower than pixels."""

    def ladder(*widths: int) -> list[int]:
        return [next(w for limit, w in zip((6, 12, 24, 48, 96, 999), widths, strict=True) if side < limit) for side in sides]

    large = max(facts.height, facts.width) > 32
    discriminator = {2: [32, 64, 96], 3: [16, 32, 64, 96], 4: [16, 32, 64, 96, 96]}[min(4, max(2, len(sides) - 1))]
    lines = {
        "encoder_s_widths": ladder(128, 96, 48, 24, 8, 8),
        "encoder_u_widths": ladder(96, 64, 32, 16, 8, 8),
        "decoder_hidden": 256 if large else 128,
        "decoder_widths": (ladder(128, 96, 64, 32, 12, 8) if large else ladder(96, 64, 48, 24, 12, 8))[::-1],
        "discriminator_widths": discriminator,
    }
    return "\n".join(f"{key} = {value}" for key, value in lines.items())


_TEMPLATE = """name = {name}
seed = 0

[data]
{size}
# Guessed from the borders of the pictures.
background = {background}
group = {group}
origin = {origin}
licence = "unknown"

[model]
dim_s = {dim_s}
dim_u = {dim_u}
{widths}
decoder_modulated = true
upsampling = "nearest"
style_centered = true
style_step = 1.0
shrinkage = 0.8
flow_layers = 0
flow_affine = true
dead_variance = 0.5
dropout = 0.3

# 1. The class encoder and the class Gaussians alone; frozen afterwards. A swap keeps the class as well as this encoder reads it.
[[stage]]
name = "class encoder"
epochs = {class_epochs}
batch = {class_batch}
lr = {{ encoder_s = 2e-3, prior = 2e-3 }}
optimizer = "adamw"
betas = [0.9, 0.999]
weight_decay = 0.02
schedule = "one-cycle"
ema = {class_ema}
# true for clothes, not for letters:
flip = false
{augmentation}
after = ["shrink_to_class_mean", "fit_sampler"]
[[stage.update]]
train.encoder_s = {{ class = 1.0, likelihood = 0.1, log_var_regularizer = 0.1 }}
train.prior = {{ class = 1.0, likelihood = 0.1, log_var_regularizer = 0.1 }}

# 2. The style codes and the decoder. The class code is another picture's of the class, so all style passes through E_u; its codes are
# centred by class while they are learned. Style ignored: a smaller kl_sum. Swaps keep too much of their source's shape: a larger one.
# Afterwards codes are rounded to what their own noise leaves of them, and whitened class by class.
[[stage]]
name = "codes"
epochs = {codes_epochs}
batch = {codes_batch}{by_class}
lr = {{ encoder_u = 1.5e-3, decoder = 1.5e-3 }}
betas = [0.9, 0.99]
schedule = "one-cycle"
clip = {clip}
collapse_watch = true
ema = {codes_ema}
flip = false
{augmentation}
class_code = "detached"
class_exchange = true
after = ["center_style", "quantize_style", "whiten", "fit_sampler"]
[[stage.update]]
train.encoder_u = {{ recon_nll = 1.0, kl_sum = {kl} }}
train.decoder = {{ recon_nll = 1.0, kl_sum = {kl} }}

# 3. The decoder learns exactly what is served: reconstructions, swaps, samples. Encoders and whitening are frozen and cannot leak.
# Pictures are noisy: smaller gen_*. Pictures are blurred: a larger spectrum. Swaps lose the style: a larger latent_regression_u.
[[stage]]
name = "served"
epochs = {served_epochs}
batch = {served_batch}{by_class}
lr = {{ decoder = 5e-4, discriminator = 1e-3 }}
schedule = "cosine"
clip = {clip}
adversarial = "gradient"
ema = {served_ema}
flip = false
{augmentation}
class_code = "detached"
class_exchange = true
style_noise = 0.0
through_flow = true
sampler = "fitted"
swap_share = 0.75
sample_share = 0.5
discriminator_views = ["translation"]
[[stage.update]]
train.decoder = {{ recon_nll = 1.0, gen_rec = 0.17, gen_swap = 0.17, gen_smp = 0.16, feature_matching = 0.5, cycle_class = {cycle_class}, \
latent_regression_u = {cycle_style}, spectrum = {spectrum} }}
train.discriminator = {{ discriminator_real = 1.0, discriminator_rec = 0.4, discriminator_swap = 0.35, discriminator_smp = 0.25 }}
"""
