"""Which rows are held back, as a test split or for validation: in proportion to the classes, by whole groups where there are groups.

Pure, and the same rows for the same seed. Knows labels and group numbers, not pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.training.data.source import DataError

CUT_SEED = 20190616
VALIDATION_SEED = 20190616
FEWEST = 6  # pictures of a class to be split: two to test with (a variance needs two), four for training and validation
FEWEST_GROUPS = 3  # of a class: one to learn from, one to validate with, one to test with

Numbers = NDArray[np.int64]


def cut_test(labels: Numbers, class_names: Sequence[str], groups: Numbers | None = None) -> tuple[Numbers, Numbers]:
    """(train, test) row numbers: a tenth of every class, at least two pictures, is the test split; the same rows every time.

    With `groups` [N] the test split holds whole groups, as near to a tenth as they allow. Raises DataError if a class has fewer than 6
    pictures, or 3 groups.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    if counts.min() < FEWEST:
        few = int(counts.argmin())
        raise DataError(f"the class {class_names[few]!r} has {counts[few]} pictures: give every class at least {FEWEST}, better 50")
    most = np.array([max(2, round(count / 10)) for count in counts.tolist()])
    if groups is None:
        held = _rows_of_classes(labels, most, CUT_SEED)
    else:
        _check_groups(labels, class_names, groups)
        held = np.flatnonzero(np.isin(groups, _whole_groups(labels, groups, most, CUT_SEED)))
        missing = np.setdiff1d(np.arange(len(class_names)), labels[held])
        if len(missing):
            raise DataError(f"the class {class_names[missing[0]]!r} has too few groups to be in two splits: give more groups of it")
    return np.setdiff1d(np.arange(len(labels)), held), held


def cut_validation(
    labels: Numbers, class_names: Sequence[str], rows: int, seed: int, groups: Numbers | None = None, most: int = 0
) -> tuple[Numbers, Numbers]:
    """(train, validation) row numbers with `rows` validation rows; every class gives in proportion to its size (largest remainders).

    With `groups` [N] these are whole groups, the first that reach `rows` of those that would make up `most` rows: a smaller cut is part
    of a larger one. Raises DataError if a class would be left empty.
    """
    take = _shares(labels, len(class_names), rows if groups is None else max(rows, most))
    if (take >= np.bincount(labels, minlength=len(class_names))).any():
        raise DataError("too few pictures per class for a validation split: use fewer validation rows")
    if groups is None:
        held = _rows_of_classes(labels, take, seed)
    else:
        order = _whole_groups(labels, groups, take, seed)
        sizes = np.cumsum([int((groups == g).sum()) for g in order])
        held = np.flatnonzero(np.isin(groups, order[: int(np.searchsorted(sizes, rows)) + 1]))
        if not len(held):
            raise DataError("the groups are too large for a validation split: give more groups, or fewer pictures to each")
    return np.setdiff1d(np.arange(len(labels)), held), held


def _shares(labels: Numbers, classes: int, rows: int) -> Numbers:
    share = np.bincount(labels, minlength=classes) * rows / len(labels)
    take = np.floor(share).astype(np.int64)
    take[np.argsort(take - share, kind="stable")[: rows - take.sum()]] += 1
    return take


def _rows_of_classes(labels: Numbers, take: Numbers, seed: int) -> Numbers:
    """So many rows of each class, drawn by the seed, in their order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return np.sort(np.concatenate([order[labels[order] == k][:n] for k, n in enumerate(take.tolist())]))


def _whole_groups(labels: Numbers, groups: Numbers, take: Numbers, seed: int) -> list[int]:
    """Group numbers in the order of their draw: those that bring the classes nearer to `take` rows, and leave every class something.

    A class of which none was chosen gives its smallest group.
    """
    numbers, inverse = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    need, left = take.astype(float), np.bincount(labels, minlength=len(take))
    tables = [np.unique(labels[rows], return_counts=True) for rows in members]  # (classes, counts) of each group
    chosen: list[int] = []

    def choose(g: int) -> None:
        classes, counts = tables[g]
        chosen.append(g)
        need[classes] -= counts
        left[classes] -= counts

    for g in np.random.default_rng(seed).permutation(len(members)).tolist():
        classes, counts = tables[g]
        gain = ((need[classes] ** 2 - (need[classes] - counts) ** 2) / np.maximum(1, take[classes])).sum()
        if gain > 0 and (left[classes] > counts).all():
            choose(g)
    for k in np.flatnonzero((need == take) & (take > 0)).tolist():
        able = [g for g in np.unique(inverse[labels == k]).tolist() if g not in chosen and (left[tables[g][0]] > tables[g][1]).all()]
        if able and need[k] == take[k]:
            choose(min(able, key=lambda g: (len(members[g]), g)))
    return [int(numbers[g]) for g in chosen]


def _check_groups(labels: Numbers, class_names: Sequence[str], groups: Numbers) -> None:
    for k, name in enumerate(class_names):
        count = len(np.unique(groups[labels == k]))
        if count < FEWEST_GROUPS:
            raise DataError(
                f"the class {name!r} has {count} groups: a split by groups needs at least {FEWEST_GROUPS} of every class, better 10"
            )
