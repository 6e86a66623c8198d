"""Latent codes: seeds, classes, mixtures and tokens become z_s and z_u. Pure numpy.

It knows the card and the prior, not the graphs, requests or pictures. Nothing here uses BLAS, whose last bits depend on how many
rows there are: a code is the same alone and in a batch. `operations` puts these functions together.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import re
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import Card, Floats, Prior
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.parameters import PathKind, Sampler, Vary

Pair = tuple[Floats, Floats]  # z_s [D_s], z_u [D_u] of one picture
Doubles = NDArray[np.float64]
Z_U, Z_S = 0, 1  # purposes of a stream; a new purpose takes the next number

MAX_CODE = 1e4  # far beyond any code of a trained encoder, and no graph overflows on it
TOKEN_PREFIX = "c1."  # noqa: S105 (not a secret)
_HEAD = struct.Struct("<8sII")  # model hash, dim_s, dim_u
_CHECK_BYTES = 8
_FLAT = 1e-3  # sine of an angle below which two styles have no well-defined plane between them


# ------------------------------------------------------------------------------------------------------------- sampling


def stream(seed: int, index: int, purpose: int) -> np.random.Generator:
    """The noise of picture `index` of `seed` for one purpose. Z_U's ignores the class, so one seed is one style in every class."""
    key = np.array([seed, (purpose << 32) | index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def sample_z_s(prior: Prior, label: int, seed: int, index: int, class_temperature: float = 1.0, sampler: Sampler = "fitted") -> Floats:
    """A draw from the Gaussian of class `label` -> z_s [D_s]. "fitted": refitted on the training codes; "paper": as learned."""
    noise: Doubles = stream(seed, index, Z_S).standard_normal(int(prior.class_means.shape[1]))
    if sampler == "paper":
        draw: Doubles = prior.class_means[label] + class_temperature * np.exp(prior.class_log_vars[label].astype(np.float64) / 2) * noise
    else:
        draw = prior.fit_means[label] + class_temperature * _spread(prior.fit_scale_tril[label], noise)
    return draw.astype(np.float32)


def sample_z_u(prior: Prior, seed: int, index: int, temperature: float = 1.0, sampler: Sampler = "fitted") -> Floats:
    """A style -> z_u [D_u]. "fitted": from the Gaussian refitted on the training codes; "paper": from N(0, I)."""
    noise: Doubles = stream(seed, index, Z_U).standard_normal(len(prior.fit_z_u_mean))
    if sampler == "paper":
        return (temperature * noise).astype(np.float32)
    return (prior.fit_z_u_mean + temperature * _spread(prior.fit_z_u_scale_tril, noise)).astype(np.float32)


def _spread(scale_tril: Floats, noise: Doubles) -> Doubles:
    """scale_tril [D,D] times noise [D] -> [D] float64."""
    spread: Doubles = np.einsum("ij,j->i", scale_tril.astype(np.float64), noise)
    return spread


# -------------------------------------------------------------------------------------------------------------- classes


def parse_class(text: str, class_names: Sequence[str]) -> int:
    """Class index of `text`: digits (always an index), `name:` and a name, an exact name, or a unique prefix of one.

    Case counts only where two names differ by nothing else. Raises Invalid with the closest names.
    """
    if re.fullmatch(r"0|[1-9][0-9]*", text):
        if len(text) <= 9 and int(text) < len(class_names):
            return int(text)
        raise Invalid("there is no class of this index", field="class", allowed=f"0 to {len(class_names) - 1}, or a name")
    name_text = text.removeprefix("name:")
    folded = name_text.casefold()
    for found in (
        [i for i, name in enumerate(class_names) if name == name_text],
        [i for i, name in enumerate(class_names) if name.casefold() == folded],
        [i for i, name in enumerate(class_names) if folded and name.casefold().startswith(folded)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            near = ", ".join(class_names[i] for i in found[:3])
            raise Invalid("several classes begin like this; write more of the name", field="class", allowed=near)
    by_folded = {name.casefold(): name for name in class_names}
    near = ", ".join(by_folded[name] for name in difflib.get_close_matches(folded[:200], by_folded, n=3, cutoff=0.0))
    raise Invalid("there is no class of this name; the closest are given", field="class", allowed=near)


def class_mean(prior: Prior, label: int) -> Floats:
    """The middle of a class, as refitted on the training codes -> z_s [D_s]."""
    mean: Floats = prior.fit_means[label]
    return mean


def mix_means(prior: Prior, weights: Mapping[int, float]) -> Floats:
    """Weighted class means -> z_s [D_s], whatever the order of the weights. Raises Invalid unless they are in 0..1 and sum to 1."""
    if not all(0 <= weight <= 1 for weight in weights.values()) or abs(sum(weights.values()) - 1) > 1e-6:
        raise Invalid("the weights must be from 0 to 1 and sum to 1", field="class_weights")
    total = np.zeros(prior.fit_means.shape[1])
    for label in sorted(weights):
        total += weights[label] * prior.fit_means[label].astype(np.float64)
    return total.astype(np.float32)


def class_log_joint(prior: Prior, z_s: Floats) -> Doubles:
    """z_s [n,D_s] -> log pi_k + log N(z_s; mu_k, Sigma_k) of the learned Gaussians, up to a constant [n,K]; its argmax is the class."""
    log_vars = prior.class_log_vars.astype(np.float64)
    squares = np.square(z_s.astype(np.float64)[:, None] - prior.class_means) * np.exp(-log_vars)
    with np.errstate(divide="ignore"):  # a class that training never saw has weight 0
        joint: Doubles = np.log(prior.class_weights.astype(np.float64)) - 0.5 * (squares + log_vars).sum(-1)
    return joint


# --------------------------------------------------------------------------------------------------------------- between


def hold(keys: Sequence[Pair], vary: Vary) -> list[Pair]:
    """The keys with what does not vary taken from the first of them: its style for "class", its class for "style"."""
    z_s, z_u = keys[0]
    return [(z_s if vary == "style" else key[0], z_u if vary == "class" else key[1]) for key in keys]


def frame_places(keys: int, frames: int) -> list[tuple[int, int, float]]:
    """Where each of `frames` >= 2 frames lies, evenly on the whole way: the key before it, the key after it, 0 <= t < 1 between them."""
    places = (divmod(frame * (keys - 1), frames - 1) for frame in range(frames))
    return [(low, min(low + 1, keys - 1), rest / (frames - 1)) for low, rest in places]


def between(a: Pair, b: Pair, t: float, path: PathKind = "linear") -> Pair:
    """The codes at t (0: exactly a, 1: exactly b). z_s always goes straight: class codes have no origin to turn around."""
    return _line(a[0], b[0], t), (_arc if path == "slerp" else _line)(a[1], b[1], t)


def _line(a: Floats, b: Floats, t: float) -> Floats:
    if t in (0, 1):
        return b if t else a
    return ((1 - t) * a.astype(np.float64) + t * b.astype(np.float64)).astype(np.float32)


def _arc(a: Floats, b: Floats, t: float) -> Floats:
    """From a to b [D] with an even turn and an even change of length; straight where no plane to turn in is well defined."""
    lengths = [float(np.sqrt(np.square(code.astype(np.float64)).sum())) for code in (a, b)]
    if t in (0, 1) or not all(lengths):
        return _line(a, b, t)
    from_, to = (code / length for code, length in zip((a.astype(np.float64), b.astype(np.float64)), lengths, strict=True))
    angle = float(np.arccos(np.clip((from_ * to).sum(), -1, 1)))
    if np.sin(angle) < _FLAT:
        return _line(a, b, t)
    direction = (np.sin((1 - t) * angle) * from_ + np.sin(t * angle) * to) / np.sin(angle)
    turned: Doubles = ((1 - t) * lengths[0] + t * lengths[1]) * direction
    return turned.astype(np.float32)


# ----------------------------------------------------------------------------------------------------------------- edits


def toward_class(prior: Prior, z_s: Floats, label: int, strength: float) -> Floats:
    """z_s [D_s] moved to the middle of class `label` -> z_s [D_s]; strength 0: as it was, 1: the mean itself."""
    return _line(z_s, class_mean(prior, label), strength)


def other_style(prior: Prior, z_u: Floats, spread: float, seed: int, index: int, temperature: float = 1.0) -> Floats:
    """A style [D_u] mixed with the draw of (seed, index) -> z_u [D_u]; spread 0: as it was, 1: the draw of `sample_z_u` itself.

    The weights' squares sum to 1 around the fitted mean, so styles that follow the fitted Gaussian still do afterwards.
    """
    mean = prior.fit_z_u_mean.astype(np.float64)
    other: Doubles = sample_z_u(prior, seed, index, temperature) - mean
    mixed: Doubles = mean + np.sqrt(1 - spread * spread) * (z_u - mean) + spread * other
    return mixed.astype(np.float32)


def steer(z_u: Floats, directions: Floats, weights: Mapping[int, float]) -> Floats:
    """z_u [D_u] plus the weighted rows of `directions` [R, D_u] -> z_u [D_u], whatever the order of the weights."""
    moved = z_u.astype(np.float64)
    for row in sorted(weights):
        moved += weights[row] * directions[row].astype(np.float64)
    return moved.astype(np.float32)


def direction_rows(weights: Mapping[str, float], count: int) -> dict[int, float]:
    """Weights by index as text -> by row of `count` directions. Raises Invalid for a direction that there is not."""
    rows = {str(row): row for row in range(count)}
    if not weights.keys() <= rows.keys():
        raise Invalid("there is no direction of this index", field="directions", allowed=f"0 to {count - 1}")
    return {rows[name]: weight for name, weight in weights.items()}


def directions_hash(directions: Floats) -> str:
    """16 hex digits that tell these directions [R, D_u] from others: they are an extra, so the model hash leaves them out."""
    return hashlib.sha256(directions.astype("<f4").tobytes()).hexdigest()[:16]


# --------------------------------------------------------------------------------------------------------------- tokens


def pack_token(z_s: Floats, z_u: Floats, card: Card) -> str:
    """z_s [D_s], z_u [D_u] -> code token: `c1.` and base64url of model hash, lengths, float32 codes, checksum."""
    body = _HEAD.pack(bytes.fromhex(card.model_hash)[:8], len(z_s), len(z_u)) + z_s.astype("<f4").tobytes() + z_u.astype("<f4").tobytes()
    return TOKEN_PREFIX + base64.urlsafe_b64encode(body + _checksum(body)).rstrip(b"=").decode("ascii")


def unpack_token(text: str, card: Card) -> tuple[Floats, Floats]:
    """Code token -> z_s [D_s], z_u [D_u]. Raises Invalid when it is damaged, not canonical, or another model's."""
    data = _token_bytes(text)
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if len(body) < _HEAD.size or check != _checksum(body):
        raise Invalid("the code token is damaged; copy it whole", field="code")
    model, dim_s, dim_u = _HEAD.unpack_from(body)
    if model != bytes.fromhex(card.model_hash)[:8]:
        made_by, here = model.hex()[:8], card.model_hash[:8]
        raise Invalid(f"the code token was made by model {made_by} and this is model {here}; make it again here", field="code")
    codes = np.frombuffer(body, "<f4", offset=_HEAD.size) if (len(body) - _HEAD.size) % 4 == 0 else np.empty(0, "<f4")
    if (dim_s, dim_u) != (card.dims.dim_s, card.dims.dim_u) or len(codes) != dim_s + dim_u or not np.isfinite(codes).all():
        raise Invalid("the code token is damaged; copy it whole", field="code")
    codes = codes.astype(np.float32)
    return codes[:dim_s], codes[dim_s:]


def accept_token(text: str, card: Card) -> tuple[Floats, Floats]:
    """`unpack_token` of a token that came from outside: its numbers are bounded like codes sent as numbers. Raises Invalid."""
    z_s, z_u = unpack_token(text, card)
    if max(np.abs(z_s).max(), np.abs(z_u).max()) > MAX_CODE:
        raise Invalid(f"the code token holds numbers beyond {MAX_CODE:g}", field="code")
    return z_s, z_u


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]


def _token_bytes(text: str) -> bytes:
    """The bytes of a token, which must be written the one way `pack_token` writes it."""
    payload = text.removeprefix(TOKEN_PREFIX)
    if payload == text:
        raise Invalid("a code token begins with c1.", field="code")
    try:
        data = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("the code token is damaged; copy it whole", field="code") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != payload:
        raise Invalid("the code token is damaged; copy it whole", field="code")
    return data


def typicality(log_density: float, quantiles: Floats | None) -> float | None:
    """Share (0..1) of held-out pictures that are less dense than `log_density`; None for a bundle without calibration."""
    if quantiles is None:
        return None
    return float(np.interp(log_density, quantiles, np.linspace(0, 1, len(quantiles))))
