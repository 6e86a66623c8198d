"""Which pictures belong together, so that a split keeps them together: the same person, object, track or scene.

A group comes from a column of a table, from a pattern over the paths of the files, or from a guess. A guess takes a rule from the names
of files only where the pictures agree with it, and joins near-duplicates. Pure numpy; knows labels, names and thumbnails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import Pixels
from twofold.training.data.source import DataError, Rows

AUTO = "auto"
NEAR_DUPLICATES = "near-duplicates"
ALIKE = 0.99  # correlation of two thumbnails above which they are near-duplicates, ...
CLOSE = 6.0  # ... and the most that they differ by, levels of 255 (root mean square)
NEIGHBOURS = 8  # of each picture that are compared
PERMUTATIONS, SIGNIFICANT, SIMILAR = 20, 6.0, 0.05  # of a rule: see `_agrees`
FEWEST_GROUPS = 5  # of every class that a rule must give
BLOCK = 1024  # rows compared at a time

Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Grouping:
    """A group number for each row, and how it was found."""

    numbers: Numbers  # [N]
    rule: str  # in words

    def facts(self, option: str) -> dict[str, object]:
        """What a run's data.json and a card say of the split."""
        sizes = np.bincount(self.numbers)
        return {"option": option, "rule": self.rule, "groups": len(sizes), "largest": int(sizes.max())}


def group_rows(rows: Rows, option: str, thumbnails: Callable[[], Pixels]) -> Grouping:
    """The groups of `rows`: `option` is "auto", the name of a column, or a regular expression with one group, searched in the paths.

    `thumbnails` gives uint8 [N, 16, 16] of them, all 0 where a picture cannot be read; only a guess asks for it. Raises DataError.
    """
    if option == AUTO:
        return guess(rows.names(), rows.labels, thumbnails())
    cells = rows.column(option)
    if cells is not None:
        if None in cells:
            raise DataError(f"--group: the column {option} is empty in {rows.row_name(list(cells).index(None))}: fill it, or use auto")
        return Grouping(_numbered(cells), f"the column {option}")
    names = rows.names()
    pattern = _pattern(option, rows.columns, names)
    keys = [found[1] if (found := pattern.search(name)) else None for name in names]
    if None in keys:
        missed = keys.count(None)
        raise DataError(f"--group: {option} does not match the paths of {missed} of {len(keys)} pictures, as {names[keys.index(None)]}")
    return Grouping(_numbered(keys), "a pattern over the paths of the files")


def _pattern(option: str, columns: Sequence[str], names: Sequence[str]) -> re.Pattern[str]:
    known = f"no column {option!r} (there are {', '.join(columns) or 'none'})"
    if not names:
        raise DataError(f"--group: {known}, and the pictures have no file names that a pattern could match: use auto")
    try:
        pattern = re.compile(option)
    except re.error as error:
        raise DataError(f"--group: {known}, and no regular expression: {error}") from None
    if pattern.groups != 1:
        raise DataError(f"--group: {known}, and as a regular expression it must have one group in parentheses, as in '(\\d+)_'")
    return pattern


def guess(names: Sequence[str], labels: Numbers, thumbnails: Pixels) -> Grouping:
    """Groups guessed from names ([N], or empty) and thumbnails uint8 [N, 16, 16]; every picture is its own group where nothing is found."""
    base, rules = np.arange(len(labels)), list[str]()
    for rule, numbers, across in _candidates(names, labels) if len(names) else ():
        if _agrees(numbers, labels, thumbnails, across):
            base, rules = numbers, [rule]
            break
    joined = _join_near_duplicates(base, labels, thumbnails)
    if len(np.unique(joined)) < len(np.unique(base)):
        rules.append(NEAR_DUPLICATES)
    return Grouping(_numbered(joined.tolist()), " and ".join(rules) or "nothing found")


# ------------------------------------------------------------------------------------------------------- rules from names


def _candidates(names: Sequence[str], labels: Numbers) -> Iterator[tuple[str, Numbers, bool]]:
    """Rules, the groups that they give and whether these go across classes, where they could be a split: the coarsest first."""
    stems = [_stem(name) for name in names]
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", stem) for stem in stems]
    starts = [(found[1], found[3]) if found else (stem, "") for found, stem in zip(parts, stems, strict=True)]
    found = [
        ("runs of numbers across the classes", _runs(parts, labels), True),
        ("names alike but for their last number", _numbered(starts), True),
        ("names alike but for their last number, in each class", _numbered(zip(labels.tolist(), starts, strict=True)), False),
        ("the same name in several classes", _numbered(stems), True),
    ]
    for rule, numbers, across in found:
        if numbers is not None and _could_split(numbers, labels):
            yield rule, numbers, across


def _stem(name: str) -> str:
    """A file's name without its ending and without the name of its folder, which is the class."""
    path = PurePosixPath(name)
    return path.stem.casefold().replace(path.parent.name.casefold(), "") if not path.parent.name.isdecimal() else path.stem.casefold()


def _could_split(numbers: Numbers, labels: Numbers) -> bool:
    """Whether half of the pictures have a sibling, and every class has enough groups."""
    in_company = (np.bincount(numbers)[numbers] > 1).mean() >= 0.5
    return bool(in_company) and all(len(np.unique(numbers[labels == k])) >= FEWEST_GROUPS for k in np.unique(labels))


def _runs(parts: Sequence[re.Match[str] | None], labels: Numbers) -> Numbers | None:
    """Blocks of consecutive numbers that go once through the classes, as a camera counts when one person after another shows them all.

    A block ends before a class that it has already, unless that is a repeated shot (the same class twice in a row), and before a gap as
    long as the classes are many. None unless numbers tell all pictures apart and half of these are in blocks of nearly all classes.
    """
    if any(found is None for found in parts):
        return None
    keys = [(found[1], found[3], int(found[2])) for found in parts if found]
    classes, order = len(np.unique(labels)), sorted(range(len(keys)), key=keys.__getitem__)
    if len(set(keys)) < len(keys):
        return None
    numbers, block, last, current = np.zeros(len(keys), np.int64), list[int](), keys[order[0]], 0
    for row in order:
        label, key = int(labels[row]), keys[row]
        repeated = block[-1:] == [label] and block[-2:] != [label, label]
        if (label in block and not repeated) or key[:2] != last[:2] or key[2] - last[2] > classes:
            block, current = [], current + 1
        numbers[row] = current
        block.append(label)
        last = key
    spanned = np.bincount(np.unique(np.stack([numbers, labels]), axis=1)[0])  # classes of each block
    return numbers if (spanned[numbers] >= 0.8 * classes).mean() >= 0.5 else None


def _agrees(numbers: Numbers, labels: Numbers, thumbnails: Pixels, across: bool) -> bool:
    """Whether members of a group look alike beyond their class: pairs of one class, or of different classes where `across`.

    The mean correlation of their thumbnails, less the means of the classes, is compared with that of pictures that were exchanged at
    random within their classes (a permutation test): at least SIMILAR more, and SIGNIFICANT deviations.
    """
    residual = _unit(_less_class_means(thumbnails, labels))
    observed, rng = _mean_correlation(residual, numbers, labels, across), np.random.default_rng(0)
    by_class, chance = [np.flatnonzero(labels == k) for k in np.unique(labels)], list[float]()
    for _ in range(PERMUTATIONS):
        exchanged = numbers.copy()
        for rows in by_class:
            exchanged[rows] = numbers[rng.permutation(rows)]
        chance.append(_mean_correlation(residual, exchanged, labels, across))
    return observed - float(np.mean(chance)) > max(SIMILAR, SIGNIFICANT * float(np.std(chance)))


def _mean_correlation(unit: Floats, numbers: Numbers, labels: Numbers, across: bool) -> float:
    """Of all pairs within a group that have one class, or different ones; 0 without any."""
    within = _pairs(unit, numbers * (int(labels.max()) + 1) + labels)
    total, count = np.subtract(_pairs(unit, numbers), within) if across else within
    return float(total / count) if count else 0.0


def _pairs(unit: Floats, numbers: Numbers) -> tuple[float, float]:
    """(sum of the correlations, number) of all pairs within a group: of unit vectors, from the length of each group's sum."""
    _, inverse, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), unit.shape[1]), np.float64)
    np.add.at(sums, inverse, unit)
    return float((sums**2).sum() - (unit**2).sum()) / 2, float((sizes * (sizes - 1)).sum()) / 2


def _less_class_means(thumbnails: Pixels, labels: Numbers) -> Floats:
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    for k in np.unique(labels):
        flat[labels == k] -= flat[labels == k].mean(0)
    return flat


def _unit(vectors: Floats) -> Floats:
    """Each row less its mean and of length 1; 0 where it is flat."""
    centred = vectors - vectors.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-3)


# -------------------------------------------------------------------------------------------------------- near-duplicates


def _join_near_duplicates(numbers: Numbers, labels: Numbers, thumbnails: Pixels) -> Numbers:
    """Groups of near-duplicates made one, the nearest first, as long as none has more than a tenth of a class (or two pictures of it)."""
    most = np.maximum(2, np.bincount(labels) // 10)
    parent = dict[int, int]()
    content = {g: np.unique(labels[numbers == g], return_counts=True) for g in np.unique(numbers).tolist()} if len(numbers) else {}

    def root(g: int) -> int:
        while g in parent:
            g = parent[g]
        return g

    for one, other in _near_pairs(thumbnails):
        a, b = root(int(numbers[one])), root(int(numbers[other]))
        if a == b:
            continue
        classes, inverse = np.unique(np.concatenate([content[a][0], content[b][0]]), return_inverse=True)
        counts = np.bincount(inverse, weights=np.concatenate([content[a][1], content[b][1]])).astype(np.int64)
        if (counts <= most[classes]).all():
            parent[b], content[a] = a, (classes, counts)
    return np.array([root(g) for g in numbers.tolist()], np.int64)


def _near_pairs(thumbnails: Pixels) -> list[tuple[int, int]]:
    """Pairs of rows that are near-duplicates, the nearest first; each row's NEIGHBOURS nearest are looked at."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    unit, found = _unit(flat), list[tuple[float, int, int]]()
    for first in range(0, len(unit), BLOCK):
        alike = unit[first : first + BLOCK] @ unit.T
        alike[np.arange(len(alike)), first + np.arange(len(alike))] = 0
        for i in np.flatnonzero(alike.max(1) >= ALIKE).tolist():
            nearest = np.argsort(-alike[i], kind="stable")[:NEIGHBOURS]
            for j in nearest[alike[i, nearest] >= ALIKE].tolist():
                if np.sqrt(((flat[first + i] - flat[j]) ** 2).mean()) <= CLOSE:
                    found.append((-float(alike[i, j]), min(first + i, j), max(first + i, j)))
    return [(a, b) for _, a, b in sorted(set(found))]


def _numbered(keys: Iterable[Hashable]) -> Numbers:
    """0, 1, ... for keys in the order in which they first come."""
    index: dict[Hashable, int] = {}
    return np.array([index.setdefault(key, len(index)) for key in keys], np.int64)
