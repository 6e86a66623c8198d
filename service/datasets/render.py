"""Numbers of a plan to finished pictures: the one place of this room that asks the model.

A picture has the bytes that the HTTP route gives for the same seed and index. It does not know where pictures go.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold import __version__
from twofold.model.contract import Floats
from twofold.service.datasets.plan import Edits, Picture, Plan, Synthesis
from twofold.service.runtime import image_io, latents, provenance
from twofold.service.runtime.array_api import Arrays
from twofold.service.runtime.errors import TooLarge, UndecodablePicture, UnsupportedMedia
from twofold.service.runtime.registry import Registry
from twofold.service.settings import Settings

Made = tuple[dict[str, Any], Floats, Floats]  # what the recipe says, z_s [D_s], z_u [D_u]


def open_model(settings: Settings) -> Arrays:
    """The first bundle of the settings, or the embedded one. Raises ContractError that begins with its name."""
    return Arrays(Registry.open(settings).get(), settings)


class Renderer(ABC):
    """Pictures of a plan. Sources that cannot be read are passed over and noted in `skipped`."""

    do: ClassVar[str]  # the route that gives the same bytes

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
        made = [self._made(self.plan[number]) for number in numbers]
        drawn = [one for one in made if one is not None]
        if not drawn:
            return [None] * len(made)
        pixels = iter(self.model.decode(np.stack([z_s for _, z_s, _ in drawn]), np.stack([z_u for _, _, z_u in drawn])))
        return [one and image_io.encode(next(pixels), image_io.PNG, provenance.write(self.model, self.do, one[0])) for one in made]

    @abstractmethod
    def _made(self, picture: Picture) -> Made | None: ...


class Generator(Renderer):
    """Pictures of a class from nothing."""

    do = "generate"

    def __init__(self, model: Arrays, plan: Synthesis) -> None:
        super().__init__(model, plan)
        self._sampling = {"class_temperature": plan.class_temperature, "sampler": plan.sampler, "temperature": plan.temperature}
        self._asked = plan

    def _made(self, picture: Picture) -> Made:
        prior, asked, label, index = self.model.prior, self._asked, picture.label, picture.index
        z_s = latents.sample_z_s(prior, label, asked.seed, index, asked.class_temperature, asked.sampler)
        z_u = latents.sample_z_u(prior, asked.seed, index, asked.temperature, asked.sampler)
        return {"class": label, "index": index, "n": 1, "seed": asked.seed, **self._sampling}, z_s, z_u


class Editor(Renderer):
    """Pictures made from pictures below `root`: of another style, of another class."""

    do = "edit"

    def __init__(self, model: Arrays, plan: Edits, root: Path) -> None:
        super().__init__(model, plan)
        self._sources, self._edit, self._root = plan.sources, plan.edit, root
        self._last: tuple[int, tuple[Floats, Floats] | None] = (-1, None)  # its pictures come one after the other

    def _made(self, picture: Picture) -> Made | None:
        if self._last[0] != picture.source:
            self._last = picture.source, self._read(picture.source)
        if self._last[1] is None:
            return None
        z_s, z_u = self._last[1]
        edit, prior = self._edit, self.model.prior
        told: dict[str, Any] = {"code": latents.pack_token(z_s, z_u, self.model.card), "n": 1}
        if edit.to is not None:
            told |= {"class": edit.to, "strength": edit.strength}
            z_s = latents.toward_class(prior, z_s, edit.to, edit.strength)
        if edit.style_spread:
            told |= {"index": picture.index, "seed": edit.seed, "style_spread": edit.style_spread, "temperature": edit.temperature}
            z_u = latents.other_style(prior, z_u, edit.style_spread, edit.seed, picture.index, edit.temperature)
        return told, z_s, z_u

    def _read(self, number: int) -> tuple[Floats, Floats] | None:
        source = self._sources[number]
        try:
            found = self.model.encode([self._root / source.folder / source.name])
        except (TooLarge, UndecodablePicture, UnsupportedMedia) as error:
            self.skipped[f"{source.folder}/{source.name}"] = error.detail
            return None
        return found.z_s[0], found.z_u_mean[0]
