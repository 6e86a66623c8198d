"""The configuration that init writes is the recipe of fashion.toml, fitted to the pictures and to the time."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
import torch

from twofold.model.vae_gan import VaeGan
from twofold.training.config import recipe_template
from twofold.training.config.recipe_template import STAGES, DatasetFacts
from twofold.training.config.schema import Config, from_dict, read
from twofold.training.trainer import preflight

FASHION = DatasetFacts("zalando-datasets/fashion_mnist", 28, 28, 1, (0,), 10, 55_000, 5500)
ONE = dict.fromkeys(STAGES, 1.0)


def config_of(facts: DatasetFacts, epochs: dict[str, float] = ONE) -> Config:
    return from_dict(tomllib.loads(recipe_template.text(facts, epochs, "first line\nsecond line")))


def test_for_pictures_like_fashions_it_is_fashions_recipe():
    known = read("fashion")
    written = config_of(FASHION, {stage.name: stage.epochs for stage in known.stage})
    stages = [replace(stage, flip=known.stage[i].flip) for i, stage in enumerate(written.stage)]
    assert tuple(stages) == known.stage
    assert written.model == known.model


@pytest.mark.parametrize("classes", [2, 10, 26, 500])
@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (32, 32, 3), (40, 48, 1), (64, 64, 1), (96, 128, 3), (128, 128, 3)])
def test_every_recipe_can_be_built_and_names_what_exists(classes, height, width, channels):
    facts = DatasetFacts("mine", height, width, channels, (255,) * channels, classes, 40 * classes, 40)
    config = config_of(facts)
    preflight.check(config)
    model = VaeGan(config.model, torch.full((classes,), 1 / classes), channels, height, width)
    assert (config.data.height, config.data.width, config.data.channels) == (height, width, channels)
    assert model.eval().decode(torch.zeros(1, config.model.dim_s), torch.zeros(1, config.model.dim_u)).shape == (1, channels, height, width)


def test_many_classes_get_batches_by_class_and_the_exchange():
    few, many = (config_of(replace(FASHION, classes=k)).stage[1] for k in (20, 21))
    assert (few.pictures_per_class, few.class_exchange, few.class_noise) == (0, False, 1.0)
    assert (many.pictures_per_class, many.class_exchange, many.class_noise) == (4, True, 0.4)


def test_few_pictures_get_small_batches_and_few_style_dimensions():
    config = config_of(replace(FASHION, rows=200, fewest=20))
    assert [stage.batch for stage in config.stage] == [16] * 5
    assert config.model.dim_u == 4


def test_a_sum_over_more_pixels_weighs_less():
    small, large = (config_of(replace(FASHION, height=s, width=s)).stage[1].update[0].train["decoder"]["recon_sse"] for s in (28, 56))
    assert large == pytest.approx(small / 4)


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
    epoch_s = {**dict.fromkeys(STAGES, 10.0), "flow": 0.1}
    epochs = recipe_template.lengths(FASHION, epoch_s, 600.0)
    assert epochs["flow"] == recipe_template.ENOUGH["flow"][0]
    assert sum(epochs[s] * epoch_s[s] for s in STAGES) == pytest.approx(600, rel=0.03)


def test_no_stage_is_longer_than_it_can_use():
    epochs = recipe_template.lengths(FASHION, dict.fromkeys(STAGES, 1e-6), 3600.0)
    assert epochs == {stage: float(recipe_template.ENOUGH[stage][0]) for stage in STAGES}


def test_a_budget_below_zero_leaves_a_valid_configuration():
    config = config_of(FASHION, recipe_template.lengths(FASHION, ONE, -99.0))
    assert all(stage.epochs > 0 for stage in config.stage)
