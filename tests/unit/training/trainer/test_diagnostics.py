"""What goes wrong without an error is said, with the line of the configuration to try."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twofold.model.posterior import DiagonalGaussian
from twofold.training.config.schema import read
from twofold.training.trainer.diagnostics import collapsed, criterion, relieved, warnings

FASHION, PAPER = read("fashion"), read("paper")
CLASS_ENCODER, CODES, FLOW, SERVED, SHARPENED = range(5)
ALIVE = np.full(16, 0.9, np.float32)
DEAD = np.where(np.isin(np.arange(16), (3, 7)), 0.01, 0.9).astype(np.float32)


def test_a_healthy_model_is_not_warned_of():
    assert [warnings(FASHION, i, 0.9, ALIVE) for i in range(5)] == [{}] * 5


def test_samples_that_hardly_differ_name_the_weight_that_pushes_them_together():
    assert "stage.1.update.0.train.decoder.gen_swap (now 15)" in warnings(FASHION, CODES, 0.29, ALIVE)["variety"]
    assert "stage.3.update.0.train.decoder.gen_smp (now 20)" in warnings(FASHION, SERVED, 0.29, ALIVE)["variety"]
    assert "stage.0.update.1.train.decoder.gen_smp (now 1)" in warnings(PAPER, 0, 0.0, ALIVE)["variety"]
    assert warnings(FASHION, SERVED, 0.31, ALIVE) == {}


def test_dead_style_dimensions_are_counted_and_name_the_weight_that_silences_them():
    found = warnings(FASHION, CODES, 0.9, DEAD)["style"]
    assert "dimensions 3, 7 are dead" in found
    assert "stage.1.update.0.train.encoder_u.kl_sum (now 1)" in found
    assert "stage.0.update.1.train.encoder_u.kl_mean (now 1)" in warnings(PAPER, 0, 0.9, DEAD)["style"]


def test_a_later_stage_names_the_stage_that_moved_the_part_last():
    assert "stage.1.update.0.train.encoder_u.kl_sum" in warnings(FASHION, FLOW, 0.9, DEAD)["style"]


def test_what_has_not_been_trained_yet_is_not_warned_of():
    assert warnings(FASHION, CLASS_ENCODER, 0.0, DEAD) == {}


def test_a_part_without_a_weight_to_blame_names_its_rate():
    update = dataclasses.replace(FASHION.stage[1].update[0], train={"decoder": {"recon_sse": 1.0}})
    stage = dataclasses.replace(FASHION.stage[1], update=(update,))
    assert "stage.0.lr.decoder (now 0.0008)" in warnings(dataclasses.replace(FASHION, stage=(stage,)), 0, 0.1, ALIVE)["variety"]


def test_every_key_that_is_named_can_be_set():
    for index, found in enumerate([warnings(FASHION, i, 0.0, DEAD) for i in range(5)]):
        for text in found.values():
            key = next(word for word in text.split() if word.startswith("stage."))
            assert read("fashion", {key: "0.5"}) != FASHION, index


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (FASHION.stage[0], ("class_accuracy", True)),
        (FASHION.stage[1], ("psnr_db", True)),
        (FASHION.stage[2], ("leak", False)),
        (FASHION.stage[3], ("psnr_db", True)),
        (dataclasses.replace(FASHION.stage[0], update=()), None),
    ],
)
def test_the_best_checkpoint_of_a_stage_is_chosen_by_what_it_trains(stage, expected):
    assert criterion(stage) == expected


def test_a_style_code_that_tells_next_to_nothing_has_collapsed_and_says_what_follows():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(200, 6, generator=generator)
    assert collapsed(DiagonalGaussian(mean, torch.full((200, 6), -3.0))) == ""
    nothing = collapsed(DiagonalGaussian(0.01 * mean, torch.zeros(200, 6)))
    assert "(0.0 nats, 0 of 6 dimensions alive after 60 steps): the weight of kl_sum and kl_mean is multiplied by 0.25" in nothing
    two = collapsed(DiagonalGaussian(torch.cat([3 * mean[:, :2], 0 * mean[:, 2:]], 1), torch.full((200, 6), -3.0)))
    assert "2 of 6 dimensions alive" in two


def test_a_collapsed_code_is_relieved_of_its_divergence_and_of_nothing_else():
    before, after = FASHION.stage[1].update[0].train, relieved(FASHION.stage[1]).update[0].train
    assert after["encoder_u"] == before["encoder_u"] | {"kl_sum": 0.25 * before["encoder_u"]["kl_sum"]}
    assert after["discriminator"] == before["discriminator"]
