"""What belongs together is found, or said by the user, and a split keeps it together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from twofold.training.config.schema import DataConfig
from twofold.training.data.dataset import DataError, Pictures, load, load_for, split_validation
from twofold.training.data.groups import guess
from twofold.training.data.provenance import manifest
from twofold.training.data.split import cut_test, cut_validation
from twofold.training.data.summary import find_test_split, summarize, warnings

CLASSES = ("a", "b", "c")
PEOPLE = 20


def scene(seed: int, noise_seed: int = 0, size: int = 24) -> Image.Image:
    """A smooth pattern that the seed decides, under a little noise: two of one seed are near-duplicates."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), dtype=float)
    noise = np.random.default_rng(noise_seed).normal(0, 2, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def of_person(person: int, label: int) -> Image.Image:
    """Half the person's own pattern, half that of the class."""
    both = np.asarray(scene(person), dtype=float) + np.asarray(scene(1000 + label + 7 * person), dtype=float)
    return Image.fromarray((both / 2).astype(np.uint8))


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """20 people who show three signs, one after the other, counted by a camera; person 5 shows the second sign twice."""
    root, number = tmp_path_factory.mktemp("people"), 100
    for person in range(PEOPLE):
        for label in (0, 1, 1, 2) if person == 5 else (0, 1, 2):
            folder = root / CLASSES[label]
            folder.mkdir(exist_ok=True)
            of_person(person, label).save(folder / f"IMG_{number}.png")
            number += 1
    return root


def person_of(name: str) -> int:
    number = int(name.rpartition("_")[2].removesuffix(".png")) - 100
    return (number if number < 17 else number - 1) // 3


def people_in(pictures: Pictures) -> set[int]:
    return {person_of(name) for name in pictures.names}


def test_auto_keeps_the_runs_of_a_camera_together(people):
    train, validation = load_for(DataConfig(group="auto"), people)
    test = load(people, "test", group="auto")
    parts = [people_in(part) for part in (train, validation, test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == PEOPLE
    assert [len(part) for part in parts] == [16, 2, 2]
    assert set(np.bincount(test.labels)) == {2}
    assert test.source["group"]["groups"] == PEOPLE
    assert test.source["group"]["rule"].startswith("runs of numbers across the classes")


def test_without_groups_siblings_across_the_split_are_counted_with_the_option(people):
    train, validation = load_for(DataConfig(), people)
    (text,) = [line for line in warnings(train, validation, find_test_split(DataConfig(), people)) if "siblings" in line]
    assert "runs of numbers across the classes" in text
    assert "--group auto" in text
    grouped = DataConfig(group="auto")
    assert not [line for line in summarize(*load_for(grouped, people), find_test_split(grouped, people)) if "siblings" in line]


def test_numbers_that_count_each_class_for_itself_are_no_groups(tmp_path):
    for label, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for i in range(30):
            scene(100 * label + i).save(tmp_path / name / f"{name}_{i}.png")
    train, _ = load_for(DataConfig(group="auto"), tmp_path)
    assert train.source["group"]["rule"] == "nothing found"
    assert not [line for line in warnings(*load_for(DataConfig(), tmp_path), None) if "siblings" in line]


def test_tracks_are_found_by_names_alike_but_for_their_last_number(tmp_path):
    for label, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for track in range(8):
            for frame in range(4):
                own, track_own = scene(9000 + 500 * label + 50 * track + frame), scene(100 * label + track)
                Image.blend(track_own, own, 0.3).save(tmp_path / name / f"{track:05}_{frame:05}.png")
    found = load(tmp_path, group="auto")
    assert found.source["group"]["rule"].startswith("names alike but for their last number, in each class")
    tracks = {(name.split("/")[0], name.split("/")[1][:5]) for name in found.names}
    tested = {(name.split("/")[0], name.split("/")[1][:5]) for name in load(tmp_path, "test", group="auto").names}
    assert not tracks & tested


def test_near_duplicates_are_joined_within_and_across_classes():
    labels = np.arange(40) % 2
    thumbnails = np.stack([np.asarray(scene(i // 2 if i < 8 else 100 + i, noise_seed=i, size=16)) for i in range(40)])
    found = guess((), labels, thumbnails)
    assert found.rule == "near-duplicates"
    assert found.numbers[:8].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(set(found.numbers[8:])) == 32


def test_a_chain_of_near_duplicates_never_takes_a_whole_class():
    labels = np.repeat([0, 1], 40)
    thumbnails = np.stack([np.asarray(scene(label, noise_seed=i, size=16)) for i, label in enumerate(labels)])
    assert np.bincount(guess((), labels, thumbnails).numbers).max() <= 4


def test_flat_pictures_and_unreadable_ones_are_nobodys_sibling():
    assert guess((), np.arange(12) % 2, np.zeros((12, 16, 16), np.uint8)).rule == "nothing found"


# ------------------------------------------------------------------------------------------------- pattern and column


def test_a_pattern_takes_its_groups_from_the_paths(people):
    test = load(people, "test", group=r"IMG_(\d\d)")
    tens = {name.partition("_")[2][:2] for name in test.names}
    assert not tens & {name.partition("_")[2][:2] for name in load(people, "train", group=r"IMG_(\d\d)").names}
    assert test.source["group"]["rule"] == "a pattern over the paths of the files"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("person", "must have one group in parentheses"),
        ("(a)(b)", "must have one group in parentheses"),
        ("([", "no regular expression"),
        (r"/(IMG_10\d)", "does not match the paths of 51 of 61 pictures, as a/IMG_112.png"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(people, option, words):
    with pytest.raises(DataError) as refused:
        load(people, group=option)
    assert words in str(refused.value)


def table(folder: Path, people: list[object], kind: str = "string") -> Path:
    cells = [{"bytes": (stream := Path(folder / "one.png")).read_bytes(), "path": None} for _ in people if _save(folder)]
    assert stream.exists()
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"]), "person": Value(kind)})
    rows = {"image": cells, "label": [i % 2 for i in range(len(people))], "person": people}
    Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    return folder


def _save(folder: Path) -> bool:
    scene(0).save(folder / "one.png")
    return True


@pytest.mark.parametrize("kind", ["string", "int64"])
def test_a_column_of_a_table_says_what_belongs_together(tmp_path, kind):
    people = [f"p{i // 4}" if kind == "string" else i // 4 for i in range(80)]
    config = DataConfig(group="person")
    train, validation = load_for(config, table(tmp_path, people, kind))
    assert not set(train.groups.tolist()) & set(validation.groups.tolist())
    assert np.bincount(validation.labels).tolist() == [4, 4]
    facts = manifest(train, validation)["group"]
    assert facts == {"option": "person", "rule": "the column person", "groups": 20, "largest": 4}


def test_an_empty_cell_of_the_group_column_is_refused_with_its_row(tmp_path):
    with pytest.raises(DataError, match=r"empty in row 7 of train\.parquet"):
        load(table(tmp_path, [None if i == 7 else "p" for i in range(20)]), group="person")


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(DataError, match=r"no column 'nobody' \(there are person\)"):
        load(table(tmp_path, ["p"] * 20), group="nobody")


# ---------------------------------------------------------------------------------------------------------------- split


def test_a_class_of_too_few_groups_is_refused_by_name():
    labels, groups = np.repeat([0, 1], 20), np.concatenate([np.arange(20), np.repeat([20, 21], 10)])
    with pytest.raises(DataError, match="class 'dog' has 2 groups"):
        cut_test(labels, ("cat", "dog"), groups)


def test_groups_are_cut_whole_and_near_a_tenth_of_every_class():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 120, 1500)
    labels = (groups % 3 + (rng.random(1500) < 0.3)) % 3
    kept, held = cut_test(labels, CLASSES, groups)
    assert not set(groups[kept]) & set(groups[held])
    assert sorted([*kept, *held]) == list(range(1500))
    assert (abs(np.bincount(labels[held]) / np.bincount(labels) - 0.1) < 0.03).all()


def test_a_smaller_cut_of_groups_is_part_of_a_larger_one():
    groups, labels = np.repeat(np.arange(100), 5), np.arange(500) % 2
    cuts = [set(cut_validation(labels, ("a", "b"), rows, 0, groups, most=50)[1].tolist()) for rows in (10, 25, 50)]
    assert cuts[0] < cuts[1] < cuts[2]
    assert len(cuts[2]) == 50


def test_the_rows_that_a_card_says_cut_the_same_groups_again(people):
    pictures = load(people, group="auto")
    _, held = split_validation(pictures, pictures.most_validation_rows)
    assert split_validation(pictures, len(held))[1].names == held.names
