"""Bundle folders to models that are served, or one line that says why not: load, verify, put a queue before each graph.

A bundle is verified by its sums and the contract, its golden outputs and its class consistency. HTTP, the formats of pictures and the
meaning of the codes are not known here.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twofold.model import contract
from twofold.model.contract import BundleFiles, Card, ContractError, Dims, Floats, Golden, Pixels, Prior, TensorSpec
from twofold.service.runtime import hub, inpainting, latents
from twofold.service.runtime.batcher import Batcher, Timings
from twofold.service.runtime.engine import Encoded, Engine
from twofold.service.runtime.errors import Invalid, NotFound
from twofold.service.runtime.hub import HubError

if TYPE_CHECKING:
    from twofold.service.settings import Settings

DEFAULT_BUNDLE = Path(contract.__file__).parent / "pretrained" / "fashion-mnist"
_CONSISTENCY_ROWS = 128  # pictures generated to check class consistency
_CONSISTENCY_SLACK = 0.1  # below the card's figure: what so few pictures may differ by

OnBatch = Callable[[int], None]  # called with the rows of each batch


@dataclass(frozen=True)
class Example:
    """A picture that came with the bundle."""

    label: int
    png: bytes


class Model:
    """One verified bundle with a queue before each graph. `start` before the first call, `aclose` after the last.

    Reads what the bundle's `folder` holds beside its graphs. Raises ContractError.
    """

    def __init__(self, folder: Path, files: BundleFiles, engine: Engine, settings: Settings, on_batch: OnBatch) -> None:
        self.card: Card = files.card
        self.prior: Prior = files.prior
        self.engine = engine
        self.provider = engine.provider
        self.calibration = _read_calibration(folder)
        self.directions = contract.read_directions(folder, files.card.dims)
        self.examples = _read_examples(folder, files.card)
        self.mean_picture = mean_picture(engine, files.prior)
        self.classified_by = engine.classified_by
        queue = partial(
            Batcher, batch_rows=settings.batch_rows, queue_rows=settings.queue_rows, stuck_s=3 * settings.deadline_s, on_batch=on_batch
        )
        self._encoder, self._decoder = queue(engine.run_encoder), queue(engine.run_decoder)
        self._eval_classifier = None if engine.run_eval_classifier is None else queue(engine.run_eval_classifier)
        self._queues = [each for each in (self._encoder, self._decoder, self._eval_classifier) if each is not None]
        self._drain_s = settings.drain_s

    async def encode(self, pixels: Pixels, deadline: float) -> tuple[Encoded, Timings]:
        """pixels uint8 [n,H,W,C] -> Encoded of n rows. `deadline` in monotonic seconds.

        Raises Invalid on another shape or type, else what Batcher.submit raises.
        """
        outputs, timings = await self._encoder.submit((checked_pixels(self.card.dims, pixels),), deadline)
        return Encoded(*outputs), timings

    async def decode(self, z_s: Floats, z_u: Floats, deadline: float) -> tuple[Pixels, Timings]:
        """z_s float32 [n,D_s], z_u float32 [n,D_u] -> pixels uint8 [n,H,W,C]. Raises Invalid unless they are finite, else as `encode`."""
        outputs, timings = await self._decoder.submit(checked_codes(self.card.dims, z_s, z_u), deadline)
        return outputs[0], timings

    async def classify(self, pixels: Pixels, deadline: float) -> tuple[Floats, Timings]:
        """pixels uint8 [n,H,W,C] -> class log-probabilities float32 [n,K], nats, of the network `classified_by`. Raises as `encode`."""
        if self._eval_classifier is None:
            encoded, timings = await self.encode(pixels, deadline)
            return encoded.class_log_prob, timings
        outputs, timings = await self._eval_classifier.submit((checked_pixels(self.card.dims, pixels),), deadline)
        return outputs[0], timings

    @property
    def healthy(self) -> bool:
        """Whether all queues move."""
        return all(queue.healthy for queue in self._queues)

    @property
    def queued(self) -> int:
        """Rows that wait before all graphs."""
        return sum(queue.queued for queue in self._queues)

    def start(self) -> None:
        """Start the threads of all queues. Raises RuntimeError when the system gives none."""
        for queue in self._queues:
            queue.start()

    async def aclose(self) -> None:
        """Finish what was accepted, within the drain time."""
        await asyncio.gather(*(queue.aclose(self._drain_s) for queue in self._queues))


def checked_pixels(dims: Dims, pixels: NDArray[Any]) -> Pixels:
    """Pixels uint8 [n,H,W,C], n >= 1, unchanged. Raises Invalid on another shape or type: a bad row never reaches the queue."""
    (spec,) = contract.encoder_signature(dims)[0]
    if pixels.dtype != np.uint8 or pixels.shape[1:] != spec.shape or not len(pixels):
        raise Invalid(f"pixels must be uint8 of shape {_shape(spec)}, n at least 1", field=spec.name)
    return pixels


def checked_codes(dims: Dims, z_s: ArrayLike, z_u: ArrayLike) -> tuple[Floats, Floats]:
    """Codes as float32 [n,D_s] and [n,D_u], n >= 1. Raises Invalid on another shape, other row counts or a value that is not finite."""
    with np.errstate(over="ignore"):
        arrays = np.asarray(z_s, np.float32), np.asarray(z_u, np.float32)
    for spec, array in zip(contract.decoder_signature(dims)[0], arrays, strict=True):
        if array.shape != (len(arrays[0]), *spec.shape) or not len(array):
            raise Invalid(f"{spec.name} must have shape {_shape(spec)}, n at least 1", field=spec.name)
        if not np.isfinite(array).all():
            raise Invalid(f"{spec.name} must be finite numbers that fit into 32 bits", field=spec.name)
    return arrays


def _shape(spec: TensorSpec) -> str:
    return f"[n,{','.join(map(str, spec.shape))}]"


# ---------------------------------------------------------------------------------------------------------------- loading


def load(folder: Path, settings: Settings, on_batch: OnBatch = lambda rows: None) -> Model:
    """Verify a bundle and make it ready to start. Raises ContractError with one line that names the file at fault."""
    return Model(folder, *load_engine(folder, settings), settings, on_batch)


def load_engine(folder: Path, settings: Settings) -> tuple[BundleFiles, Engine]:
    """The verified files and the engine that runs their graphs, without queues. Raises ContractError."""
    files = contract.open_bundle(folder)
    limits = {"threads": settings.threads, "batch_rows": settings.batch_rows}
    engine = Engine(files.encoder, files.decoder, files.card.dims, files.eval_classifier, **limits)
    try:
        _check_golden(engine, files.golden)
        _check_consistency(engine, files.card, files.prior)
    except ContractError:
        raise
    except Exception as error:  # onnxruntime raises many kinds
        raise ContractError(f"{contract.ENCODER} or {contract.DECODER}: fails on its golden inputs") from error
    if files.eval_classifier is not None:
        _check_eval_classifier(engine, files.golden.pixels)
    return files, engine


def mean_picture(engine: Engine, prior: Prior) -> Pixels:
    """The class means decoded in the mean style and averaged by class weight -> uint8 [H,W,C]: what a hole in a picture begins with."""
    styles = np.tile(prior.fit_z_u_mean, (len(prior.fit_means), 1))
    return inpainting.mean_picture(engine.decode(prior.fit_means, styles), prior.class_weights)


def _check_golden(engine: Engine, golden: Golden) -> None:
    """Raises ContractError unless the golden inputs give the golden outputs, all at once and the first one alone.

    This warms the engine up too: the first run of a shape is slow.
    """
    for rows in (slice(None), slice(1)):
        found = engine.encode(golden.pixels[rows])
        for spec in fields(Encoded):
            want, got = getattr(golden, spec.name)[rows], getattr(found, spec.name)
            if got.shape != want.shape or not np.allclose(got, want, atol=contract.GOLDEN_ATOL, rtol=contract.GOLDEN_RTOL):
                raise ContractError(f"{contract.ENCODER}: {spec.name} is not what {contract.GOLDEN} says")
        want, got = golden.decoder_pixels[rows], engine.decode(golden.decoder_z_s[rows], golden.decoder_z_u[rows])
        if got.shape != want.shape or np.abs(got.astype(int) - want).max() > 1:
            raise ContractError(f"{contract.DECODER}: pixels are not what {contract.GOLDEN} says")


def _check_eval_classifier(engine: Engine, pixels: Pixels) -> None:
    """Raises ContractError unless it gives log-probabilities of pixels uint8 [n,H,W,C], all at once and of the first one alone."""
    for rows in (pixels, pixels[:1]):
        try:
            log_prob = engine.classify(rows)
        except Exception as error:  # onnxruntime raises many kinds
            raise ContractError(f"{contract.EVAL_CLASSIFIER}: fails on the golden inputs") from error
        if len(log_prob) != len(rows) or not np.allclose(np.exp(log_prob).sum(1), 1, atol=contract.GOLDEN_ATOL):
            raise ContractError(f"{contract.EVAL_CLASSIFIER}: class_log_prob must be log-probabilities")


def _check_consistency(engine: Engine, card: Card, prior: Prior) -> None:
    """Raises ContractError when the encoder recognizes fewer generated pictures as their class than the card's figure - 0.1.

    Without a figure nothing is checked.
    """
    values = card.metrics.get("values", {})
    figure = values.get("class_consistency") if isinstance(values, Mapping) else None
    if not isinstance(figure, int | float):
        return
    labels = np.arange(max(_CONSISTENCY_ROWS, card.dims.classes)) % card.dims.classes
    z_s = np.stack([latents.sample_z_s(prior, int(label), 0, k) for k, label in enumerate(labels)])
    z_u = np.stack([latents.sample_z_u(prior, 0, k) for k in range(len(labels))])
    share = float((engine.encode(engine.decode(z_s, z_u)).class_log_prob.argmax(1) == labels).mean())
    if share < figure - _CONSISTENCY_SLACK:
        raise ContractError(f"{contract.CARD}: claims class_consistency {figure:.2f}, the graphs reach {share:.2f}")


def _read_calibration(folder: Path) -> Floats | None:
    """[101] quantiles of the log-density of held-out pictures, nats, ascending; None when the bundle has none. Raises ContractError."""
    path = folder / contract.CALIBRATION
    if not path.exists():
        return None
    try:
        quantiles = np.asarray(json.loads(path.read_text(encoding="utf-8"))["log_density_quantiles"], np.float32)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ContractError(f"{contract.CALIBRATION}: must hold log_density_quantiles") from error
    if quantiles.shape != (101,) or not np.isfinite(quantiles).all() or (np.diff(quantiles) < 0).any():
        raise ContractError(f"{contract.CALIBRATION}: log_density_quantiles must be 101 ascending numbers")
    return quantiles


def _read_examples(folder: Path, card: Card) -> tuple[Example, ...]:
    """examples/ORDER-LABEL-N.png in their order. Raises ContractError on another name."""
    examples = []
    for path in sorted((folder / contract.EXAMPLES).glob("*")):
        match = re.fullmatch(r"[0-9]+-([0-9]{1,5})-[0-9]+\.png", path.name)
        if not match or int(match[1]) >= card.dims.classes:
            raise ContractError(f"{contract.EXAMPLES}: a file must be named order-label-n.png, with a label of the card")
        examples.append(Example(int(match[1]), path.read_bytes()))
    return tuple(examples)


# --------------------------------------------------------------------------------------------------------------- registry


class Registry:
    """The models that are served, by name; the first is the default. Raises ContractError when two have one name."""

    def __init__(self, models: Iterable[Model]) -> None:
        self.models: dict[str, Model] = {}
        for one in models:
            if one.card.name in self.models:
                raise ContractError(f"{contract.CARD}: two bundles are named {one.card.name}")
            self.models[one.card.name] = one
        self.default = next(iter(self.models))

    @classmethod
    def open(cls, settings: Settings, on_batch: OnBatch = lambda rows: None) -> Registry:
        """Load every bundle of the settings, or the embedded one. Raises ContractError that begins with the bundle's name."""
        models = []
        for bundle in settings.bundle or (DEFAULT_BUNDLE,):
            on_hub = hub.is_on_hub(bundle)
            try:
                models.append(load(hub.fetch(bundle) if on_hub else bundle, settings, on_batch))
            except (ContractError, HubError) as error:
                raise ContractError(f"bundle {bundle if on_hub else bundle.name}: {error}") from error
        return cls(models)

    def get(self, name: str | None = None) -> Model:
        """A model by name, None for the default. Raises NotFound."""
        try:
            return self.models[self.default if name is None else name]
        except KeyError:
            allowed = ", ".join(self.models)
            raise NotFound("there is no model of this name", field="model", allowed=allowed) from None

    def made_with(self, model_hash: object) -> Model | None:
        """The model of this hash, or None when it is not served."""
        return next((one for one in self.models.values() if one.card.model_hash == model_hash), None)

    @property
    def healthy(self) -> bool:
        """Whether every model's queues move."""
        return all(one.healthy for one in self.models.values())

    @property
    def queued(self) -> int:
        """Rows that wait before all graphs."""
        return sum(one.queued for one in self.models.values())

    def start(self) -> None:
        """Start every model."""
        for one in self.models.values():
            one.start()

    async def aclose(self) -> None:
        """Finish what was accepted, within the drain time; all models at once."""
        await asyncio.gather(*(one.aclose() for one in self.models.values()))
