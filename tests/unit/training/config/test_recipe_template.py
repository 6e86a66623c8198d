"""The configuration that init writes is one staged recipe, fitted to the pictures and to the time."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
import torch

from twofold.model.vae_gan import VaeGan
from twofold.training.config import recipe_template
from twofold.training.config.recipe_template import STAGES, DatasetFacts
from twofold.training.config.schema import Config, from_dict
from twofold.training.trainer import preflight

FASHION = DatasetFacts("zalando-datasets/fashion_mnist", 28, 28, 1, (0,), 10, 55_000, 5500)
ONE = dict.fromkeys(STAGES, 1.0)


def config_of(facts: DatasetFacts, epochs: dict[str, float] = ONE) -> Config:
    return from_dict(tomllib.loads(recipe_template.text(facts, epochs, "first line\nsecond line")))


@pytest.mark.parametrize("classes", [2, 10, 26, 500])
@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (32, 32, 3), (40, 48, 1), (64, 64, 1), (96, 128, 3), (128, 128, 3)])
def test_every_recipe_can_be_built_and_names_what_exists(classes, height, width, channels):
    facts = DatasetFacts("mine", height, width, channels, (255,) * channels, classes, 40 * classes, 40)
    config = config_of(facts)
    preflight.check(config)
    model = VaeGan(config.model, torch.full((classes,), 1 / classes), channels, height, width)
    assert (config.data.height, config.data.width, config.data.channels) == (height, width, channels)
    assert model.eval().decode(torch.zeros(1, config.model.dim_s), torch.zeros(1, config.model.dim_u)).shape == (1, channels, height, width)


def test_later_stages_give_the_decoder_the_class_code_of_another_picture():
    assert [stage.class_exchange for stage in config_of(FASHION).stage] == [False, True, True]


def test_many_classes_get_batches_by_class():
    few, many = (config_of(replace(FASHION, classes=k)).stage[1].pictures_per_class for k in (12, 13))
    assert (few, many) == (0, 4)


def test_few_pictures_get_small_batches_and_few_style_dimensions():
    config = config_of(replace(FASHION, rows=200, fewest=20))
    assert [stage.batch for stage in config.stage] == [16] * 3
    assert config.model.dim_u == 4


def test_what_stands_against_the_likelihood_grows_with_the_numbers_of_a_picture():
    small, large = (config_of(replace(FASHION, height=s, width=s)) for s in (28, 56))
    for stage, part, loss in ((1, "encoder_u", "kl_sum"), (2, "decoder", "cycle_class"), (2, "decoder", "spectrum")):
        before, after = (config.stage[stage].update[0].train[part][loss] for config in (small, large))
        assert after == pytest.approx(4 * before, rel=0.02)
    assert large.stage[1].clip == 56 * 56


def test_drawings_on_black_or_white_keep_their_pixels_and_photographs_are_warped():
    drawing, photograph = (config_of(replace(FASHION, channels=3, background=b)).stage[1] for b in ((0, 0, 0), (180, 190, 255)))
    assert (drawing.rotate, drawing.scale, drawing.jitter) == (0, 0, 0)
    assert min(photograph.rotate, photograph.scale, photograph.jitter) > 0


@pytest.mark.parametrize("name", ['a "quoted" \\ name', "été", "x" * 200, "..", "line\nbreak"])
def test_any_name_of_a_folder_makes_a_valid_file_and_a_valid_card_name(name):
    config = config_of(replace(FASHION, name=name))
    assert config.data.origin == "".join(c for c in name if c.isprintable())
    assert 1 <= len(config.name) <= 64
    assert set(config.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_the_stages_share_the_time():
    epochs = recipe_template.lengths(FASHION, dict.fromkeys(STAGES, 10.0), 600.0)
    assert sum(epochs.values()) * 10 == pytest.approx(600, rel=0.03)
    assert [round(epochs[stage] * 10 / 600, 2) for stage in STAGES] == pytest.approx([recipe_template.SHARES[s] for s in STAGES], abs=0.02)


def test_what_one_stage_cannot_use_goes_to_the_others():
    epoch_s = {**dict.fromkeys(STAGES, 10.0), "class encoder": 0.1}
    epochs = recipe_template.lengths(FASHION, epoch_s, 600.0)
    assert epochs["class encoder"] == recipe_template.ENOUGH["class encoder"][0]
    assert sum(epochs[s] * epoch_s[s] for s in STAGES) == pytest.approx(600, rel=0.03)


def test_no_stage_is_longer_than_it_can_use():
    epochs = recipe_template.lengths(FASHION, dict.fromkeys(STAGES, 1e-6), 3600.0)
    assert epochs == {stage: float(recipe_template.ENOUGH[stage][0]) for stage in STAGES}


def test_a_budget_below_zero_leaves_a_valid_configuration():
    config = config_of(FASHION, recipe_template.lengths(FASHION, ONE, -99.0))
    assert all(stage.epochs > 0 for stage in config.stage)
