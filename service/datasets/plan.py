"""Which pictures a set has: number i of a plan is a file name, a label, and the index or the source it is made of. Pure.

No file, picture or model is touched here, and a plan of a million pictures is as small as a plan of one. However a run ended, the plan
says what is still to be made. The command line imports this module for `--help`: standard library only.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import ClassVar

from twofold.service.runtime.parameters import EDIT, GENERATE, Parameter, Sampler

MAX_PICTURES = 2**31  # of one set: an index is below

# The parameters of the commands. Every seed has a default here, so that the same command makes the same set.
_SEED = replace(GENERATE["seed"], default=0, about="the same seed gives the same bytes", help="")
SYNTHESIZE: Mapping[str, Parameter] = {
    "per_class": Parameter(int, None, "how many pictures of every class", 1, 100_000),
    "seed": _SEED,
    "temperature": GENERATE["temperature"],
    "class_temperature": GENERATE["class_temperature"],
    "sampler": GENERATE["sampler"],
}
AUGMENT: Mapping[str, Parameter] = {
    "per_picture": Parameter(int, 1, "how many pictures of every picture", 1, 1000),
    "spread": replace(EDIT["style_spread"], default=0.5),
    "seed": _SEED,
    "temperature": EDIT["temperature"],
}
COUNTERFACTUAL: Mapping[str, Parameter] = {"strength": EDIT["strength"]}

PLAN_VERSION = 1
CHUNK = 256  # pictures that are made, held and (in a table) written together

_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_LONGEST_FOLDER = 60  # characters, and below of either part of a name: 255 bytes are the most that file systems take
_LONGEST_PART = 24


@dataclass(frozen=True)
class Picture:
    """One picture of a set."""

    file: str  # folder of the class and name, as "Sneaker/00042.png"
    label: int
    index: int  # of its streams of noise
    source: int = -1  # number of the picture that it is made from; -1: it is made from nothing


@dataclass(frozen=True)
class Source:
    """A picture that others are made from: `folder`/`name`, and its class."""

    folder: str
    name: str
    label: int

    @property
    def short(self) -> str:
        """The beginning of its name, for a name made from it."""
        return PurePosixPath(self.name).stem[:_LONGEST_PART]


@dataclass(frozen=True)
class Plan(ABC):
    """A sequence of pictures; `class_names` are the model's."""

    do: ClassVar[str]

    class_names: tuple[str, ...]

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The folder of each class."""
        return folder_names(self.class_names)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Picture: ...

    @abstractmethod
    def asked(self) -> dict[str, object]:
        """What was asked for, by the names of the command line."""


@dataclass(frozen=True)
class Synthesis(Plan):
    """`per_class` generated pictures of every class. Picture k of each class has index k, so every class has the same styles."""

    do = "synthesize"

    per_class: int
    seed: int
    temperature: float
    class_temperature: float
    sampler: Sampler

    def __len__(self) -> int:
        return self.per_class * len(self.class_names)

    def __getitem__(self, number: int) -> Picture:
        index, label = divmod(number, len(self.class_names))  # one style after the other: any beginning of the set is balanced
        return Picture(f"{self.folders[label]}/{index:05d}.png", label, index)

    def asked(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in SYNTHESIZE}


@dataclass(frozen=True)
class EditOptions:
    """What is done to every source: its class moved towards `to` by `strength`, its style mixed with draws by `style_spread`."""

    to: int | None = None
    strength: float = 1.0
    style_spread: float = 0.0
    seed: int = 0
    temperature: float = 1.0


@dataclass(frozen=True)
class Edits(Plan):
    """`per_source` pictures of every source, which differ in their index. `sources_sha256` is over their names and contents."""

    sources: tuple[Source, ...]
    sources_sha256: str
    edit: EditOptions
    per_source: int = 1

    def __len__(self) -> int:
        return self.per_source * len(self.sources)

    def asked(self) -> dict[str, object]:
        return {"sources_sha256": self.sources_sha256, "per_picture": self.per_source, **asdict(self.edit)}


@dataclass(frozen=True)
class Augmentation(Edits):
    """Other styles of every source, labelled and filed as the source is."""

    do = "augment"

    def __getitem__(self, number: int) -> Picture:
        at, k = divmod(number, self.per_source)
        source = self.sources[at]
        return Picture(f"{source.folder}/{at:05d}-{source.short}-{k:03d}.png", source.label, number, at)


@dataclass(frozen=True)
class Counterfactual(Edits):
    """Every source as another class, which labels and files them all."""

    do = "counterfactual"

    def __getitem__(self, number: int) -> Picture:
        source = self.sources[number]
        to = source.label if self.edit.to is None else self.edit.to
        return Picture(f"{self.folders[to]}/{number:05d}-{source.folder[:_LONGEST_PART]}-{source.short}.png", to, number, number)


def folder_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """A folder for every class: its name as far as every file system takes it, and no two alike."""
    names: list[str] = []
    taken: set[str] = set()
    for label, name in enumerate(class_names):
        safe = _UNSAFE.sub("_", name)[:_LONGEST_FOLDER].strip(" .") or "_"
        names.append(safe if safe.casefold() not in taken else f"{safe} ({label})")
        taken.add(names[-1].casefold())
    return tuple(names)


def describe(plan: Plan, made_by: Mapping[str, str]) -> str:
    """The plan as JSON, as it lies in the set itself: the same text, the same pictures to the byte. `made_by`: model and service."""
    whole = {
        "twofold_set": PLAN_VERSION,
        "do": plan.do,
        "pictures": len(plan),
        "classes": list(plan.class_names),
        **made_by,
        **plan.asked(),
    }
    return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def differences(text: str, other: str) -> str:
    """The names of what two descriptions differ in; "" when they are of the same set. Damaged text differs in everything."""
    if text == other:
        return ""
    try:
        a, b = json.loads(text), json.loads(other)
        return ", ".join(sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))) or "its form"
    except (ValueError, AttributeError):
        return "everything"


# ------------------------------------------------------------------------------------------------------- going through one


def chunks(plan: Plan) -> Iterator[range]:
    """The numbers of a plan in order, some at a time; always the same cuts, wherever a run begins."""
    for start in range(0, len(plan), CHUNK):
        yield range(start, min(start + CHUNK, len(plan)))


class Tally:
    """How many pictures a run found there and how many it made, and both by label."""

    def __init__(self, plan: Plan) -> None:
        self.found = self.made = 0
        self.by_label = [0] * len(plan.class_names)

    def add(self, label: int, *, found: bool) -> None:
        self.found += found
        self.made += not found
        self.by_label[label] += 1
