"""A folder of pictures, one sub-folder per class, as sources. Knows the names of classes, not what is inside a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twofold.files import is_junk
from twofold.model.contract import file_sha256
from twofold.service.datasets.plan import Source, folder_names
from twofold.service.runtime import latents
from twofold.service.runtime.errors import Invalid

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp")  # those that training takes


@dataclass(frozen=True)
class Sources:
    """Pictures in the order of their names, a hash over names and contents, and what was passed over with the reason."""

    pictures: tuple[Source, ...]
    sha256: str
    skipped: dict[str, str]  # file -> reason


def find(root: Path, class_names: Sequence[str]) -> Sources:
    """Every picture below `root`. Raises Invalid when a sub-folder is no class of the model, or when there is no picture."""
    if not root.is_dir():
        raise Invalid(f"{root.name}: no such folder", field="folder")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not is_junk(path.name))
    found: list[Source] = []
    skipped: dict[str, str] = {}
    digest = hashlib.sha256()
    for folder in folders:
        label = _label(folder.name, class_names)
        for file in sorted(path for path in folder.iterdir() if not is_junk(path.name)):
            reason = _no_candidate(file)
            if reason:
                skipped[f"{folder.name}/{file.name}"] = reason
                continue
            found.append(Source(folder.name, file.name, label))
            digest.update(f"{folder.name}/{file.name}\n{file_sha256(file)}\n".encode())
    if not found:
        raise Invalid(f"{root.name} needs one sub-folder of pictures (.png, .jpg, .webp) for each class", field="folder")
    return Sources(tuple(found), digest.hexdigest(), skipped)


def _label(folder: str, class_names: Sequence[str]) -> int:
    """The class of a folder: a name that `folder_names` gives, or whatever names a class elsewhere. Raises Invalid."""
    names = folder_names(class_names)
    if folder in names:
        return names.index(folder)
    try:
        return latents.parse_class(folder, class_names)
    except Invalid as error:
        raise Invalid(
            f"the folder {folder[:60]} is no class of this model; rename it; the closest names are given",
            field="folder",
            allowed=error.allowed,
        ) from None


def _no_candidate(file: Path) -> str:
    if not file.is_file():
        return "not a regular file"
    if file.suffix.lower() not in SUFFIXES:
        return "not named .png, .jpg or .webp"
    return "" if file.name.isprintable() else "its name is not printable"
