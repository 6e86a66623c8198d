"""Tables as people write them: every layout and kind of label whose meaning is clear is read, any other is refused with file and row."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Array2D, ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from twofold.training.config.schema import DataConfig
from twofold.training.data.dataset import DataError, Pictures, load, load_for
from twofold.training.data.summary import find_test_split

ROWS = 20


def picture(level: int) -> dict:
    stream = io.BytesIO()
    Image.new("L", (8, 8), level).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def write(file: Path, label: object = None, labels: list | None = None, first: int = 0, **more: tuple[object, list]) -> Path:
    """A table of ROWS pictures of levels `first`, ...; `label` is the type of its label column, `more` are other columns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"image": ImageFeature(), "label": label or ClassLabel(names=["a", "b"])}
    columns = {"image": [picture(first + i) for i in range(ROWS)], "label": labels or [i % 2 for i in range(ROWS)]}
    for key, (kind, values) in more.items():
        kinds[key], columns[key] = kind, values
    Dataset.from_dict(columns, features=Features(kinds)).to_parquet(file)
    return file


def levels(pictures: Pictures) -> list[int]:
    return pictures.pixels[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("training/0000.parquet", "testing/0000.parquet"),
    ],
)
def test_every_layout_of_the_hub_and_of_pandas_is_read(tmp_path, train, test):
    write(tmp_path / train)
    write(tmp_path / test, first=100)
    assert levels(load(tmp_path)) == list(range(ROWS))
    assert levels(load(tmp_path, "test")) == list(range(100, 100 + ROWS))


def test_several_data_sets_in_one_folder_are_refused_by_their_names(tmp_path):
    for name in ("large", "small"):
        write(tmp_path / name / "train" / "0000.parquet")
    with pytest.raises(DataError, match=r"several data sets \(large, small\)"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_the_validation_file_is_the_validation_split(tmp_path, name):
    write(tmp_path / "train.parquet")
    write(tmp_path / f"{name}.parquet", first=50)
    train, validation = load_for(DataConfig(), tmp_path)
    assert (levels(train), levels(validation)) == (list(range(ROWS)), list(range(50, 50 + ROWS)))
    assert set(train.source["files"]) == {"train.parquet", f"{name}.parquet"}


@pytest.mark.parametrize(
    ("kind", "cells", "names"),
    [
        (Value("string"), ["v10", "v9"], ("v9", "v10")),
        (Value("int64"), [3, 7], ("3", "7")),
        (Value("bool"), [False, True], ("False", "True")),
        (Value("float64"), [0.0, 1.0], ("0", "1")),
    ],
)
def test_names_numbers_and_truth_values_are_labels(tmp_path, kind, cells, names):
    write(tmp_path / "train.parquet", kind, cells * (ROWS // 2))
    write(tmp_path / "test.parquet", kind, cells[:1] * ROWS)
    train, test = load(tmp_path), load(tmp_path, "test")
    assert train.class_names == test.class_names == names
    assert train.labels.tolist() == [names.index(str(int(c) if isinstance(c, float) else c)) for c in cells] * (ROWS // 2)
    assert set(test.labels.tolist()) == {int(train.labels[0])}


def test_pandas_without_the_hubs_schema_is_read(tmp_path):
    columns = {"image": pa.array([picture(i) for i in range(ROWS)]), "label": pa.array([i % 2 for i in range(ROWS)])}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    pictures = load(tmp_path)
    assert (levels(pictures), pictures.class_names) == (list(range(ROWS)), ("0", "1"))


def test_pictures_as_plain_bytes_are_read(tmp_path):
    columns = {"image": pa.array([picture(i)["bytes"] for i in range(ROWS)]), "label": pa.array(["x", "y"] * (ROWS // 2))}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    assert levels(load(tmp_path)) == list(range(ROWS))


@pytest.mark.parametrize(
    ("kind", "empty"), [(None, None), (None, -1), (Value("string"), None), (Value("string"), " "), (Value("int32"), -1)]
)
def test_a_row_without_a_label_is_skipped_by_file_and_row(tmp_path, kind, empty):
    cells = ["ab"[i % 2] if kind == Value("string") else i % 2 for i in range(ROWS)]
    cells[3] = empty
    write(tmp_path / "train.parquet", kind, cells)
    pictures = load(tmp_path)
    assert levels(pictures) == [level for level in range(ROWS) if level != 3]
    assert pictures.seen.skipped == (("row 3 of train.parquet", "not labelled"),)


def test_a_row_without_a_picture_is_skipped_by_file_and_row(tmp_path):
    file = write(tmp_path / "train.parquet")
    columns = Dataset.from_parquet(str(file)).to_dict()
    columns["image"][5] = None
    Dataset.from_dict(columns, features=Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"])})).to_parquet(file)
    pictures = load(tmp_path)
    assert 5 not in levels(pictures)
    assert pictures.seen.skipped == (("row 5 of train.parquet", "no picture in the table"),)


def test_rows_of_several_files_are_counted_in_their_own_file(tmp_path):
    write(tmp_path / "train-0.parquet")
    write(tmp_path / "train-1.parquet", labels=[None if i == 4 else 0 for i in range(ROWS)], first=100)
    assert load(tmp_path).seen.skipped == (("row 4 of train-1.parquet", "not labelled"),)


@pytest.mark.parametrize(("kind", "outside"), [(Value("string"), "c"), (Value("int64"), 9)])
def test_a_label_that_training_does_not_know_is_refused_with_its_row(tmp_path, kind, outside):
    known = ["a", "b"] if kind == Value("string") else [0, 1]
    write(tmp_path / "train.parquet", kind, known * (ROWS // 2))
    write(tmp_path / "test.parquet", kind, known[:1] * (ROWS - 1) + [outside])
    with pytest.raises(DataError, match=f"row {ROWS - 1} of test.parquet: the label {outside} is none of the 2 classes"):
        load(tmp_path, "test")


@pytest.mark.parametrize("number", [2, -7])
def test_a_label_beyond_the_class_names_is_refused_with_its_row(tmp_path, number):
    file = write(tmp_path / "train.parquet")
    table = pq.read_table(file)
    values = pa.array([number if i == 6 else 0 for i in range(ROWS)], pa.int64())
    pq.write_table(table.set_column(1, table.schema.field("label"), values), file)
    with pytest.raises(DataError, match=f"row 6 of train.parquet: the label {number} is none of the 2 classes"):
        load(tmp_path)


def test_an_unlabelled_test_split_counts_as_none(tmp_path):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", labels=[-1] * ROWS)
    assert find_test_split(DataConfig(), tmp_path) is None
    with pytest.raises(DataError, match="no row of the test split has a label"):
        load(tmp_path, "test")


def test_columns_that_training_does_not_need_are_never_in_the_way(tmp_path):
    age, grid = [None if i == 3 else i for i in range(ROWS)], [np.zeros((4, 4), np.uint8).tolist()] * ROWS
    write(tmp_path / "train.parquet", age=(Value("int32"), age), grid=(Array2D((4, 4), "uint8"), grid), pose=(Value("int8"), [1] * ROWS))
    pictures = load(tmp_path)
    assert len(pictures) == ROWS
    assert {key: values.shape for key, values in pictures.attributes.items()} == {"pose": (ROWS,)}


def test_a_damaged_file_is_refused_by_its_name(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(DataError, match=r"train\.parquet: damaged"):
        load(tmp_path)
