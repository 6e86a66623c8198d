"""Labelled pictures are read as they are stored, and validation rows are cut off in proportion."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from twofold.model.contract import Dims, Preprocessing
from twofold.training.config.schema import DataConfig
from twofold.training.data.dataset import DataError, Pictures, load, load_for, shuffled_rows, split_validation

NAMES = ["cat", "dog", "owl"]


def encoded(level: int, mode: str = "L", size: tuple[int, int] = (8, 8)) -> dict:
    stream = io.BytesIO()
    Image.new(mode, size, level if mode == "L" else (level, 0, 255 - level)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def write(folder: Path, columns: dict, features: dict, split: str = "train", part: str = "00000-of-00001") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns, features=Features(features)).to_parquet(folder / f"{split}-{part}.parquet")
    return folder


def unbalanced(*counts: int) -> Pictures:
    """Pictures whose first pixel holds their row number, so that rows can be told apart."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = np.arange(len(labels), dtype=np.uint16).view(np.uint8).reshape(-1, 1, 2, 1)
    return Pictures(pixels, labels, tuple(NAMES[: len(counts)]), {})


def row_numbers(pictures: Pictures) -> list[int]:
    return pictures.pixels.reshape(-1).view(np.uint16).tolist()


# ----------------------------------------------------------------------------------------------------------------- load


def test_the_sample_is_real_pictures_with_their_class_names(sample):
    assert sample.pixels.shape == (2000, 28, 28, 1)
    assert np.bincount(sample.labels).tolist() == [200] * 10
    assert sample.class_names[0].startswith("T - shirt")
    assert sample.class_names[9] == "Ankle boot"
    assert 0.25 < sample.pixels.mean() / 255 < 0.32  # the whole training split has 0.286
    assert sample.class_weights.tolist() == pytest.approx([0.1] * 10)


def test_the_source_names_the_split_its_rows_and_the_hashes_of_its_files(sample):
    assert (sample.source["name"], sample.source["split"], sample.source["rows"]) == ("fashion-sample", "train", 2000)
    ((name, digest),) = sample.source["files"].items()
    assert name == "train-00000-of-00001.parquet"
    assert len(digest) == 64


def test_a_colour_column_called_img_is_found_and_read_as_rgb(tmp_path):
    folder = write(
        tmp_path,
        {"img": [encoded(10, "RGB"), encoded(200, "RGB")], "label": [2, 0]},
        {"img": ImageFeature(), "label": ClassLabel(names=NAMES)},
    )
    pictures = load(folder)
    assert pictures.pixels.shape == (2, 8, 8, 3)
    assert pictures.pixels[:, 0, 0].tolist() == [[10, 0, 245], [200, 0, 55]]
    assert pictures.labels.tolist() == [2, 0]
    assert pictures.class_names == tuple(NAMES)


@pytest.mark.parametrize(("first", "second", "chosen"), [("kind", "label", "label"), ("kind", "pose", "kind")])
def test_the_label_is_the_column_called_label_or_the_first_with_class_names(tmp_path, first, second, chosen):
    features = {
        "image": ImageFeature(),
        "label_number": Value("int64"),
        first: ClassLabel(names=NAMES),
        second: ClassLabel(names=["left", "right"]),
    }
    folder = write(tmp_path, {"image": [encoded(0)], "label_number": [5], first: [2], second: [1]}, features)
    pictures = load(folder)
    assert (pictures.class_names, pictures.labels.tolist()) == ((tuple(NAMES), [2]) if chosen == first else (("left", "right"), [1]))


def test_files_in_a_data_folder_and_in_several_parts_are_one_split_in_order(tmp_path):
    features = {"image": ImageFeature(), "label": ClassLabel(names=NAMES)}
    write(tmp_path / "data", {"image": [encoded(20)], "label": [1]}, features, part="00001-of-00002")
    write(tmp_path / "data", {"image": [encoded(10)], "label": [0]}, features, part="00000-of-00002")
    pictures = load(tmp_path)
    assert pictures.pixels[:, 0, 0, 0].tolist() == [10, 20]
    assert len(pictures.source["files"]) == 2


def test_the_test_split_is_read_only_by_its_name(tmp_path):
    features = {"image": ImageFeature(), "label": ClassLabel(names=NAMES)}
    write(tmp_path, {"image": [encoded(1)] * 2, "label": [0, 1]}, features)
    write(tmp_path, {"image": [encoded(2)], "label": [2]}, features, split="test")
    assert load(tmp_path).pixels.max() == 1
    assert load(tmp_path, "test").pixels.min() == 2


def test_pictures_go_through_the_services_own_preprocessing(tmp_path):
    clear = io.BytesIO()
    Image.new("LA", (6, 3), (0, 0)).save(clear, "PNG")
    folder = write(
        tmp_path,
        {"image": [{"bytes": clear.getvalue(), "path": None}], "label": [0]},
        {"image": ImageFeature(), "label": ClassLabel(names=NAMES)},
    )
    pictures = load(folder, dims=Dims(1, 1, 3, 4, 4, 1), preprocessing=Preprocessing(background=(77,)))
    assert pictures.pixels.shape == (1, 4, 4, 1)
    assert (pictures.pixels == 77).all()


def test_a_configuration_decides_size_channels_and_how_much_is_held_back(tmp_path):
    features = {"image": ImageFeature(), "label": ClassLabel(names=NAMES)}
    folder = write(tmp_path, {"image": [encoded(i) for i in range(60)], "label": [i % 3 for i in range(60)]}, features)
    train, validation = load_for(DataConfig(height=16, width=12, channels=3, validation_rows=3), folder)
    assert train.pixels.shape == (57, 16, 12, 3)
    assert validation.labels.tolist().count(0) == validation.labels.tolist().count(2) == 1
    assert len(load_for(DataConfig(), folder)[1]) == 6  # never more than a tenth


def test_a_missing_split_says_which_files_are_wanted(tmp_path):
    with pytest.raises(DataError, match=r"no test-\*\.parquet"):
        load(tmp_path, "test")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"image": Value("int64"), "label": ClassLabel(names=NAMES)}, "a column of type Image"),
        ({"image": ImageFeature(), "kind": Value("int64")}, "a column of labels, called label or of type ClassLabel; it has image, kind"),
        ({"image": ImageFeature(), "label": Value("float32")}, r"row 1 of train-.*parquet: the column 'label' holds 0\.5"),
    ],
)
def test_a_table_without_pictures_or_without_labels_is_refused(tmp_path, columns, words):
    cells = {"image": [0, 1] if isinstance(columns["image"], Value) else [encoded(0), encoded(1)]}
    others = {key: [0.0, 0.5] if "float" in str(kind) else [0, 1] for key, kind in columns.items() if key != "image"}
    with pytest.raises(DataError, match=words):
        load(write(tmp_path, cells | others, columns))


@pytest.mark.parametrize("position", [0, 1])
def test_a_damaged_picture_is_refused(tmp_path, position):
    cells = [encoded(0), encoded(1)]
    cells[position] = {"bytes": cells[position]["bytes"][:40], "path": None}
    folder = write(tmp_path, {"image": cells, "label": [0, 1]}, {"image": ImageFeature(), "label": ClassLabel(names=NAMES)})
    with pytest.raises(DataError, match=rf"the picture in row {position} of train-00000-of-00001\.parquet cannot be decoded: damaged"):
        load(folder)


# ----------------------------------------------------------------------------------------------------------- validation


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(8, 60), min_size=2, max_size=3), share=st.floats(0.05, 0.5))
def test_validation_rows_are_disjoint_complete_and_in_proportion(counts, share):
    pictures = unbalanced(*counts)
    rows = max(1, int(share * len(pictures)))
    train, validation = split_validation(pictures, rows)
    assert sorted(row_numbers(train) + row_numbers(validation)) == list(range(len(pictures)))
    assert len(validation) == rows
    for k, count in enumerate(counts):
        assert abs((validation.labels == k).sum() - count * rows / len(pictures)) < 1
    for part in (train, validation):
        assert (part.labels == pictures.labels[row_numbers(part)]).all()


def test_the_same_seed_cuts_the_same_rows_and_another_seed_others():
    pictures = unbalanced(50, 30)
    assert row_numbers(split_validation(pictures, 20)[1]) == row_numbers(split_validation(pictures, 20)[1])
    assert row_numbers(split_validation(pictures, 20)[1]) != row_numbers(split_validation(pictures, 20, seed=1)[1])


@pytest.mark.parametrize("counts", [(3, 30), (0, 30)])
def test_a_class_that_would_be_left_without_pictures_is_refused(counts):
    with pytest.raises(DataError, match="too few pictures per class"):
        split_validation(unbalanced(*counts), 31)


def test_batches_show_every_row_once_before_any_row_twice():
    drawn = shuffled_rows(np.zeros(10, np.int64), 3, np.random.default_rng(0))
    epochs = [np.concatenate([next(drawn) for _ in range(3)]).tolist() for _ in range(2)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert epochs[0] != epochs[1]
