"""The sections of a report: which pictures they take, what they decode, and what they mark as lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests import toy
from tests.pictures import write_pictures
from twofold.service.client import Local
from twofold.service.runtime.array_api import Arrays
from twofold.training.data.dataset import load
from twofold.training.evaluation.eval_classifier import EvalClassifierConfig, load_eval_classifier, train_eval_classifier
from twofold.training.reporting import sections


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> sections.Material:
    root = tmp_path_factory.mktemp("gallery")
    data = write_pictures(root, train=400, test=120)
    train_eval_classifier(data, root / "eval_classifier", EvalClassifierConfig(widths=(4, 8, 8), epochs=6, batch=16), log=lambda line: None)
    model, held = Local(toy.make_bundle(root / "bundle")).arrays, load(data, "test")
    return sections.Material(
        model, load_eval_classifier(root / "eval_classifier"), held, model.encode(held.pixels), held.pixels.mean(0).round().astype(np.uint8)
    )


def pixels(row: sections.ImageRow) -> np.ndarray:
    return np.stack([picture.pixels for picture in row.pictures])


def test_a_row_of_samples_is_a_class_and_a_column_is_one_style(material):
    grid, kept = sections.samples(material)
    assert [row.title for row in grid.rows] == list(toy.CLASS_NAMES)
    codes = [material.model.encode(pixels(row)) for row in grid.rows]
    for k, code in enumerate(codes):
        assert (code.class_log_prob.argmax(1) == k).all()
        assert code.z_u_mean == pytest.approx(codes[0].z_u_mean, abs=0.4)
    assert np.ptp(codes[0].z_u_mean, axis=0).min() > 1
    assert kept > 0.9


def test_the_diagonal_of_the_swap_matrix_has_the_reconstructions(material):
    grid, kept = sections.swap_matrix(material)
    assert len(grid.head) == len(grid.rows) == 4
    for i, row in enumerate(grid.rows):
        assert (row.head.pixels == grid.head[i].pixels).all()
        again = material.model.encode(row.head.pixels[None])
        assert (row.pictures[i].pixels == material.model.decode(again.z_s, again.z_u_mean)[0]).all()
    assert kept > 0.9


class CopiesTheStyleSource:
    """Swaps that are the style source, untouched."""

    def __init__(self, model: Arrays) -> None:
        self.encode, self.decode, self.sample = model.encode, model.decode, model.sample

    def swap(self, class_from, style_from):
        return style_from


def test_a_swap_that_lost_its_class_is_marked_and_named(material):
    grid, kept = sections.swap_matrix(replace(material, model=CopiesTheStyleSource(material.model)))
    for i, row in enumerate(grid.rows):
        for j, picture in enumerate(row.pictures):
            assert picture.bad == (i != j)
            assert picture.caption == ("" if i == j else grid.head[j].caption)
    assert kept == 0.25


def test_lost_swaps_are_all_lost_and_counted(material):
    class Shifted:
        """Every picture is of the next class."""

        def classify(self, pictures):
            seen, features = material.eval_classifier.classify(pictures)
            return (seen + 1) % 4, features

    grid, share = sections.lost_swaps(replace(material, eval_classifier=Shifted()))
    assert share > 0.9
    assert all(picture.bad for picture in grid.rows[2].pictures)
    assert sections.lost_swaps(material)[1] < 0.1


def test_reconstructions_go_from_the_best_to_the_worst(material):
    rows = sections.reconstructions(material).rows
    assert [row.title.split(":")[0] for row in rows] == ["best", "best", "middle", "middle", "worst", "worst"]
    decibels = [float(picture.caption.split()[0]) for row in rows[1::2] for picture in row.pictures]
    assert decibels == sorted(decibels, reverse=True)


def test_an_interpolation_goes_from_one_picture_to_the_other(material):
    both, class_only, style_only = sections.interpolations(material, pairs=1)
    start, end = both.title.removesuffix(": class and style").split(" to ")
    assert (both.frames[0].caption, both.frames[-1].caption) == (start, end)
    assert class_only.frames[-1].caption == end
    assert {frame.caption for frame in style_only.frames} == {start}
    assert both.posterior.shape == (sections.FRAMES, 4)
    assert both.posterior.sum(1) == pytest.approx(1)


def test_the_confusion_counts_every_picture_once(material):
    counts = sections.confusion(material)
    assert (counts.sum(1) == np.bincount(material.held.labels)).all()
    assert np.trace(counts) / counts.sum() == pytest.approx(1, abs=0.02)


def test_the_projection_shows_the_directions_that_vary_most():
    codes = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32) * [5, 0.1, 3, 0.1]
    points, share = sections.projection(codes)
    assert share == pytest.approx(1, abs=0.01)
    assert abs(np.corrcoef(points[:, 0], codes[:, 0])[0, 1]) == pytest.approx(1, abs=0.01)
    assert abs(np.corrcoef(points[:, 1], codes[:, 2])[0, 1]) == pytest.approx(1, abs=0.01)


def test_a_code_of_one_dimension_can_be_projected():
    points, share = sections.projection(np.arange(5, dtype=np.float32)[:, None])
    assert points.shape == (5, 2)
    assert share == pytest.approx(1)


def test_the_least_typical_pictures_have_the_lowest_density(material):
    shown = pixels(sections.least_typical(material).rows[0])
    density = material.model.encode(shown).log_density
    assert density.max() <= np.sort(material.codes.log_density)[sections.SHOWN - 1] + 1e-4


def test_a_hole_is_filled_and_the_rest_is_real(material):
    real, cut, filled = (pixels(row) for row in sections.inpainted(material).rows)
    same = (real == filled).all(-1)
    assert same.mean() >= 0.75
    assert np.abs(real - filled.astype(float)).mean() < np.abs(real - cut.astype(float)).mean()
