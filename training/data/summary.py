"""What a user should know of a data set before any training: counts, sizes, modes, what was skipped, what looks wrong.

Plain lines of text; changes nothing and raises nothing. Knows pictures, not models.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from twofold.training.config.schema import DataConfig
from twofold.training.data.dataset import DataError, Pictures, load, shape_for
from twofold.training.data.decoding import thumbnail
from twofold.training.data.groups import guess

FEW = 50  # pictures of a class
IMBALANCE = 20.0  # largest class / smallest
SIBLINGS = 0.02  # share of the pictures of a split beyond which siblings in training are worth a warning
COMPARED = 10_000  # pictures that are looked at for siblings
CLASSES_SHOWN, SKIPPED_SHOWN, KINDS_SHOWN = 40, 10, 5


def summarize(train: Pictures, validation: Pictures, test: Pictures | None) -> list[str]:
    """The lines to show: a table of the classes, what the files looked like, and warnings."""
    return [*_table(train, validation, test), *_files(train, test), *(f"warning: {text}" for text in warnings(train, validation, test))]


def find_test_split(config: DataConfig, path: Path) -> Pictures | None:
    """The test split at the size of the training pictures, to be counted and compared; None where there is none."""
    try:
        return load(path, "test", *shape_for(config, path), config.group)
    except DataError:
        return None


def warnings(train: Pictures, validation: Pictures, test: Pictures | None) -> Iterator[str]:
    """Sentences about what makes a poor model or wrong figures."""
    names = train.class_names
    counts = _counts(train) + _counts(validation)
    few = [names[k] for k in np.argsort(counts, kind="stable") if counts[k] < FEW]
    if few:
        yield f"{len(few)} of {len(names)} classes have fewer than {FEW} pictures to learn from: {_some(few)}"
    if counts.max() > IMBALANCE * max(1, counts.min()):
        big, small = names[int(counts.argmax())], names[int(counts.argmin())]
        yield f"{printable(big)} has {counts.max() / max(1, counts.min()):.0f} times as many pictures as {printable(small)}"
    known = {digest: int(label) for digest, label in zip(_digests(train), train.labels, strict=True)}
    for title, other in (("validation", validation), ("test", test)):
        if other is None:
            yield f"no {title} split: figures can only be made on validation pictures"
            continue
        copies = sum(digest in known for digest in _digests(other))
        if copies:
            yield f"{copies} of {len(other)} {title} pictures are also among the training pictures: figures will be too good"
    yield from _siblings(train, validation, test)
    contradictions = sum(known[digest] != label for digest, label in zip(_digests(train), train.labels.tolist(), strict=True))
    if contradictions:
        yield f"{contradictions} training pictures are also in another class"


def _siblings(train: Pictures, validation: Pictures, test: Pictures | None) -> Iterator[str]:
    """What a split by pictures tears apart, found in COMPARED pictures at most, evenly spread; nothing where groups were asked for."""
    if train.groups is not None:
        return
    parts = [train, validation, *([test] if test else [])]
    step = max(1, -(-sum(map(len, parts)) // COMPARED))
    parts = [part.take(np.arange(0, len(part), step)) for part in parts]
    names = [name for part in parts for name in part.names]
    images = (Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels) for part in parts for pixels in part.pixels)
    labels, thumbnails = np.concatenate([part.labels for part in parts]), np.stack([thumbnail(image) for image in images])
    found = guess(names if len(names) == len(labels) else (), labels, thumbnails)
    held = np.arange(len(labels)) >= len(parts[0])
    known = set(_digests(parts[0]))  # exact copies have a warning of their own
    fresh = np.array([digest not in known for part in parts[1:] for digest in _digests(part)], bool)
    torn = np.isin(found.numbers[held], found.numbers[~held]) & fresh
    if torn.sum() > SIBLINGS * len(torn):
        compared = "compared " if step > 1 else ""
        yield (
            f"{torn.sum():,} of {held.sum():,} {compared}validation and test pictures have siblings among the training pictures "
            f"({found.rule}): figures will be too good; --group auto keeps them together"
        )


def printable(name: str) -> str:
    """A name without characters that could control a terminal."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _table(train: Pictures, validation: Pictures, test: Pictures | None) -> list[str]:
    columns = {"train": _counts(train), "validation": _counts(validation)} | ({"test": _counts(test)} if test else {})
    names = [printable(name) for name in train.class_names]
    width = max(len("class"), *(len(name) for name in names[:CLASSES_SHOWN]), 3)
    lines = [f"{'class':<{width}}" + "".join(f"{title:>12}" for title in columns)]
    lines += [f"{name:<{width}}" + "".join(f"{c[k]:>12,}" for c in columns.values()) for k, name in enumerate(names[:CLASSES_SHOWN])]
    if len(names) > CLASSES_SHOWN:
        rest = {title: c[CLASSES_SHOWN:] for title, c in columns.items()}
        ranges = ", ".join(f"{c.min():,} to {c.max():,} {title}" for title, c in rest.items())
        lines.append(f"... and {len(names) - CLASSES_SHOWN} more with {ranges}")
    return [*lines, f"{'all':<{width}}" + "".join(f"{c.sum():>12,}" for c in columns.values())]


def _files(train: Pictures, test: Pictures | None) -> list[str]:
    height, width, channels = train.pixels.shape[1:]
    sizes, modes = train.seen.sizes, train.seen.modes
    lines = [
        f"sizes: {_common([(f'{w}x{h}', n) for (w, h), n in sizes.most_common()])}; modes: {_common(modes.most_common())}",
        f"the model gets {width}x{height} {'grey' if channels == 1 else 'RGB'}",
    ]
    group = train.source.get("group")
    if group:
        lines.append(f"split by groups: {group['groups']:,} of up to {group['largest']} pictures ({group['rule']})")
    skipped = [*train.seen.skipped, *(test.seen.skipped if test else ())]
    if skipped:
        reasons = Counter(reason for _, reason in skipped)
        lines.append(f"skipped {len(skipped)}: {_common(reasons.most_common())}")
        lines += [f"  {printable(name)}: {reason}" for name, reason in skipped[:SKIPPED_SHOWN]]
        if len(skipped) > SKIPPED_SHOWN:
            lines.append(f"  ... and {len(skipped) - SKIPPED_SHOWN} more")
    return lines


def _common(kinds: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{kind} ({count:,})" for kind, count in kinds[:KINDS_SHOWN])
    return shown + (f", {len(kinds) - KINDS_SHOWN} other kinds" if len(kinds) > KINDS_SHOWN else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(printable(name) for name in names[:KINDS_SHOWN]) + (", ..." if len(names) > KINDS_SHOWN else "")


def _counts(pictures: Pictures) -> np.ndarray:
    return np.bincount(pictures.labels, minlength=len(pictures.class_names))


def _digests(pictures: Pictures) -> list[bytes]:
    """One hash for each picture, of its pixels at the model's size."""
    return [hashlib.sha256(picture.tobytes()).digest() for picture in pictures.pixels]
