"""plan.py: number i of a set is one file, one label, one index; and a text says which set it is."""

from __future__ import annotations

import json
from itertools import chain

import pytest

from twofold.service.datasets.plan import (
    CHUNK,
    Augmentation,
    Counterfactual,
    EditOptions,
    Source,
    Synthesis,
    Tally,
    chunks,
    describe,
    differences,
    folder_names,
)

NAMES = ("Alpha", "Beta", "T - shirt / top")
SOURCES = (Source("Alpha", "one.png", 0), Source("Alpha", "one.jpg", 0), Source("shirts", "two.webp", 2))


def synthesis(per_class: int = 4, seed: int = 1) -> Synthesis:
    return Synthesis(NAMES, per_class, seed, 1.0, 1.0, "fitted")


def augmentation(per_source: int = 3) -> Augmentation:
    return Augmentation(NAMES, SOURCES, "5a", EditOptions(style_spread=0.5), per_source)


def counterfactual(to: int = 1) -> Counterfactual:
    return Counterfactual(NAMES, SOURCES, "5a", EditOptions(to=to))


def test_any_beginning_of_a_synthesis_is_balanced_and_an_index_is_one_style():
    plan = synthesis()
    pictures = [plan[number] for number in range(len(plan))]
    assert len(pictures) == 12
    assert [picture.label for picture in pictures[:6]] == [0, 1, 2, 0, 1, 2]
    assert [picture.index for picture in pictures[:6]] == [0, 0, 0, 1, 1, 1]
    assert pictures[5].file == "T - shirt _ top/00001.png"


def test_a_larger_synthesis_begins_with_the_smaller_one():
    small, large = synthesis(2), synthesis(5)
    assert [small[number] for number in range(len(small))] == [large[number] for number in range(len(small))]


def test_an_augmented_picture_has_its_own_index_and_its_sources_class():
    plan = augmentation()
    pictures = [plan[number] for number in range(len(plan))]
    assert [picture.index for picture in pictures] == list(range(9))
    assert [picture.source for picture in pictures] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (pictures[8].file, pictures[8].label) == ("shirts/00002-two-002.png", 2)


def test_a_counterfactual_is_filed_under_the_other_class_and_names_its_source():
    plan = counterfactual(to=2)
    assert (plan[2].file, plan[2].label) == ("T - shirt _ top/00002-shirts-two.png", 2)


@pytest.mark.parametrize("plan", [synthesis(), augmentation(), counterfactual()])
def test_no_two_pictures_of_a_set_have_the_same_file(plan):
    assert len({plan[number].file for number in range(len(plan))}) == len(plan)


@pytest.mark.parametrize("per_class", [1, CHUNK // 3, CHUNK])
def test_chunks_have_every_number_once_in_order(per_class):
    plan = synthesis(per_class)
    assert list(chain.from_iterable(chunks(plan))) == list(range(len(plan)))


def test_a_plan_of_a_million_pictures_costs_no_more_than_one_of_one():
    plan = Synthesis(tuple(map(str, range(10))), 100_000, 0, 1.0, 1.0, "fitted")
    assert plan[len(plan) - 1].file == "9/99999.png"


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("Alpha", "Beta"), ("Alpha", "Beta")),
        (("a/b", "a_b", "A:B"), ("a_b", "a_b (1)", "A_B (2)")),
        (("..", ".hidden", "dot."), ("_", "hidden", "dot")),
        (("na\nme", "*?", "ü" * 100), ("na_me", "__", "ü" * 60)),
    ],
)
def test_a_class_gets_a_folder_that_every_file_system_takes(names, folders):
    assert folder_names(names) == folders


def test_names_from_long_names_still_fit_into_255_bytes():
    long = Source("\U0001f462" * 60, "\U0001f462" * 60 + ".png", 0)
    for plan in (Augmentation(NAMES, (long,), "5a", EditOptions(), 1000), Counterfactual(NAMES, (long,), "5a", EditOptions(to=0))):
        assert all(len(part.encode()) <= 240 for part in plan[0].file.split("/"))


def test_a_description_tells_the_whole_set_and_differs_in_what_differs():
    made_by = {"model": "toy", "model_hash": "5a"}
    text = describe(synthesis(), made_by)
    assert json.loads(text)["per_class"] == 4
    assert differences(text, describe(synthesis(), made_by)) == ""
    assert differences(text, describe(synthesis(seed=2), made_by)) == "seed"
    assert differences(text, describe(synthesis(5), {**made_by, "model_hash": "5b"})) == "model_hash, per_class, pictures"
    assert differences(text, text[:-1]) == "its form"
    assert differences("{", text) == differences("[1]", text) == "everything"


def test_a_tally_knows_what_was_there_and_what_was_made():
    tally = Tally(synthesis())
    for label, found in ((0, True), (2, False), (2, False)):
        tally.add(label, found=found)
    assert (tally.found, tally.made, tally.by_label) == (1, 2, [1, 0, 2])
