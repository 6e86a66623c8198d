"""A configuration is read as it is written, or refused in one sentence that names the key and what is allowed."""

from __future__ import annotations

import dataclasses
import json
import tomllib

import pytest

from docs.generate import configuration
from twofold.model.contract import CROPS, FILTERS
from twofold.model.vae_gan import Sizes
from twofold.training.config import schema
from twofold.training.config.schema import PRESETS, Config, ConfigError, DataConfig, Stage, Update, changed, from_dict, read
from twofold.training.data.augment import VIEWS
from twofold.training.trainer import preflight
from twofold.training.trainer.calibration import ACTIONS
from twofold.training.trainer.objectives import OBJECTIVES

PRESET_NAMES = sorted(path.stem for path in PRESETS.glob("*.toml"))


@pytest.fixture
def raw() -> dict:
    """The tiny preset as plain types, to be changed."""
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
def test_a_configuration_survives_json_with_every_default_written_out(name):
    config = read(name)
    plain = config.to_dict()
    assert from_dict(json.loads(json.dumps(plain))) == config
    assert json.loads(json.dumps(plain)) == plain
    assert plain["stage"][0].keys() == {field.name for field in dataclasses.fields(Stage)}
    assert plain["model"].keys() == {field.name for field in dataclasses.fields(Sizes)}


def test_tiny_has_the_stages_of_fashion_with_the_same_losses():
    def shape(config: Config):
        return [
            (s.name, s.before, s.after, s.class_code, s.pairs, s.sampler, s.through_flow, [(u.train, u.repeat) for u in s.update])
            for s in config.stage
        ]

    assert shape(read("tiny")) == shape(read("fashion"))


def test_the_paper_preset_trains_what_the_papers_table_says():
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


def put(raw, place, value):
    """Set one value in nested tables and lists."""
    node = raw
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("sed",), "unknown key 'sed' (did you mean 'seed'?)"),
        (("model", "dim_z"), "unknown key 'model.dim_z' (did you mean 'dim_u'?)"),
        (("stage", 1, "epoch"), "unknown key 'stage.1.epoch' (did you mean 'epochs'?)"),
        (("stage", 0, "update", 0, "trian"), "unknown key 'stage.0.update.0.trian' (did you mean 'train'?)"),
        (("stage", 0, "lr", "decodr"), "unknown key 'stage.0.lr.decodr' (did you mean 'decoder'?)"),
        (("data", "qqqqqq"), "unknown key 'data.qqqqqq'"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(raw, place, message):
    put(raw, place, 1)
    with pytest.raises(ConfigError) as refused:
        from_dict(raw)
    assert str(refused.value) == message


def test_an_unknown_key_is_named_before_the_missing_one_that_was_meant(raw):
    raw["stage"][0]["epoch"] = raw["stage"][0].pop("epochs")
    with pytest.raises(ConfigError, match=r"^unknown key 'stage\.0\.epoch' \(did you mean 'epochs'\?\)$"):
        from_dict(raw)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("seed",), "1", "seed: must be a whole number"),
        (("seed",), 1.0, "seed: must be a whole number"),
        (("seed",), True, "seed: must be a whole number"),
        (("seed",), -1, "seed: must be at least 0"),
        (("seed",), 2**63, "seed: must be less than 9223372036854775808"),
        (("name",), 3, "name: must be a string"),
        (("name",), "", "name: must not be empty"),
        (("name",), "x" * 201, "name: must have at most 200 characters"),
        (("model",), 3, "model: must be a table"),
        (("model", "decoder_widths"), 8, "model.decoder_widths: must be a list"),
        (("model", "decoder_widths", 1), "8", "model.decoder_widths.1: must be a whole number"),
        (("model", "decoder_widths", 1), -8, "model: decoder_widths must be from 0 to 65536, and a list of at most 16 numbers"),
        (("model", "dim_s"), 10**9, "model: dim_s must be from 0 to 65536, and a list of at most 16 numbers"),
        (("model", "dropout"), float("nan"), "model.dropout: must be a finite number"),
        (("model", "decoder_takes"), "z", "model: decoder_takes must be one of z_s, mean"),
        (("data", "channels"), 2, "data.channels: must be one of 0, 1, 3"),
        (("data", "background"), [256], "data.background.0: must be at most 255"),
        (("data", "background"), [], "data.background: must have 1 or more items"),
        (
            ("data", "filter"),
            "lancsoz",
            "data.filter: must be one of nearest, box, bilinear, hamming, bicubic, lanczos (did you mean 'lanczos'?)",
        ),
        (("stage",), [], "stage: must have 1 or more items"),
        (("stage",), {}, "stage: must be a list"),
        (("stage", 0), 3, "stage.0: must be a table"),
        (("stage", 0, "epochs"), True, "stage.0.epochs: must be a number"),
        (("stage", 0, "epochs"), -1, "stage.0.epochs: must be at least 0"),
        (("stage", 0, "epochs"), float("nan"), "stage.0.epochs: must be a finite number"),
        (("stage", 0, "epochs"), float("inf"), "stage.0.epochs: must be a finite number"),
        (("stage", 0, "epochs"), 10**400, "stage.0.epochs: must be a finite number"),
        (("stage", 0, "batch"), 1, "stage.0.batch: must be at least 2"),
        (("stage", 0, "batch"), 10**9, "stage.0.batch: must be at most 16384"),
        (("stage", 0, "flip"), 1, "stage.0.flip: must be true or false"),
        (("stage", 0, "ema"), 1.0, "stage.0.ema: must be less than 1"),
        (("stage", 0, "lr"), 1e-3, "stage.0.lr: must be a table"),
        (("stage", 0, "lr", "encoder_s"), "fast", "stage.0.lr.encoder_s: must be a number"),
        (("stage", 0, "betas"), [0.9], "stage.0.betas: has too few items"),
        (("stage", 0, "betas"), [0.9, 0.9, 0.9], "stage.0.betas: must have 2 items at most"),
        (("stage", 0, "optimizer"), "adm", "stage.0.optimizer: must be one of adam, adamw (did you mean 'adam'?)"),
        (("stage", 0, "update"), 3, "stage.0.update: must be a list"),
        (("stage", 0, "update", 0, "train"), 3, "stage.0.update.0.train: must be a table"),
        (("stage", 0, "update", 0, "train", "prior", "class"), float("nan"), "stage.0.update.0.train.prior.class: must be a finite number"),
        (
            ("stage", 1, "discriminator_views"),
            ["cutuot"],
            "stage.1.discriminator_views.0: must be one of brightness, translation, cutout (did you mean 'cutout'?)",
        ),
        (("precision",), "fp8", "precision: must be one of bf16, fp32 (did you mean 'fp32'?)"),
    ],
)
def test_a_wrong_value_names_its_key_and_what_is_allowed(raw, place, value, message):
    put(raw, place, value)
    with pytest.raises(ConfigError) as refused:
        from_dict(raw)
    assert str(refused.value) == message


def test_a_missing_key_is_named(raw):
    del raw["stage"][2]["epochs"]
    with pytest.raises(ConfigError, match=r"^missing key 'stage\.2\.epochs'$"):
        from_dict(raw)


def test_an_integer_is_taken_where_a_number_is_meant(raw):
    raw["stage"][0]["epochs"] = 3
    epochs = from_dict(raw).stage[0].epochs
    assert (epochs, type(epochs)) == (3.0, float)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"decodr": {"class": 1.0}}, "unknown key 'stage.0.update.0.train.decodr' (did you mean 'decoder'?)"),
        ({"decoder": {"class": 1.0}}, "stage.0: lr needs a learning rate for 'decoder', which an update trains"),
    ],
)
def test_an_unknown_part_or_one_without_a_rate_is_refused(raw, train, message):
    raw["stage"][0]["update"][0]["train"] = train
    with pytest.raises(ConfigError) as refused:
        from_dict(raw)
    assert str(refused.value) == message


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


# ------------------------------------------------------------------------------------------ choices, descriptions, tables


def test_the_choices_are_those_of_the_modules_that_carry_them_out():
    assert (schema.keys()["data"]["filter"]["enum"], schema.keys()["data"]["crop"]["enum"]) == (list(FILTERS), list(CROPS))
    assert schema.keys()["stage"]["discriminator_views"]["items"]["enum"] == list(VIEWS)


def test_every_key_has_a_description():
    found = {table: {key: node["description"] for key, node in keys.items()} for table, keys in schema.keys().items()}
    for table, kind in {"": Config, "data": DataConfig, "model": Sizes, "stage": Stage, "stage.update": Update}.items():
        assert found[table].keys() == {field.name for field in dataclasses.fields(kind)}
        assert all(found[table].values())


def test_the_documentation_has_a_row_for_every_key_with_default_and_bounds():
    lines = configuration.part("stage").splitlines()
    assert len(lines) == 2 + len(dataclasses.fields(Stage))
    assert "| `batch` | `128` | from 2 to 16,384 | pictures per forward pass |" in lines
    assert configuration.part("model").splitlines()[2] == "| `model.dim_s` | `16` | | length of the class code z_s |"
    assert "| `seed` | `0` | from 0 below 2^63 |" in configuration.part("")
