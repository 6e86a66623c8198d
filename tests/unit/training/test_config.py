"""A configuration says what it means or is refused with the nearest word that would have meant something."""

from __future__ import annotations

import json
import tomllib

import pytest

from twofold.training.config.schema import PRESETS, Config, ConfigError, changed, from_dict, read
from twofold.training.trainer import preflight
from twofold.training.trainer.calibration import ACTIONS
from twofold.training.trainer.objectives import OBJECTIVES

PRESET_NAMES = sorted(path.stem for path in PRESETS.glob("*.toml"))


@pytest.fixture
def raw() -> dict:
    """The tiny preset as plain types, to be spoilt."""
    return tomllib.loads((PRESETS / "tiny.toml").read_text(encoding="utf-8"))


def test_the_presets_are_those_of_the_recipe_the_paper_and_the_tests():
    assert {"fashion", "paper", "tiny"} <= set(PRESET_NAMES)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_preset_names_losses_and_actions_that_exist(name):
    config = read(name)
    preflight.check(config)
    assert {t for s in config.stage for u in s.update for weights in u.train.values() for t in weights} <= set(OBJECTIVES)
    assert {a for s in config.stage for a in (*s.before, *s.after)} <= set(ACTIONS)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_configuration_survives_its_way_through_json(name):
    config = read(name)
    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_tiny_has_the_stages_of_fashion_with_the_same_losses():
    def shape(config: Config):
        return [
            (s.name, s.before, s.after, s.class_code, s.pairs, s.sampler, s.through_flow, [(u.train, u.repeat) for u in s.update])
            for s in config.stage
        ]

    assert shape(read("tiny")) == shape(read("fashion"))


def test_paper_moves_what_the_papers_table_says():
    mixture, joint = read("paper").stage[0].update
    assert mixture.repeat == 3
    assert mixture.train == {part: {"class": 1.0, "likelihood": 0.1} for part in ("encoder_s", "prior")}
    assert joint.train == {
        "encoder_s": {"recon_mse": 10.0, "likelihood": 1.0},
        "encoder_u": {"recon_mse": 10.0, "kl_mean": 1.0, "latent_adversary": 1.0},
        "decoder": {"recon_mse": 10.0, "gen_rec": 1.0, "gen_smp": 1.0},
        "discriminator": {"discriminator_real": 1.0, "discriminator_rec": 0.5, "discriminator_smp": 0.5},
        "classifier": {"latent_classifier": 1.0},
    }


@pytest.mark.parametrize(
    ("place", "key", "message"),
    [
        ((), "sed", r"^unknown key 'sed' \(did you mean 'seed'\?\)$"),
        (("model",), "dim_z", r"^unknown key 'model\.dim_z' \(did you mean 'dim_[su]'\?\)$"),
        (("stage", 1), "epoch", r"^unknown key 'stage\.1\.epoch' \(did you mean 'epochs'\?\)$"),
        (("stage", 0, "update", 0), "trian", r"^unknown key 'stage\.0\.update\.0\.trian' \(did you mean 'train'\?\)$"),
        (("data",), "qqqqqq", r"^unknown key 'data\.qqqqqq'$"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(raw, place, key, message):
    node = raw
    for step in place:
        node = node[step]
    node[key] = 1
    with pytest.raises(ConfigError, match=message):
        from_dict(raw)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("seed",), "1", r"^seed: must be of type int$"),
        (("seed",), 1.0, r"^seed: must be of type int$"),
        (("seed",), True, r"^seed: must be of type int$"),
        (("name",), 3, r"^name: must be of type str$"),
        (("model",), 3, r"^model: must be a table$"),
        (("model", "decoder_widths"), 8, r"^model\.decoder_widths: must be a list$"),
        (("model", "decoder_widths", 1), "8", r"^model\.decoder_widths\.1: must be of type int$"),
        (("stage", 0, "epochs"), True, r"^stage\.0\.epochs: must be of type float$"),
        (("stage", 0, "flip"), 1, r"^stage\.0\.flip: must be of type bool$"),
        (("stage", 0, "lr"), 1e-3, r"^stage\.0\.lr: must be a table$"),
        (("stage", 0, "lr", "encoder_s"), "fast", r"^stage\.0\.lr\.encoder_s: must be of type float$"),
        (("stage", 0, "betas"), [0.9], r"^stage 'class encoder': betas must be two numbers$"),
        (("stage", 0, "optimizer"), "sgd", r"^stage 'class encoder': optimizer must be one of adam, adamw$"),
        (("stage", 1, "discriminator_views"), ["cutuot"], r"^stage 'codes': unknown view 'cutuot' \(did you mean 'cutout'\?\)$"),
        (("stage", 0, "epochs"), -1, r"epochs must be >= 0"),
        (("stage", 0, "epochs"), float("nan"), r"epochs must be >= 0"),
        (("stage", 0, "batch"), 1, r"batch >= 2"),
        (("stage",), [], r"at least one \[\[stage\]\]"),
        (("precision",), "fp8", r"precision must be one of bf16, fp32"),
    ],
)
def test_a_wrong_value_names_its_key_and_what_it_may_be(raw, place, value, message):
    node = raw
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    with pytest.raises(ConfigError, match=message):
        from_dict(raw)


def test_a_missing_key_is_named(raw):
    del raw["stage"][2]["epochs"]
    with pytest.raises(ConfigError, match=r"^missing key 'stage\.2\.epochs'$"):
        from_dict(raw)


def test_an_integer_is_taken_where_a_number_is_meant(raw):
    raw["stage"][0]["epochs"] = 3
    epochs = from_dict(raw).stage[0].epochs
    assert (epochs, type(epochs)) == (3.0, float)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "train",
            {"encoder": {"class": 1.0}},
            r"^stage 'class encoder': unknown part 'encoder' \(did you mean '(en|de)coder(_[su])?'\?\)$",
        ),
        ("train", {"decoder": {"class": 1.0}}, r"^stage 'class encoder': lr needs a learning rate for 'decoder'$"),
    ],
)
def test_an_unknown_part_or_one_without_a_rate_is_refused(raw, key, value, message):
    raw["stage"][0]["update"][0][key] = value
    with pytest.raises(ConfigError, match=message):
        from_dict(raw)


def test_an_unknown_loss_names_the_nearest_known_one(raw):
    raw["stage"][0]["update"][0]["train"]["prior"] = {"likelyhood": 0.1}
    with pytest.raises(ConfigError, match=r"^stage 'class encoder': unknown loss 'likelyhood' \(did you mean 'likelihood'\?\)$"):
        preflight.check(from_dict(raw))


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unknown_action_names_the_nearest_known_one(raw, when):
    raw["stage"][2][when] = ["whitten"]
    with pytest.raises(ConfigError, match=r"^stage 'flow': unknown action 'whitten' \(did you mean 'whiten'\?\)$"):
        preflight.check(from_dict(raw))


# ------------------------------------------------------------------------------------------------- files and overrides


def test_dotted_overrides_take_toml_values_and_plain_words(raw):
    overrides = {
        "seed": "7",
        "stage.1.lr.discriminator": "1e-5",
        "precision": "bf16",
        "model.decoder_widths": "[4, 4, 4]",
        "stage.0.flip": "false",
    }
    config = read("tiny", overrides)
    assert (config.seed, config.precision, config.model.decoder_widths) == (7, "bf16", (4, 4, 4))
    assert (config.stage[1].lr["discriminator"], config.stage[0].flip) == (1e-5, False)
    assert config.stage[1].lr["decoder"] == raw["stage"][1]["lr"]["decoder"]


def test_a_stage_is_overridden_by_its_name_as_by_its_number():
    assert read("tiny", {"stage.class encoder.epochs": "3", "stage.served.lr.discriminator": "1e-5"}) == read(
        "tiny", {"stage.0.epochs": "3", "stage.3.lr.discriminator": "1e-5"}
    )


def test_a_configuration_is_changed_like_a_file():
    overrides = {
        "stage.codes.class_code": "live",
        "stage.codes.update.0.train.discriminator.discriminator_smp": "1.0",
        "model.decoder_takes": "mean",
    }
    assert changed(read("tiny"), overrides) == read("tiny", overrides)
    with pytest.raises(ConfigError, match=r"unknown key 'sead'"):
        changed(read("tiny"), {"sead": "1"})


def test_an_override_can_open_a_table_that_the_file_leaves_out():
    assert read("paper", {"data.height": "32"}).data.height == 32


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("sead", r"unknown key 'sead' \(did you mean 'seed'"),
        ("stage.9.epochs", r"^stage\.9\.epochs: '9' must be an index below 5, or a name$"),
        ("stage.first.epochs", r"'first' must be an index below 5, or a name$"),
        ("seed.x", r"^seed\.x: 'seed' has no keys below it$"),
        ("stage.0", r"^stage\.0: '0' must be followed by a key$"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(key, message):
    with pytest.raises(ConfigError, match=message):
        read("tiny", {key: "1"})


def test_a_preset_that_does_not_exist_names_the_nearest_and_all_others():
    with pytest.raises(ConfigError, match=r"^no preset of that name \(did you mean 'fashion'\?\); presets: .*paper"):
        read("fashon")


def test_a_file_that_is_missing_or_no_toml_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"^mine\.toml: "):
        read(tmp_path / "mine.toml")
    (tmp_path / "mine.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^mine\.toml: "):
        read(tmp_path / "mine.toml")


def test_a_file_of_ones_own_is_read_like_a_preset(tmp_path):
    (tmp_path / "mine.toml").write_bytes((PRESETS / "tiny.toml").read_bytes())
    assert read(tmp_path / "mine.toml") == read("tiny")
