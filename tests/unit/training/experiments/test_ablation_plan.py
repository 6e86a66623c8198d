"""A row of the table changes what its keys name and nothing else, and gets as much training as the others."""

from __future__ import annotations

import dataclasses

import pytest

from tests.trainee import config as small_config
from tests.trainee import pictures
from twofold.training.config.schema import Config, ConfigError, read
from twofold.training.experiments.ablation_plan import Variant, configure, decoder_steps, read_plan
from twofold.training.experiments.profile import profile
from twofold.training.trainer import preflight
from twofold.training.trainer.trainer import shared_stages

ROWS = {variant.name: variant for variant in read_plan().variant}
RUNS = [name for name, variant in ROWS.items() if not variant.like]
FASHION = read("fashion")


def losses(config: Config, part: str) -> set[str]:
    return {term for stage in config.stage for update in stage.update for term in update.train.get(part, {})}


def trained(config: Config) -> set[str]:
    return set().union(*(stage.trained for stage in config.stage))


@pytest.mark.parametrize("base", ["fashion", "tiny"])
@pytest.mark.parametrize("name", RUNS)
def test_every_row_has_the_networks_pictures_and_steps_of_g_of_the_base(name, base):
    base = read(base)
    row = configure(ROWS[name], base, 1.0)
    preflight.check(row)
    assert decoder_steps(row) == pytest.approx(decoder_steps(base), rel=1e-3)
    assert (row.seed, row.precision, row.data) == (base.seed, base.precision, base.data)
    for key in ("encoder_s_widths", "encoder_u_widths", "decoder_widths", "decoder_hidden", "discriminator_widths"):
        assert getattr(row.model, key) == getattr(base.model, key)


@pytest.mark.parametrize("name", RUNS)
def test_every_row_takes_its_steps(name):
    """Every stage for a few steps, actions included, on pictures of 8x8 pixels."""
    profile(configure(ROWS[name], small_config(), 1.0), pictures(), pictures(10, seed=1), steps=1)


def test_rows_share_the_stages_that_none_of_them_changes():
    ours, *others = (configure(ROWS[name], FASHION, 0.2) for name in RUNS)
    assert {other.name: shared_stages(ours, other) for other in others} == {
        "without-fine-tuning": 1,
        "without-the-flow": 2,
        "without-the-cka-penalty": 1,
        "without-the-gan": 1,
        "z-s-not-throttled": 1,
        "cvae": 1,
        "cgan": 1,
        "cvae-gan": 1,
        "paper": 0,
    }


def test_the_base_is_a_row_unchanged_and_a_scale_multiplies_every_stage():
    assert configure(ROWS["ours"], FASHION, 1.0) == dataclasses.replace(FASHION, name="ours")
    half = configure(ROWS["ours"], FASHION, 0.5)
    assert [stage.epochs for stage in half.stage] == [stage.epochs / 2 for stage in FASHION.stage]


def test_a_stage_that_is_taken_whole_keeps_its_epochs_at_every_scale():
    plan = read_plan()
    assert plan.whole == ("flow",)
    for name in ("ours", "without fine-tuning"):
        row = configure(ROWS[name], FASHION, 0.5, plan.whole)
        whole = configure(ROWS[name], FASHION, 1.0)
        for stage, full in zip(row.stage, whole.stage, strict=True):
            assert stage.epochs == (full.epochs if stage.name == "flow" else full.epochs / 2)


def test_the_steps_of_a_stage_that_is_left_out_go_to_the_others():
    row = configure(ROWS["without fine-tuning"], FASHION, 1.0)
    assert {stage.name: stage.epochs for stage in row.stage} == {"class encoder": 14, "codes": 9 + 7 + 3, "flow": 120}


def test_a_row_lacks_what_its_name_says():
    rows = {name: configure(ROWS[name], FASHION, 1.0) for name in RUNS}
    assert "discriminator" not in trained(rows["without the GAN"])
    assert not {term for term in losses(rows["without the GAN"], "decoder") if term.startswith("gen")}
    assert "cka_penalty" not in losses(rows["without the CKA penalty"], "encoder_u")
    assert rows["without the flow"].model.flow_layers == 0
    assert not {"served", "sharpened"} & {stage.name for stage in rows["without fine-tuning"].stage}
    codes = rows["z_s not throttled"].stage[1]
    assert (codes.class_code, codes.class_noise) == ("live", 0)
    assert "recon_sse" in codes.update[0].train["encoder_s"]


def test_the_baselines_take_the_mean_of_the_class_and_their_own_losses():
    rows = {name: configure(ROWS[name], FASHION, 1.0) for name in ("cVAE", "cGAN", "cVAE-GAN")}
    assert {row.model.decoder_takes for row in rows.values()} == {"mean"}
    assert losses(rows["cVAE"], "decoder") == {"recon_sse", "kl_sum"}
    assert "discriminator" not in trained(rows["cVAE"])
    assert losses(rows["cGAN"], "decoder") == {"gen_smp"}
    assert losses(rows["cGAN"], "discriminator") == {"discriminator_real", "discriminator_smp"}
    assert "encoder_u" not in trained(rows["cGAN"])
    assert losses(rows["cVAE-GAN"], "decoder") == {"recon_sse", "kl_sum", "gen_rec", "gen_smp"}
    assert losses(rows["cVAE-GAN"], "discriminator") == {"discriminator_real", "discriminator_rec", "discriminator_smp"}
    for row in rows.values():
        assert [stage.trained for stage in row.stage if "prior" in stage.trained] == [{"encoder_s", "prior"}]


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": ("serve",)}, r"there is no stage 'serve' to drop \(did you mean 'served'\?\)"),
        ({"without": ("cka_penaltee",)}, r"there is no loss 'cka_penaltee' to leave out \(did you mean 'cka_penalty'\?\)"),
        ({"change": ("model.dim_z=3",)}, r"unknown key 'model\.dim_z'"),
        ({"preset": "papper"}, "did you mean 'paper'"),
    ],
)
def test_a_row_that_asks_for_what_is_not_there_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        configure(Variant("new", "", **change), FASHION, 1.0)


def test_a_scale_that_cannot_be_is_refused():
    assert read_plan(scale=0.5).scale == 0.5
    with pytest.raises(ConfigError, match=r"^scale: must be more than 0"):
        read_plan(scale=0.0)


def test_rows_are_chosen_by_name_with_those_that_they_are_like():
    plan = read_plan()
    assert [variant.name for variant in plan.chosen(["paper, refitted", "cGAN"])] == ["cGAN", "paper", "paper, refitted"]
    assert plan.chosen([]) == plan.variant
    with pytest.raises(ConfigError, match=r"there is no row 'cVEA' \(did you mean 'cVAE'\?\); rows: ours, "):
        plan.chosen(["cVEA"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('[[variant]]\nname = "a"\nnote = ""\n' * 2, "two rows 'a'"),
        ('[[variant]]\nname = "a"\nnote = ""\nlike = "b"\n', "'a' must be like a row above it"),
        ('[[variant]]\nname = "a"\nnote = ""\nsampler = "own"\n', r"variant\.0\.sampler: must be one of fitted, paper"),
        ('[[variant]]\nname = "a"\nnot = ""\n', r"unknown key 'variant\.0\.not'"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(tmp_path, rows, message):
    (tmp_path / "plan.toml").write_text("scale = 1.0\n" + rows, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_plan(tmp_path / "plan.toml")
