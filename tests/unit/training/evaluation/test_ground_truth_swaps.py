"""Exact swaps, on a data set whose pictures are class + style, and on models that know everything, nothing, or copy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from twofold.training.data.dataset import Pictures
from twofold.training.evaluation.ground_truth_swaps import exact_swaps, figures, probes, rough_styles, true_pairs

CLASSES, STYLES = 4, 12
RNG = np.random.default_rng(0)
CLASS_PART, STYLE_PART = RNG.integers(0, 120, (CLASSES, 1, 8, 8, 1)), RNG.integers(0, 120, (1, STYLES, 8, 8, 1))
TABLE = (CLASS_PART + STYLE_PART).astype(np.uint8)  # [class, style, 8, 8, 1]


def pictures(cells: list[tuple[int, int]]) -> Pictures:
    label, style = np.array(cells).T
    attributes = {"pose": style + 7, "action": style // 6, "direction": style % 2}
    return Pictures(TABLE[label, style], label, tuple("abcd"), {"name": "sums"}, attributes=attributes)


CELLS = [(k, s) for k in range(CLASSES) for s in range(STYLES)]
FIT, HELD = pictures([c for c in CELLS if (c[0] + c[1]) % 4]), pictures([c for c in CELLS if (c[0] + c[1]) % 4 == 0])


def codes(of: Pictures) -> SimpleNamespace:
    """z_s is the class, z_u the style."""
    return SimpleNamespace(z_s=of.labels[:, None].astype(np.float32), z_u_mean=(of.attributes["pose"] - 7)[:, None].astype(np.float32))


def model(draw) -> SimpleNamespace:
    return SimpleNamespace(decode=lambda z_s, z_u: draw(z_s[:, 0].astype(int), z_u[:, 0].astype(int)))


def measured(draw, fit=FIT, held=HELD) -> dict[str, float]:
    return exact_swaps(model(draw), true_pairs(fit, held, 300, np.random.default_rng(1)), held, codes(held))


def test_a_model_that_knows_the_data_set_finds_every_true_picture():
    found = measured(lambda k, s: TABLE[k, s])
    assert (found["swap_psnr"], found["swap_psnr_gap"]) == (100, 0)
    assert (found["swap_psnr_blurred"], found["swap_truth_rank"]) == (100, 0)
    assert (found["style_exact"], found["style_near"], found["style_group"]) == (1, 1, 1)


def test_a_model_that_draws_one_style_for_all_is_right_where_it_was_asked_for_it():
    found = measured(lambda k, s: TABLE[k, np.full_like(s, 3)])
    assert found["style_exact"] == pytest.approx(1 / STYLES, abs=0.08)
    assert found["style_group"] == pytest.approx(1 / 4, abs=0.12)
    assert found["swap_psnr"] < 20


def test_a_model_that_copies_the_style_source_finds_no_true_picture():
    found = measured(lambda k, s: TABLE[(k + 1) % CLASSES, s])
    assert found["swap_psnr"] < 20
    assert found["swap_psnr_gap"] == pytest.approx(0, abs=1)  # it draws all pictures alike badly


def test_pairs_differ_in_class_and_style_and_their_truth_has_one_of_each():
    pairs = true_pairs(FIT, HELD, 300, np.random.default_rng(1))
    truth = pairs.everything.take(pairs.truth)
    assert 100 < len(pairs) < 300
    assert (truth.labels == HELD.labels[pairs.a]).all()
    assert (truth.attributes["pose"] == HELD.attributes["pose"][pairs.b]).all()
    assert (HELD.labels[pairs.a] != HELD.labels[pairs.b]).all()
    assert (HELD.attributes["pose"][pairs.a] != HELD.attributes["pose"][pairs.b]).all()
    assert (pairs.everything.pixels[pairs.source] == HELD.pixels[pairs.b]).all()


def test_a_group_with_one_picture_of_each_class_is_a_style_and_no_other_is():
    fit, held = (replace(p, attributes={}, groups=p.attributes["pose"]) for p in (FIT, HELD))
    by_group, by_column = (true_pairs(*both, 300, np.random.default_rng(1)) for both in ((fit, held), (FIT, HELD)))
    assert (by_group.truth == by_column.truth).all()
    fewer = fit.take(np.flatnonzero(fit.groups != 9))  # class 2 is held out: the group is no longer whole
    pairs = true_pairs(fewer, held, 300, np.random.default_rng(1))
    assert 9 not in held.groups[pairs.b]
    twice = replace(fit, groups=np.where(fit.groups == 10, 9, fit.groups))
    assert 9 not in held.groups[true_pairs(twice, held, 300, np.random.default_rng(1)).b]
    assert "style_group" not in exact_swaps(model(lambda k, s: TABLE[k, s]), by_group, held, codes(HELD))


def test_tracks_of_one_class_each_are_groups_and_no_truth():
    fit, held = (replace(p, attributes={}, groups=p.labels) for p in (FIT, HELD))
    assert true_pairs(fit, held, 300, np.random.default_rng(1)) is None


def test_the_rank_of_a_constant_picture_is_about_half_and_that_of_the_truth_0():
    pairs = true_pairs(FIT, HELD, 300, np.random.default_rng(1))
    right = figures(lambda some: pairs.everything.pixels[pairs.truth[some]], pairs)
    assert right == {"swap_psnr": 100, "swap_psnr_blurred": 100, "swap_truth_rank": 0}
    same = figures(lambda some: np.broadcast_to(TABLE[0, 0], (len(some), 8, 8, 1)), pairs)
    assert same["swap_truth_rank"] == pytest.approx(0.5, abs=0.25)  # three candidates a class


def test_pictures_that_are_alike_pixel_for_pixel_are_both_right():
    table = TABLE.copy()
    table[:, 1] = table[:, 0]
    fit, held = (replace(p, pixels=table[p.labels, p.attributes["pose"] - 7]) for p in (FIT, HELD))
    found = measured(lambda k, s: table[k, s], fit, held)
    assert (found["style_exact"], found["style_group"]) == (1, 1)


def test_a_pair_without_a_true_picture_is_left_out():
    fewer = FIT.take(np.flatnonzero(FIT.attributes["pose"] != 9))
    pairs = true_pairs(fewer, HELD, 300, np.random.default_rng(1))
    cells = set(zip(pairs.label.tolist(), (HELD.attributes["pose"][pairs.b] - 7).tolist(), strict=True))
    assert {s for _, s in cells} == set(range(STYLES)) - {2}  # the one picture in it is held out, and is its own style source


def test_a_rough_style_is_every_combination_of_its_columns():
    rough = rough_styles(FIT)
    found = {(a, d): g for a, d, g in zip(FIT.attributes["action"], FIT.attributes["direction"], rough, strict=True)}
    assert len(set(found.values())) == 4
    assert all(found[a, d] == g for a, d, g in zip(FIT.attributes["action"], FIT.attributes["direction"], rough, strict=True))
    assert rough_styles(replace(FIT, attributes={"pose": FIT.labels})) is None


def test_probes_find_a_style_in_the_class_code_and_a_class_in_the_style_code():
    many = FIT.take(np.resize(np.arange(len(FIT)), 800))
    clean_codes = codes(many)
    swapped = SimpleNamespace(z_s=clean_codes.z_u_mean, z_u_mean=clean_codes.z_s)
    clean, mixed = (probes(many, many, c, c, seed=0) for c in (clean_codes, swapped))
    assert mixed["leak_mlp_mixed"] > 0.95
    assert mixed["style_group_from_class"] > clean["style_group_from_class"] + 0.3
    assert clean["style_group_from_class"] < clean["style_group_chance"] + 0.15


def test_without_rough_styles_only_the_class_is_probed():
    fit, held = (replace(p, attributes={"pose": p.attributes["pose"]}) for p in (FIT, HELD))
    assert set(probes(fit, held, codes(fit), codes(held), seed=0)) == {"leak_mlp_mixed"}


def test_a_data_set_that_does_not_say_its_styles_has_no_exact_swaps():
    plain = [replace(p, attributes={"frame": p.labels}) for p in (FIT, HELD)]
    assert true_pairs(*plain, 300, np.random.default_rng(1)) is None
