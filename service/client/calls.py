"""Every call of the interface, once: a plan yields requests, is sent their answers, and returns the result.

Here stand the fields of the routes, and how a call that is larger than the caps of the service is divided into several requests with the
same result. It does not know how a request travels: `http` drives a plan, with or without await.

Longer than 250 lines because every call of the interface stands here.
"""

from __future__ import annotations

import json
import math
import urllib.parse
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from twofold import image_grid
from twofold.service.client import sources
from twofold.service.client.errors import Unreachable
from twofold.service.client.pictures import Matrix, Picture, Pictures
from twofold.service.client.results import Class, Encoding, Encodings, Inspection, ModelInfo, from_entry
from twofold.service.client.sources import Codes, Source
from twofold.service.runtime.errors import Unavailable
from twofold.service.runtime.inpainting import STEPS
from twofold.service.runtime.latents import TOKEN_PREFIX
from twofold.service.runtime.parameters import PathKind, Sampler, Vary

ALWAYS_FITS_CHARS = 700  # of pictures in one request: no service has a lower cap on a body than 1,024 bytes

ClassKey: TypeAlias = int | str | Class
Key: TypeAlias = Source | Class | Mapping[str, Any]
Format: TypeAlias = Literal["png", "webp"]
T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """One request. `fields` become its JSON body; those that are None are left out."""

    method: str
    path: str
    fields: Mapping[str, object] | None = None
    accept: str = "application/json"
    patient: bool = True  # whether to try again while busy
    once: bool = False  # whether the first answer is good for all later requests of a client

    @property
    def body(self) -> dict[str, object] | None:
        return None if self.fields is None else {key: value for key, value in self.fields.items() if value is not None}


Plan: TypeAlias = Generator[Ask, Any, T]


@dataclass(frozen=True)
class Limits:
    """What one request may hold: items, and characters of pictures, codes or items in its JSON."""

    max_items: int
    max_chars: float


# -------------------------------------------------------------------------------------------------------------- pictures


def generate(
    class_: ClassKey,
    n: int = 1,
    *,
    seed: int | None = None,
    index: int = 0,
    temperature: float = 1.0,
    class_temperature: float = 1.0,
    sampler: Sampler = "fitted",
    format: Format = "png",  # noqa: A002 (the route's word)
    model: str | None = None,
) -> Plan[Pictures]:
    """n pictures of a class (an index, a name, or the beginning of one). Picture k has index `index + k`, whatever n is."""
    fields = {"class": _class(class_), "temperature": temperature, "class_temperature": class_temperature, "sampler": sampler}
    return (yield from _counted("/generate", fields | {"format": format, "model": model}, n, index, seed))


def encode(pictures: Source | Sequence[Source], *, model: str | None = None) -> Plan[Encodings]:
    """What the model says of each picture: its codes, its class, its density, and a token that stands for both codes."""
    return (yield from _encoded(sources.several(pictures), model))


def decode(items: Codes | Sequence[Codes], *, format: Format = "png", model: str | None = None) -> Plan[Pictures]:  # noqa: A002
    """Codes to pictures: tokens, whatever has a code, pairs (z_s, z_u), or mappings such as {"class": 7, "seed": 1}."""
    many = isinstance(items, Sequence) and not isinstance(items, str | tuple)
    wire = [sources.item(one) for one in (items if many else [items])]  # type: ignore[union-attr, arg-type]
    answers = []
    for part in _divided(wire, [len(json.dumps(one)) for one in wire], (yield from _limits(len(wire)))):
        answer = yield Ask("POST", "/decode", {"items": part, "format": format, "model": model})
        answers.append(answer)
    return (yield from _pictures(answers))


def swap(
    class_from: Source | Sequence[Source],
    style_from: Source | Sequence[Source],
    *,
    verdict: bool = False,
    format: Format = "png",  # noqa: A002
    model: str | None = None,
) -> Plan[Matrix]:
    """The class of one with the style of the other, for every pair: `matrix[r, c]`. Each is one picture or code, or several.

    `verdict` lets the bundle's evaluation classifier, or else the encoder, say of every result whether its class was kept.
    """
    rows, cols = sources.several(class_from), sources.several(style_from)
    n, m, notes = len(rows), len(cols), None
    limits = yield from _limits(n * m, _chars(rows + cols))
    step_r, step_c = n, m
    if n * m > limits.max_items or _chars(rows + cols) > limits.max_chars:  # codes are small, and give the same pictures
        tokens, notes = yield from _as_tokens(rows + cols, model)
        rows, cols = tokens[:n], tokens[n:]
        step_r, step_c = _matrix_steps(m, max(map(len, tokens)), limits)
    cells: dict[tuple[int, int], Picture] = {}
    answers = []
    for r, c in ((r, c) for r in range(0, max(n, 1), max(step_r, 1)) for c in range(0, max(m, 1), max(step_c, 1))):
        fields = {"class_from": rows[r : r + step_r], "style_from": cols[c : c + step_c], "verdict": verdict}
        answer = yield Ask("POST", "/swap", fields | {"format": format, "model": model})
        answers.append(answer)
        for entry in answer["images"]:
            at = r + entry["row"], c + entry["col"]
            cells[at] = Picture({**entry, "row": at[0], "col": at[1]})
    about = _about(answers)
    if notes is not None:
        about |= {"notes": {"class_from": notes[:n], "style_from": notes[n:]}}
    return Matrix([cells[at] for at in sorted(cells)], n, m, **about)


def _matrix_steps(cols: int, token_chars: int, limits: Limits) -> tuple[int, int]:
    """Rows and columns of a matrix of tokens that one request may hold: whole rows where they fit."""
    max_tokens = max(2, int(limits.max_chars // token_chars))
    step_c = min(cols, limits.max_items, max_tokens - 1)
    return max(1, min(limits.max_items // step_c, max_tokens - step_c)), step_c


def interpolate(
    keys: Sequence[Key],
    frames: int = 16,
    *,
    vary: Vary = "both",
    path: PathKind = "linear",
    seed: int | None = None,
    verdict: bool = False,
    format: Format = "png",  # noqa: A002
    model: str | None = None,
) -> Plan[Pictures]:
    """Frames on the way from the first key to the last; their sheet is one row.

    A key is a picture, a code, a Class, or a mapping such as {"class": 7, "seed": 1}. `verdict` adds `class_probs` to every entry.
    """
    fields = {"keys": [_key(key) for key in keys], "frames": frames, "vary": vary, "path": path, "seed": seed, "verdict": verdict}
    answer = yield Ask("POST", "/interpolate", fields | {"format": format, "model": model})
    return (yield from _pictures([answer], rows=1))


def animate(
    keys: Sequence[Key],
    frames: int = 16,
    *,
    vary: Vary = "both",
    path: PathKind = "linear",
    seed: int | None = None,
    fps: int = 12,
    format: Literal["gif", "webp"] = "gif",  # noqa: A002
    model: str | None = None,
) -> Plan[Picture]:
    """The same way as one moving picture."""
    fields = {"keys": [_key(key) for key in keys], "frames": frames, "vary": vary, "path": path, "seed": seed, "model": model}
    return Picture.of((yield Ask("POST", "/interpolate", fields | {"animate": True, "fps": fps}, accept=f"image/{format}")))


def edit(
    image: Source,
    class_: ClassKey | None = None,
    *,
    strength: float = 1.0,
    directions: Mapping[int | str, float] | None = None,
    n: int = 1,
    seed: int | None = None,
    index: int = 0,
    style_spread: float = 0.0,
    temperature: float = 1.0,
    verdict: bool = False,
    format: Format = "png",  # noqa: A002
    model: str | None = None,
) -> Plan[Pictures]:
    """A picture or code in the same style as another class, moved along directions of style, or n times in other styles."""
    moved = None if directions is None else {str(key): weight for key, weight in directions.items()}
    fields = {"image": sources.picture(image), "class": _class(class_), "strength": strength, "directions": moved, "verdict": verdict}
    spread = {"style_spread": style_spread, "temperature": temperature}
    return (yield from _counted("/edit", {**fields, **spread, "format": format, "model": model}, n, index, seed))


def inpaint(
    image: Source,
    mask: Source | None = None,
    box: Sequence[int] | None = None,
    *,
    steps: int = STEPS,
    format: Format = "png",  # noqa: A002
    model: str | None = None,
) -> Plan[Pictures]:
    """The picture with its hole filled: white in `mask`, or `box` as x, y, width, height in the model's pixels. One picture."""
    hole = {"mask": None if mask is None else sources.picture(mask), "box": None if box is None else list(box)}
    fields = {"image": sources.picture(image), **hole, "steps": steps, "format": format, "model": model}
    return (yield from _pictures([(yield Ask("POST", "/inpaint", fields))]))


def inspect(image: Source, *, verify: bool = False, model: str | None = None) -> Plan[Inspection]:
    """The recipe a picture carries; with `verify` the service makes it again and compares."""
    return from_entry(Inspection, (yield Ask("POST", "/inspect", {"image": sources.picture(image), "verify": verify, "model": model})))


# ---------------------------------------------------------------------------------------------------------------- models


def models() -> Plan[list[ModelInfo]]:
    """What is served; the first is the default."""
    answer = yield Ask("GET", "/models")
    return [from_entry(ModelInfo, entry | {"default": entry["name"] == answer["default"]}) for entry in answer["models"]]


def classes(model: str | None = None) -> Plan[list[Class]]:
    """The classes of a model, in the order of their indices."""
    answer = yield from _of_model(model, "/classes")
    return [from_entry(Class, entry) for entry in answer["classes"]]


def card(model: str | None = None) -> Plan[dict[str, Any]]:
    """The card of a model: its sizes, preprocessing, data, licence and figures."""
    return (yield from _of_model(model, ""))


def _of_model(model: str | None, path: str) -> Plan[dict[str, Any]]:
    """What stands at `path` below a model, None for the default."""
    if model is None:
        model = (yield Ask("GET", "/models"))["default"]
    answer: dict[str, Any] = yield Ask("GET", f"/models/{urllib.parse.quote(model, safe='')}{path}")
    return answer


def ready() -> Plan[bool]:
    """Whether to send requests there now. Asks once."""
    try:
        yield Ask("GET", "/readyz", patient=False)
    except (Unavailable, Unreachable):
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------- shared


def _class(key: ClassKey | None) -> int | str | None:
    return key.index if isinstance(key, Class) else key


def _key(key: Key) -> str | dict[str, object]:
    if isinstance(key, Class):
        return {"class": key.index}
    return dict(key) if isinstance(key, Mapping) else sources.picture(key)


def _limits(items: int, chars: int = 0) -> Plan[Limits]:
    """What one request may hold. The service is asked, once, where there is something that may have to be divided."""
    if items <= 1 and chars <= ALWAYS_FITS_CHARS:
        return Limits(1, math.inf)
    limits = (yield Ask("GET", "/models", once=True))["limits"]
    return Limits(limits["max_items"], limits["max_body_bytes"] * 7 // 8)  # an eighth for the other fields


def _counted(path: str, fields: Mapping[str, object], n: int, index: int, seed: int | None) -> Plan[Pictures]:
    """n pictures whose indices count up; the seed that the first answer names is the seed of all."""
    step = (yield from _limits(n)).max_items
    answers = []
    for at in range(0, max(n, 1), step):
        answer = yield Ask("POST", path, {**fields, "n": min(n - at, step), "seed": seed, "index": index + at})
        seed = answer["images"][0].get("seed", seed)
        answers.append(answer)
    return (yield from _pictures(answers))


def _pictures(answers: Sequence[Mapping[str, Any]], rows: int | None = None) -> Plan[Pictures]:
    """The pictures of all answers; the sheet's empty cells, if it has any, get the background that the model's card tells."""
    found = [Picture(entry) for answer in answers for entry in answer["images"]]
    about = _about(answers)
    shape = image_grid.shape_for(len(found)) if rows is None else (rows, -(-len(found) // rows))
    if shape[0] * shape[1] == len(found):
        return Pictures(found, *shape, **about)
    preprocessing = (yield from card(about["model"].rpartition("@")[0]))["preprocessing"]
    return Pictures(found, *shape, preprocessing["background"], **about)


def _about(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    timings_ms: dict[str, float] = {}
    for answer in answers:
        for stage, spent in answer.get("timings_ms", {}).items():
            timings_ms[stage] = timings_ms.get(stage, 0.0) + spent
    return {"model": answers[0]["model"], "notes": answers[0].get("notes"), "timings_ms": timings_ms}


def _encoded(pictures: Sequence[str], model: str | None) -> Plan[Encodings]:
    answers = []
    for part in _divided(pictures, list(map(len, pictures)), (yield from _limits(len(pictures)))):
        answer = yield Ask("POST", "/encode", {"images": part, "model": model})
        answers.append(answer)
    return Encodings([Encoding(entry) for answer in answers for entry in answer["items"]], **_about(answers))


def _divided(items: Sequence[T], chars: Sequence[int], limits: Limits) -> Iterator[list[T]]:
    """Items of so many characters each, in parts that one request may hold; no item is one empty part, which the service refuses."""
    part: list[T] = []
    filled = 0
    for item, length in zip(items, chars, strict=True):
        if part and (len(part) == limits.max_items or filled + length > limits.max_chars):
            yield part
            part, filled = [], 0
        part.append(item)
        filled += length
    yield part


def _chars(pictures: Sequence[str]) -> int:
    return sum(map(len, pictures))


def _as_tokens(sent: Sequence[str], model: str | None) -> Plan[tuple[list[str], list[list[str]]]]:
    """Pictures and tokens -> tokens, and what was done to each picture. The pictures are encoded."""
    tokens = list(sent)
    notes: list[list[str]] = [[] for _ in sent]
    places = [k for k, one in enumerate(sent) if not one.startswith(TOKEN_PREFIX)]
    if places:
        for k, encoding in zip(places, (yield from _encoded([sent[k] for k in places], model)), strict=True):
            tokens[k], notes[k] = encoding.code, encoding.notes
    return tokens, notes
