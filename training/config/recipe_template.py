"""The staged recipe of config/presets/fashion.toml, adapted to other pictures, as a TOML text that explains its keys.

Knows how sizes, widths, weights and lengths follow from the data; reads no files and measures nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from twofold.model.blocks import halvings
from twofold.training.config.schema import keys

FASHION_PIXELS = 28 * 28  # the weights of losses that sum over pixels were found on grey pictures of this size
MANY_CLASSES = 20
STAGES = ("class encoder", "codes", "flow", "served", "sharpened")
SHARES = {"class encoder": 0.15, "codes": 0.40, "flow": 0.12, "served": 0.24, "sharpened": 0.09}  # of the time
# A stage gains little beyond so many epochs, or so many steps where that is more.
ENOUGH = {"class encoder": (40, 1500), "codes": (80, 6000), "flow": (150, 4000), "served": (50, 4000), "sharpened": (20, 1500)}


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
    """Pictures of a step: 128, and 512 codes for the flow; fewer where an epoch would be a few steps."""
    largest = 512 if stage == "flow" else 128
    while largest > 16 and facts.rows < 8 * largest:
        largest //= 2
    return largest


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
    per_pixel = 8 * FASHION_PIXELS / (facts.height * facts.width * facts.channels)
    many = facts.classes > MANY_CLASSES
    return {
        "name": json.dumps(card_name(facts.name)),
        "origin": json.dumps("".join(c for c in facts.name if c.isprintable()), ensure_ascii=False),
        "size": f"height = {facts.height}\nwidth = {facts.width}\nchannels = {facts.channels}",
        "background": list(facts.background),
        "group": json.dumps(facts.group, ensure_ascii=False),
        "dim_s": 16 if not many else 32 if facts.classes <= 200 else 64,
        "dim_u": dim_u(facts),
        "widths": _widths(facts, sides),
        "recon": f"{per_pixel:.2g}" if per_pixel < 10 else f"{per_pixel:.0f}",
        "shift": max(1, round(min(facts.height, facts.width) / 28)),
        "exchange": _EXCHANGE if many else _NOISE,
    }


def _stage_values(facts: DatasetFacts, epochs: Mapping[str, float]) -> dict[str, object]:
    values: dict[str, object] = {}
    for stage in STAGES:
        key = stage.split()[0]
        steps = epochs[stage] * facts.rows / batch(facts, stage)
        values[f"{key}_epochs"] = f"{epochs[stage]:g}"
        values[f"{key}_batch"] = batch(facts, stage)
        values[f"{key}_ema"] = _ema(steps, 2 if stage == STAGES[-1] else 6)
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
    """Dimensions of the style: by size; the flow whitens each class, which needs several pictures of it for every dimension."""
    side = max(facts.height, facts.width)
    wanted = 16 if side <= 32 else 24 if side <= 64 else 32
    return max(4, min(wanted, facts.fewest // 8 * 2))


def _ema(steps: float, share: int) -> str:
    """Decay of the average: over 500 steps, or one `share` of a short stage (the last one begins trained, so its first steps may count)."""
    return f"{1 - max(1 / 500, min(0.1, share / max(1.0, steps))):.4g}"


def _widths(facts: DatasetFacts, sides: list[int]) -> str:
    """Channels at each resolution: as fashion.toml at its sizes, thin where pictures are larger, so that cost grows slower than pixels."""

    def ladder(*widths: int, factor: float = 1.0) -> list[int]:
        found = [next(w for limit, w in zip((6, 12, 24, 48, 96, 999), widths, strict=True) if side < limit) for side in sides]
        return [max(8, round(width * factor / 4) * 4) for width in found]

    large = max(facts.height, facts.width) > 32
    discriminator = {2: [32, 64, 96], 3: [16, 32, 64, 96], 4: [12, 24, 48, 96, 96]}[max(2, len(sides) - 2)] if large else [32, 64, 96]
    lines = {
        "encoder_s_widths": ladder(128, 96, 48, 24, 8, 8),
        "encoder_u_widths": ladder(96, 64, 32, 16, 8, 8),
        "decoder_hidden": 256 if large else 128,
        "decoder_widths": ladder(80, 56, 32, 16, 8, 8, factor=1.5 if large else 1.0)[::-1],
        "discriminator_widths": discriminator,
    }
    return "\n".join(f"{key} = {value}" for key, value in lines.items())


_NOISE = """class_noise = 1.0"""
_EXCHANGE = """class_exchange = true
class_noise = 0.4
# With many classes, random batches hold too few pictures of each for an exchange.
pictures_per_class = 4"""

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
shift = {shift}
after = ["fit_sampler"]
[[stage.update]]
train.encoder_s = {{ class = 1.0, likelihood = 0.1, log_var_regularizer = 0.1 }}
train.prior = {{ class = 1.0, likelihood = 0.1, log_var_regularizer = 0.1 }}

# 2. The style codes and the decoder. Reconstructions blurred: a larger recon_sse. Style ignored: a larger recon_sse or a smaller kl_sum.
[[stage]]
name = "codes"
epochs = {codes_epochs}
batch = {codes_batch}
lr = {{ encoder_u = 8e-4, decoder = 8e-4, discriminator = 1e-3 }}
ema = {codes_ema}
class_code = "detached"
{exchange}
pairs = "class"
[[stage.update]]
train.encoder_u = {{ recon_sse = {recon}, kl_sum = 1.0, cka_penalty = 100.0, gen_rec = 15.0, gen_swap = 15.0 }}
train.decoder = {{ recon_sse = {recon}, kl_sum = 1.0, cka_penalty = 100.0, gen_rec = 15.0, gen_swap = 15.0 }}
train.discriminator = {{ discriminator_real = 1.0, discriminator_rec = 0.5, discriminator_swap = 0.5 }}

# 3. The flow makes the style code independent of the class. The style still tells the class (leak): more epochs. Swaps take over
# too little of the style: a larger flow_transport.
[[stage]]
name = "flow"
epochs = {flow_epochs}
batch = {flow_batch}
lr = {{ flow = 2e-3 }}
betas = [0.9, 0.99]
schedule = "cosine"
ema = {flow_ema}
before = ["whiten"]
after = ["fold", "fit_sampler"]
[[stage.update]]
train.flow = {{ flow_nll = 1.0, flow_transport = 0.1 }}

# 4. The decoder learns exactly what is served: reconstructions, swaps, samples. Encoders and flow are frozen and cannot leak.
[[stage]]
name = "served"
epochs = {served_epochs}
batch = {served_batch}
lr = {{ decoder = 7e-4, discriminator = 1e-3 }}
schedule = "cosine"
ema = {served_ema}
class_code = "detached"
style_noise = 0.0
through_flow = true
sampler = "fitted"
swap_share = 0.5
sample_share = 0.5
[[stage.update]]
train.decoder = {{ recon_sse = {recon}, gen_rec = 20.0, gen_swap = 20.0, gen_smp = 20.0, cycle_class = 10.0, latent_regression_u = 10.0 }}
train.discriminator = {{ discriminator_real = 1.0, discriminator_rec = 0.34, discriminator_swap = 0.33, discriminator_smp = 0.33 }}

# 5. The same with a larger weight on the discriminator, for sharper pictures. Pictures are noisy: fewer epochs.
[[stage]]
name = "sharpened"
epochs = {sharpened_epochs}
batch = {sharpened_batch}
lr = {{ decoder = 4e-4, discriminator = 1e-3 }}
ema = {sharpened_ema}
class_code = "detached"
style_noise = 0.0
through_flow = true
sampler = "fitted"
swap_share = 0.5
sample_share = 0.5
[[stage.update]]
train.decoder = {{ recon_sse = {recon}, gen_rec = 20.0, gen_swap = 40.0, gen_smp = 40.0, cycle_class = 10.0, \
latent_regression_s = 30.0, latent_regression_u = 10.0 }}
train.discriminator = {{ discriminator_real = 1.0, discriminator_rec = 0.34, discriminator_swap = 0.33, discriminator_smp = 0.33 }}
"""
