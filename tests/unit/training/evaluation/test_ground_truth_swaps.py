"""Exact swaps, on a data set whose pictures are class + style, and on models that know everything, nothing, or copy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from twofold.training.data.dataset import Pictures
from twofold.training.evaluation.ground_truth_swaps import exact_swaps, groups, is_known, probes

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


def measured(draw, held=HELD) -> dict[str, float]:
    return exact_swaps(model(draw), FIT, held, codes(held), 300, np.random.default_rng(1))


def test_a_model_that_knows_the_data_set_finds_every_true_picture():
    found = measured(lambda k, s: TABLE[k, s])
    assert (found["swap_psnr"], found["swap_psnr_gap"]) == (100, 0)
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


def test_where_pictures_are_class_plus_style_the_means_are_nearly_the_truth():
    assert measured(lambda k, s: TABLE[k, s])["swap_psnr_means"] > 20


def test_pictures_that_are_alike_pixel_for_pixel_are_both_right():
    table = TABLE.copy()
    table[:, 1] = table[:, 0]
    fit, held = (replace(p, pixels=table[p.labels, p.attributes["pose"] - 7]) for p in (FIT, HELD))
    found = exact_swaps(model(lambda k, s: table[k, s]), fit, held, codes(held), 300, np.random.default_rng(1))
    assert (found["style_exact"], found["style_group"]) == (1, 1)


def test_a_pair_without_a_true_picture_is_left_out():
    fewer = FIT.take(np.flatnonzero(FIT.attributes["pose"] != 9))
    asked = []

    def draw(k, s):
        asked.extend(zip(k, s, strict=True))
        return TABLE[k, s]

    exact_swaps(model(draw), fewer, HELD, codes(HELD), 300, np.random.default_rng(1))
    assert (2, 2) in asked  # held out itself, so its truth is there
    assert (0, 2) not in asked


def test_a_rough_style_is_every_combination_of_its_columns():
    fit, held = groups(FIT, HELD)
    rough = {(a, d): g for a, d, g in zip(FIT.attributes["action"], FIT.attributes["direction"], fit, strict=True)}
    assert len(set(rough.values())) == 4
    assert all(rough[a, d] == g for a, d, g in zip(HELD.attributes["action"], HELD.attributes["direction"], held, strict=True))
    assert set(groups(replace(FIT, attributes={"pose": FIT.labels}), replace(HELD, attributes={"pose": HELD.labels}))[0]) == {0}


def test_probes_find_a_style_in_the_class_code_and_a_class_in_the_style_code():
    many = FIT.take(np.resize(np.arange(len(FIT)), 800))
    clean_codes = codes(many)
    swapped = SimpleNamespace(z_s=clean_codes.z_u_mean, z_u_mean=clean_codes.z_s)
    clean, mixed = (probes(many, many, c, c, seed=0) for c in (clean_codes, swapped))
    assert mixed["leak_mlp_mixed"] > 0.95
    assert mixed["style_group_from_class"] > clean["style_group_from_class"] + 0.3
    assert clean["style_group_from_class"] < clean["style_group_chance"] + 0.15


def test_a_data_set_that_does_not_tell_its_styles_has_no_exact_swaps():
    assert is_known(HELD)
    assert not is_known(replace(HELD, attributes={"frame": HELD.labels}))
