"""Folders of pictures, .npz files and the hub are read by one function, and what cannot be used is named, not guessed."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from twofold.model.blocks import halvings
from twofold.training.config.schema import DataConfig
from twofold.training.data.dataset import DataError, load, load_for, nearest_size
from twofold.training.data.decoding import FORMATS_TEXT

SAMPLE = Path(__file__).parents[3] / "data" / "fashion-sample"


def paint(folder: Path, count: int, first: int = 0, size: tuple[int, int] = (28, 28), mode: str = "L") -> Path:
    """Pictures 0.png, 1.png, ... of one level each: first, first + 1, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        level = (first + i) % 256
        Image.new(mode, size, level if mode == "L" else (level, 255 - level, 9)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """Class 2 with 20 pictures of levels 0.., class 10 with 20 of levels 100.. ."""
    for name, first in (("10", 100), ("2", 0)):
        paint(tmp_path / "numbers" / name, 20, first)
    return tmp_path / "numbers"


def levels(pictures) -> list[int]:
    return pictures.pixels[:, 0, 0, 0].tolist()


# --------------------------------------------------------------------------------------------------------------- folders


def test_sub_folders_are_classes_sorted_as_people_count(folder):
    train = load(folder)
    assert train.class_names == ("2", "10")
    assert train.pixels.shape == (36, 28, 28, 1)
    assert all((level >= 100) == bool(label) for level, label in zip(levels(train), train.labels, strict=True))
    ordered = sorted(set(levels(train)) & set(range(100)))
    assert [level for level in levels(train) if level < 100] == ordered  # 2.png before 10.png


def test_a_folder_without_splits_is_cut_80_10_10_and_always_alike(folder):
    train, validation = load_for(DataConfig(), folder)
    test = load(folder, "test")
    assert [np.bincount(part.labels).tolist() for part in (train, validation, test)] == [[16, 16], [2, 2], [2, 2]]
    assert sorted(levels(train) + levels(validation) + levels(test)) == [*range(20), *range(100, 120)]
    assert levels(load(folder, "test")) == levels(test)


def test_a_folders_own_splits_are_taken_as_they_are(tmp_path):
    for split, count, first in (("train", 9, 0), ("val", 2, 50), ("Test", 3, 90)):
        for name in ("a", "b"):
            paint(tmp_path / split / name, count, first)
    train, validation = load_for(DataConfig(), tmp_path)
    assert (set(levels(train)), set(levels(validation))) == (set(range(9)), {50, 51})
    assert set(levels(load(tmp_path, "test"))) == {90, 91, 92}


def test_without_a_test_folder_the_tenth_of_train_is_the_test_split(tmp_path):
    for name in ("a", "b"):
        paint(tmp_path / "train" / name, 20)
    assert (len(load(tmp_path)), len(load(tmp_path, "test"))) == (36, 4)


def test_a_folder_called_test_without_folders_in_it_is_a_class(tmp_path):
    for name in ("test", "train"):
        paint(tmp_path / name, 6)
    assert load(tmp_path).class_names == ("test", "train")


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def jpeg_with_scans(path: Path, scans: int) -> bytes:
    Image.new("L", (8, 8)).save(path, "JPEG")
    data = path.read_bytes()
    return data[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00" * scans + data[-2:]


def test_files_that_are_no_pictures_are_skipped_with_the_reason(folder, tmp_path):
    hostile = folder / "2"
    good = (hostile / "0.png").read_bytes()
    (hostile / "cut.png").write_bytes(good[: len(good) - 30])
    (hostile / "empty.png").write_bytes(b"")
    (hostile / "bomb.png").write_bytes(png_that_claims(50_000, 50_000))
    (hostile / "wide.png").write_bytes(png_that_claims(20_000, 1))
    (hostile / "scans.jpg").write_bytes(jpeg_with_scans(tmp_path / "one.jpg", 200))
    frames = [Image.new("L", (28, 28), level) for level in (0, 255)]
    frames[0].save(hostile / "film.webp", save_all=True, append_images=frames[1:], lossless=True)
    (hostile / "notes.txt").write_text("not a picture")
    (hostile / "deeper").mkdir()
    os.mkfifo(hostile / "pipe.png")
    (hostile / ".hidden.png").write_bytes(b"?")
    Image.new("L", (28, 28)).save(folder / "loose.png")
    train, test = load(folder), load(folder, "test")
    reasons = {Path(name).name: reason for name, reason in (*train.seen.skipped, *test.seen.skipped)}
    assert reasons.pop("cut.png") == "damaged"
    assert reasons.pop("empty.png") == "empty"
    assert reasons.pop("bomb.png") in ("50000x50000 pixels are too many", "too many pixels")
    assert reasons.pop("wide.png") == "20000x1 pixels are too many"
    assert reasons.pop("scans.jpg") == "more than 100 JPEG scans"
    assert reasons.pop("film.webp") == "animated"
    assert reasons.pop("notes.txt") == f"not {FORMATS_TEXT}"
    assert reasons.pop("deeper") == "a folder within a class"
    assert reasons.pop("pipe.png") == "not a regular file"
    assert reasons.pop("loose.png") == "not in the folder of a class"
    assert reasons == {}
    assert sorted(levels(train) + levels(test)) == [*range(20), *range(100, 120)]


def test_another_byte_in_a_picture_is_another_data_set(folder):
    before = load(folder).source["files"]
    assert load(folder).source["files"] == before
    paint(folder / "2", 20, first=1)
    assert load(folder).source["files"] != before


def test_one_class_is_refused(tmp_path):
    paint(tmp_path / "only", 20)
    with pytest.raises(DataError, match="at least two classes"):
        load(tmp_path)


def test_an_empty_class_is_refused_by_name(folder):
    (folder / "3").mkdir()
    with pytest.raises(DataError, match=r"no picture .* in the class folder '3'"):
        load(folder)


def test_every_empty_class_is_named(folder):
    for name in ("3", "4"):
        (folder / name).mkdir()
    with pytest.raises(DataError, match=r"in the 2 class folders '3', '4'"):
        load(folder)


def test_what_systems_leave_behind_is_no_class_and_no_picture(folder):
    before = load(folder)
    for name in ("__MACOSX", "@eaDir", ".git", "System Volume Information"):
        paint(folder / name, 3)
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / "2" / name).write_bytes(b"left behind")
    (folder / "2" / "@eaDir").mkdir()
    after = load(folder)
    assert (after.class_names, after.source, after.seen.skipped) == (before.class_names, before.source, ())


@pytest.mark.parametrize("count", [3, 5])
def test_too_few_pictures_of_a_class_are_refused_with_the_number_needed(tmp_path, count):
    for name, pictures in (("a", 20), ("b", count)):
        paint(tmp_path / name, pictures)
    with pytest.raises(DataError, match=f"class 'b' has {count} pictures: give every class at least 6"):
        load_for(DataConfig(), tmp_path)


def test_the_fewest_pictures_give_every_class_to_every_split(tmp_path):
    for name, first in (("a", 0), ("b", 100)):
        paint(tmp_path / name, 6, first)
    parts = (*load_for(DataConfig(), tmp_path), load(tmp_path, "test"))
    assert [np.bincount(part.labels).tolist() for part in parts] == [[3, 3], [1, 1], [2, 2]]


def test_too_few_pictures_beside_a_test_split_are_refused(tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/b"):
        paint(tmp_path / name, 3)
    with pytest.raises(DataError, match="'a' has 3 readable pictures: give every class 4 or more"):
        load_for(DataConfig(), tmp_path)


def test_a_class_of_which_no_picture_can_be_read_is_refused_by_name(folder):
    (folder / "3").mkdir()
    for i in range(6):
        (folder / "3" / f"{i}.png").write_bytes(b"\x89PNG, but no picture")
    with pytest.raises(DataError, match="'3' has no readable picture"):
        load_for(DataConfig(), folder)


def test_a_folder_of_which_no_picture_can_be_read_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(6):
            (tmp_path / name / f"{i}.png").write_bytes(b"\x89PNG, but no picture")
    with pytest.raises(DataError, match="no readable picture"):
        load(tmp_path)


def test_a_test_class_that_training_does_not_know_is_refused(tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/c"):
        paint(tmp_path / name, 5)
    with pytest.raises(DataError, match="class 'c' that the training pictures do not have"):
        load(tmp_path, "test")


def test_a_picture_of_another_size_or_mode_becomes_what_most_are(folder):
    paint(folder / "2", 1, size=(60, 50), mode="RGB")
    train, test = load(folder), load(folder, "test")
    assert train.pixels.shape[1:3] == test.pixels.shape[1:3] == (28, 28)
    assert (train.seen.sizes + test.seen.sizes)[60, 50] == 1
    assert (train.seen.modes + test.seen.modes)["RGB"] == 1


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ((28, 28), (28, 28)),
        ((64, 64), (64, 64)),
        ((48, 64), (48, 64)),
        ((30, 30), (28, 28)),
        ((63, 61), (64, 64)),
        ((100, 100), (96, 96)),
        ((4000, 3000), (128, 96)),
        ((500, 500), (128, 128)),
        ((60, 200), (40, 128)),
        ((20, 20), (20, 20)),
    ],
)
def test_the_nearest_size_is_one_that_the_model_takes(given, taken):
    assert nearest_size(*given) == taken
    assert halvings(*reversed(nearest_size(*given))) >= 1


# ------------------------------------------------------------------------------------------------------------------- npz


def test_an_npz_file_with_splits_is_read_as_it_is(tmp_path):
    x = np.arange(6 * 28 * 28, dtype=np.uint32).reshape(6, 28, 28).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x_train=x[:4], y_train=[0, 1, 0, 1], x_test=x[4:], y_test=np.array([[1], [0]]), other=[1.5])
    train, test = load(tmp_path / "d.npz"), load(tmp_path / "d.npz", "test")
    assert (train.pixels[..., 0] == x[:4]).all()
    assert (test.pixels[..., 0] == x[4:]).all()
    assert (train.class_names, test.labels.tolist()) == (("0", "1"), [1, 0])


def test_images_and_labels_are_split_80_10_10_and_names_sorted_as_people_count(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "d.npz", images=x, labels=np.array(["v10", "v9"] * 20))
    train, validation = load_for(DataConfig(), tmp_path / "d.npz")
    test = load(tmp_path / "d.npz", "test")
    assert train.class_names == ("v9", "v10")
    assert [np.bincount(part.labels).tolist() for part in (train, validation, test)] == [[16, 16], [2, 2], [2, 2]]
    together = {picture.tobytes() for part in (train, validation, test) for picture in part.pixels}
    assert together == {picture.tobytes() for picture in x}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": np.zeros((2, 28, 28), np.uint8)}, "must hold x_train, y_train"),
        ({"images": np.zeros((4, 28, 28), np.float32), "labels": [0, 0, 1, 1]}, "must be uint8"),
        ({"images": np.zeros((4, 28, 28, 2), np.uint8), "labels": [0, 0, 1, 1]}, "must be uint8"),
        ({"images": np.zeros((3, 28, 28), np.uint8), "labels": [0, 0, 1, 1]}, "one label in labels for each"),
        ({"images": np.zeros((4, 28, 28), np.uint8), "labels": [0, 0, -1, 1]}, "integers from 0"),
        ({"images": np.zeros((12, 28, 28), np.uint8), "labels": [0] * 6 + [2] * 6}, "class '1' has 0 pictures"),
        ({"images": np.zeros((6, 28, 28), np.uint8), "labels": [0, 0, 0, 1, 1, 1], "class_names": ["a"]}, "fewer names"),
        ({"images": np.array([{}] * 4), "labels": [0, 0, 1, 1]}, "plain arrays"),
    ],
)
def test_an_npz_file_of_another_content_is_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=words):
        load(tmp_path / "d.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no zip at all"])
def test_a_damaged_npz_file_is_refused(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        load(tmp_path / "d.npz")


# ---------------------------------------------------------------------------------------------------------------- tables


def test_columns_of_whole_numbers_stay_with_their_pictures(tmp_path):
    paint(tmp_path / "painted", 40)
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "pose": datasets.Value("int32"),
            "action": datasets.ClassLabel(names=["walk", "run"]),
            "weight": datasets.Value("float32"),
            "artist": datasets.Value("string"),
        }
    )
    rows = {
        "image": [{"bytes": (tmp_path / "painted" / f"{i}.png").read_bytes(), "path": None} for i in range(40)],
        "label": [i % 2 for i in range(40)],
        "pose": list(range(40)),
        "action": [i // 20 for i in range(40)],
        "weight": [0.5] * 40,
        "artist": ["nobody"] * 40,
    }
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    kept, held = load_for(DataConfig(validation_rows=4), tmp_path / "data")
    for pictures in (kept, held):
        assert set(pictures.attributes) == {"pose", "action"}
        assert pictures.attributes["pose"].tolist() == levels(pictures)
        assert pictures.attributes["action"].tolist() == [level // 20 for level in levels(pictures)]
    assert load(SAMPLE).attributes == {}


# ------------------------------------------------------------------------------------------------------------------- hub

PROGRAM = """
import sys
from pathlib import Path
from twofold.training.data.dataset import DataError, load
try:
    pictures = load(Path(sys.argv[1]), sys.argv[2])
    print(pictures.pixels.shape, pictures.source["name"], len(pictures.class_names))
except DataError as error:
    print(error)
"""


def load_from_hub(home: Path, repository: str, split: str = "train", **environ: str) -> str:
    environment = {**os.environ, "HF_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[4]), **environ}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, repository, split], env=environment, capture_output=True, text=True, timeout=200, check=True
    )
    return found.stdout.strip()


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory) -> Path:
    """A home with one data set in the library's cache, laid out as after a download from the hub."""
    home = tmp_path_factory.mktemp("home")
    files = {split: str(SAMPLE / f"{split}-00000-of-00001.parquet") for split in ("train", "test")}
    datasets.disable_progress_bars()
    prepared = datasets.load_dataset_builder("parquet", data_files=files, cache_dir=str(home / "prepared"))
    prepared.download_and_prepare()
    cached = home / "datasets" / "somebody___small_pictures" / "default" / "0.0.0" / ("0" * 40)
    cached.mkdir(parents=True)
    for file in Path(prepared.cache_dir).iterdir():
        shutil.copy(file, cached / file.name.replace("parquet-", "small_pictures-"))
    return home


@pytest.mark.parametrize(("split", "rows"), [("train", 2000), ("test", 400)])
@pytest.mark.slow
def test_a_hub_id_is_read_from_the_cache_when_offline(hub_cache, split, rows):
    found = load_from_hub(hub_cache, "somebody/small_pictures", split, HF_HUB_OFFLINE="1")
    assert found == f"({rows}, 28, 28, 1) somebody/small_pictures 10"


@pytest.mark.slow
def test_a_hub_id_that_is_not_in_the_cache_says_that_offline_mode_is_on(tmp_path):
    assert "not in the cache and offline mode is on" in load_from_hub(tmp_path, "zalando-datasets/fashion_mnist", HF_HUB_OFFLINE="1")


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_named(tmp_path):
    online = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "0")
    assert "the hub cannot be reached" in load_from_hub(
        tmp_path, "zalando-datasets/fashion_mnist", HF_ENDPOINT="http://127.0.0.1:9", **online
    )


def test_a_name_that_is_neither_here_nor_an_id_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder or file"):
        load(tmp_path / "nothing" / "there")
