"""Numbers of a plan to finished pictures: the one module of data sets that runs the model.

A picture has the bytes that the HTTP route gives for the same seed and index. This module does not know where pictures go.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from twofold import __version__
from twofold.model.contract import Pixels
from twofold.service.datasets.plan import Edits, Picture, Plan, Synthesis
from twofold.service.runtime import image_io, provenance
from twofold.service.runtime.array_api import Arrays
from twofold.service.runtime.errors import TooLarge, UndecodablePicture, UnsupportedMedia
from twofold.service.runtime.operations import Code, Edit, Generate, Operation, all_latents


class Renderer(ABC):
    """Pictures of a plan. Sources that cannot be read are passed over and noted in `skipped`."""

    def __init__(self, model: Arrays, plan: Plan) -> None:
        self.model = model
        self.plan = plan
        self.skipped: dict[str, str] = {}  # file -> reason

    @property
    def made_by(self) -> dict[str, str]:
        """Beside the plan, all that decides the bytes."""
        card = self.model.card
        return {"model": card.name, "model_hash": card.model_hash, "provider": self.model.provider, "service": __version__}

    def render(self, numbers: Iterable[int]) -> list[bytes | None]:
        """PNG with its recipe for each number of the plan; None where the source cannot be read."""
        operations = [self._operation(self.plan[number]) for number in numbers]
        possible = [operation for operation in operations if operation is not None]
        if not possible:
            return [None] * len(operations)
        pixels = iter(self.model.decode(*all_latents(possible, self.model)))
        return [None if one is None else self._file(one, next(pixels)) for one in operations]

    def _file(self, operation: Operation, pixels: Pixels) -> bytes:
        return image_io.encode(pixels, image_io.PNG, provenance.write(self.model, operation.do, operation.recipe(0)))

    @abstractmethod
    def _operation(self, picture: Picture) -> Operation | None:
        """What makes one picture; None where its source cannot be read."""


class Generator(Renderer):
    """Pictures of a class from nothing."""

    def __init__(self, model: Arrays, plan: Synthesis) -> None:
        super().__init__(model, plan)
        self._asked = plan

    def _operation(self, picture: Picture) -> Generate:
        asked = self._asked
        return Generate(picture.label, asked.seed, picture.index, 1, asked.temperature, asked.class_temperature, asked.sampler)


class Editor(Renderer):
    """Pictures made from pictures below `root`: of another style, of another class."""

    def __init__(self, model: Arrays, plan: Edits, root: Path) -> None:
        super().__init__(model, plan)
        self._sources, self._edit, self._root = plan.sources, plan.edit, root
        self._last: tuple[int, Code | None] = (-1, None)  # the pictures of a source come one after the other

    def _operation(self, picture: Picture) -> Edit | None:
        if self._last[0] != picture.source:
            self._last = picture.source, self._read(picture.source)
        code, edit = self._last[1], self._edit
        if code is None:
            return None
        seed = edit.seed if edit.style_spread else None
        return Edit(code, edit.to, edit.strength, None, 1, seed, picture.index, edit.style_spread, edit.temperature)

    def _read(self, number: int) -> Code | None:
        source = self._sources[number]
        try:
            found = self.model.encode([self._root / source.folder / source.name])
        except (TooLarge, UndecodablePicture, UnsupportedMedia) as error:
            self.skipped[f"{source.folder}/{source.name}"] = error.detail
            return None
        return Code(found.z_s[0], found.z_u_mean[0], self.model.card)
