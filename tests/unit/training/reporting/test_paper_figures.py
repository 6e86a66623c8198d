"""The paper's experiments as pictures: what stands in which row and column, and what is drawn around it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from tests import toy
from tests.pictures import write_pictures
from twofold.model import contract
from twofold.service.client import Local
from twofold.training.data.dataset import load
from twofold.training.reporting import paper_figures

HEIGHT, WIDTH = 8, 8


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return toy.make_bundle(tmp_path_factory.mktemp("figures") / "bundle")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("figures-data"), train=40, test=60)


@pytest.fixture(scope="module")
def material(bundle, data) -> paper_figures.Material:
    model, held = Local(bundle).arrays, load(data, "test")
    return paper_figures.Material(model, contract.open_bundle(bundle).prior, held, model.encode(held.pixels))


def test_a_column_is_one_style_and_a_row_is_one_class(material):
    sheet = paper_figures.styles(material)
    assert list(sheet.row_titles) == list(toy.CLASS_NAMES)
    read = [material.model.encode(row) for row in sheet.cells]
    for k, codes in enumerate(read):
        assert (codes.class_log_prob.argmax(1) == k).all()
        assert codes.z_u_mean == pytest.approx(read[0].z_u_mean, abs=0.4)


def test_the_exchange_matrix_has_reconstructions_on_its_diagonal(material):
    sheet = paper_figures.exchange(material)
    assert (sheet.row_heads == sheet.column_heads).all()
    codes = material.model.encode(sheet.row_heads)
    again = material.model.decode(codes.z_s, codes.z_u_mean)
    assert (sheet.cells[np.arange(len(again)), np.arange(len(again))] == again).all()


def test_two_corners_of_the_plane_are_reconstructions(material):
    sheet = paper_figures.plane(material)
    known = {p.tobytes() for p in material.model.decode(material.codes.z_s, material.codes.z_u_mean)}
    assert {sheet.cells[0, 0].tobytes(), sheet.cells[-1, -1].tobytes()} <= known


@pytest.mark.parametrize(("figure", "moves"), [("interpolate_class", "class"), ("interpolate_style", "style")])
def test_one_code_moves_along_a_row_and_the_other_stays(material, figure, moves):
    sheet = getattr(paper_figures, figure)(material)
    assert moves in sheet.across[0].split(" moves")[0]
    for row in sheet.cells:
        codes = material.model.encode(row[1:-1])
        classes = set(codes.class_log_prob.argmax(1))
        assert len(classes) > 1 if moves == "class" else len(classes) == 1


def test_what_is_outside_the_hole_stays_as_it_was(material):
    real, cut, drawn = paper_figures.inpainting(material).cells
    outside = (cut != 128).any(-1)
    assert outside.mean() > 0.5
    assert (real[outside] == cut[outside]).all()
    assert (drawn[outside] == real[outside]).all()


def test_every_cell_is_drawn_as_squares_of_one_colour(material):
    cells = np.arange(2 * 3 * HEIGHT * WIDTH, dtype=np.uint8).reshape(2, 3, HEIGHT, WIDTH, 1)
    image = paper_figures.draw(paper_figures.Sheet(cells, ("class", paper_figures.CLASS), ("style", paper_figures.STYLE)))
    scale = -(-paper_figures.SMALLEST_CELL // WIDTH)
    drawn = np.asarray(image.convert("L"))[paper_figures.LABEL :, paper_figures.LABEL :]
    step = scale * WIDTH + paper_figures.GAP
    assert (drawn[: scale * HEIGHT, step : step + scale * WIDTH] == cells[0, 1, ..., 0].repeat(scale, 0).repeat(scale, 1)).all()


def test_heads_have_a_frame_in_the_colour_of_their_side(material):
    cells = np.full((2, 3, HEIGHT, WIDTH, 1), 7, np.uint8)
    heads = np.full((3, HEIGHT, WIDTH, 1), 9, np.uint8)
    sheet = paper_figures.Sheet(cells, ("", paper_figures.CLASS), ("", paper_figures.STYLE), heads[:2], heads)
    drawn = np.asarray(paper_figures.draw(sheet))
    side = -(-paper_figures.SMALLEST_CELL // WIDTH) * WIDTH
    left = side + 2 * paper_figures.FRAME
    assert (drawn[0, left : left + side] == ImageColor.getrgb(paper_figures.STYLE)).all()
    assert (drawn[left : left + side, 0] == ImageColor.getrgb(paper_figures.CLASS)).all()
    assert (drawn[side // 2, left + side // 2] == 9).all()
    assert (drawn[left:, left:][:side, :side] == 7).all()


def test_all_figures_are_written_and_a_seed_gives_the_same_bytes(bundle, data, tmp_path):
    first, again = (paper_figures.figures(bundle, data, tmp_path / name, seed=3, log=lambda line: None) for name in "ab")
    assert [path.stem for path in first] == list(paper_figures.FIGURES)
    for path in first:
        with Image.open(path) as image:
            assert image.width > 100
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
