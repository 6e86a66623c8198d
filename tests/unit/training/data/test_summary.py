"""Before any training the user reads what the pictures are, and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.training.config.schema import DataConfig
from twofold.training.data.dataset import Pictures, Seen
from twofold.training.data.summary import find_test_split, summarize, warnings


def pictures(*counts: int, seed: int = 0, names: tuple[str, ...] = (), seen: Seen | None = None) -> Pictures:
    """Random pictures, so many of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 28, 28, 1), dtype=np.uint8)
    return Pictures(pixels, labels, names or tuple(f"class {k}" for k in range(len(counts))), {}, seen or Seen())


def joined(first: Pictures, other: Pictures) -> Pictures:
    return Pictures(np.concatenate([first.pixels, other.pixels]), np.concatenate([first.labels, other.labels]), first.class_names, {})


def test_the_table_counts_every_class_in_every_split():
    lines = summarize(pictures(60, 1070), pictures(6, 107, seed=1), pictures(7, 108, seed=2))
    assert lines[0].split() == ["class", "train", "validation", "test"]
    assert lines[1].split() == ["class", "0", "60", "6", "7"]
    assert lines[2].split() == ["class", "1", "1,070", "107", "108"]
    assert lines[3].split() == ["all", "1,130", "113", "115"]


def test_hundreds_of_classes_are_summed_up():
    lines = summarize(pictures(*range(50, 350)), pictures(*[5] * 300, seed=1), None)
    assert "... and 260 more with 90 to 349 train, 5 to 5 validation" in lines
    assert len(lines) < 60


def test_sizes_modes_and_skipped_files_are_shown_with_the_reasons():
    seen = Seen(skipped=tuple((f"a/{i}.png", "damaged") for i in range(12)))
    seen.sizes.update({(28, 28): 100, (30, 20): 20})
    seen.modes.update({"L": 119, "RGB": 1})
    lines = summarize(pictures(60, 60, seen=seen), pictures(6, 6, seed=1), None)
    assert "sizes: 28x28 (100), 30x20 (20); modes: L (119), RGB (1)" in lines
    assert "skipped 12: damaged (12)" in lines
    assert "  a/9.png: damaged" in lines
    assert "  ... and 2 more" in lines


def test_a_hostile_name_cannot_control_the_terminal():
    text = "\n".join(summarize(pictures(60, 60, names=("a\x1b[2J", "b\u202e")), pictures(6, 6, seed=1), None))
    assert "a?[2J" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_good_pictures_raise_no_warning():
    assert list(warnings(pictures(60, 60), pictures(6, 6, seed=1), pictures(6, 6, seed=2))) == []


@pytest.mark.parametrize(("counts", "warned"), [((44, 60), False), ((43, 60), True)])
def test_fewer_than_50_pictures_of_a_class_are_a_warning(counts, warned):
    found = list(warnings(pictures(*counts), pictures(6, 6, seed=1), pictures(6, 6, seed=2)))
    assert found == (["1 of 2 classes have fewer than 50 pictures to learn from: class 0"] if warned else [])


@pytest.mark.parametrize(("counts", "warned"), [((1000, 50), False), ((1001, 50), True)])
def test_an_imbalance_beyond_20_is_a_warning(counts, warned):
    found = list(warnings(pictures(*counts), pictures(0, 0), pictures(6, 6, seed=2)))
    assert found == (["class 0 has 20 times as many pictures as class 1"] if warned else [])


def test_pictures_that_are_in_two_splits_are_counted_by_their_pixels():
    train, fresh = pictures(60, 60), pictures(6, 6, seed=1)
    test = joined(fresh, train.take(np.array([3, 70, 71])))
    found = list(warnings(train, fresh, test))
    assert found == ["3 of 15 test pictures are also among the training pictures: figures will be too good"]


def test_a_picture_in_two_classes_is_a_warning():
    train = pictures(60, 60)
    train.pixels[70] = train.pixels[3]
    found = list(warnings(train, pictures(6, 6, seed=1), pictures(6, 6, seed=2)))
    assert found == ["1 training pictures are also in another class"]


def test_a_missing_test_split_is_a_warning(tmp_path):
    assert find_test_split(DataConfig(), tmp_path) is None
    assert list(warnings(pictures(60, 60), pictures(6, 6, seed=1), None)) == [
        "no test split: figures can only be made on validation pictures"
    ]
