"""A run is a function of its configuration: the same seed gives the same bits, cut or not."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import trainee
from twofold.training.config.schema import Config, ConfigError, Update, changed, read
from twofold.training.trainer import checkpoint
from twofold.training.trainer.batches import augment, prefetched
from twofold.training.trainer.checkpoint import CheckpointError
from twofold.training.trainer.latents import encode
from twofold.training.trainer.optim import follow
from twofold.training.trainer.run_dir import LAST
from twofold.training.trainer.step import Diverged
from twofold.training.trainer.trainer import Stopped, Trainer, build

STEPS = 5  # of each stage


class Killed(Exception):
    """The process dies: nothing of it is saved."""


@pytest.fixture(scope="module")
def config() -> Config:
    """Every stage of the tiny preset, for five steps of sixteen pictures."""
    changes = {f"stage.{i}.{key}": value for i in range(5) for key, value in (("epochs", "0.39"), ("batch", "16"))}
    return read("tiny", changes | {"model.dropout": "0.3"})


@pytest.fixture(scope="module")
def validation(sample):
    return sample.take(np.flatnonzero(np.arange(len(sample)) % 20 == 0))


@pytest.fixture(scope="module")
def start(few, validation, tmp_path_factory):
    """Run a configuration in a fresh folder, or again in a given one; `until` sees each step's figures and may end the run."""

    def run(config: Config, folder=None, until=lambda trainer, figures: None, after=None) -> SimpleNamespace:
        folder = folder or tmp_path_factory.mktemp("run")
        figures: list[dict] = []

        def report(line: dict) -> None:
            figures.append(line)
            until(trainer, line)

        trainer = Trainer(config, few, validation, folder, report, start=after)
        ended = None
        try:
            trainer.run(save_every_s=0, log_every_s=0)
        except (Stopped, Killed) as error:
            ended = type(error)
        return SimpleNamespace(trainer=trainer, figures=figures, folder=folder, ended=ended)

    return run


@pytest.fixture(scope="module")
def unbroken(start, config) -> SimpleNamespace:
    return start(config)


def digest(trainer: Trainer) -> tuple[str, str]:
    """SHA-256 over every tensor of the model, and of its average."""
    found = hashlib.sha256(), hashlib.sha256()
    for model, digest_of in zip((trainer.model, trainer.average), found, strict=True):
        for name, tensor in model.state_dict().items():
            digest_of.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found[0].hexdigest(), found[1].hexdigest()


def losses(figures: list[dict]) -> list[dict]:
    return [{key: value for key, value in line.items() if key.startswith("loss_") or key in ("stage", "step")} for line in figures]


# ------------------------------------------------------------------------------------------------------ reproducibility


def test_widths_for_pictures_of_another_size_are_refused_saying_how_many_are_needed(few, config):
    large = dataclasses.replace(few, pixels=np.zeros((len(few), 64, 64, 1), np.uint8))
    with pytest.raises(ConfigError, match="64x64 pictures need 5 widths, not 3"):
        build(config, large)


def test_every_stage_is_run_in_order_to_its_last_step(unbroken, config):
    assert [(f["stage"], f["step"]) for f in unbroken.figures] == [(s.name, i + 1) for s in config.stage for i in range(STEPS)]
    assert {"class_accuracy", "leak", "style_moved", "eta_s", "images_per_s"} <= set(unbroken.figures[-1])
    lines = (unbroken.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == unbroken.figures


@pytest.mark.slow
def test_the_same_seed_gives_the_same_losses_bit_for_bit_and_another_seed_does_not(unbroken, start, config):
    again = start(config)
    assert losses(again.figures) == losses(unbroken.figures)
    assert digest(again.trainer) == digest(unbroken.trainer)
    other = start(dataclasses.replace(config, seed=1), until=kill_at("class encoder", 2))
    assert losses(other.figures)[0] != losses(unbroken.figures)[0]


def test_every_step_draws_noise_of_its_own(start, config, few):
    """Nothing moves, and each batch is all pictures: the samples alone make the loss another one, beyond rounding."""
    still = dataclasses.replace(
        config.stage[1],
        update=(Update({"decoder": {"gen_smp": 1.0}}),),
        lr={"decoder": 0.0},
        batch=len(few),
        epochs=3,
        style_noise=0.0,
        class_noise=0.0,
    )
    found = [line["loss_gen_smp"] for line in start(dataclasses.replace(config, stage=(still,))).figures]
    assert min(abs(a - b) for a, b in itertools.combinations(found, 2)) > 1e-4


def stop_at(stage: str, step: int):
    def until(trainer: Trainer, line: dict) -> None:
        trainer.stopping = (line["stage"], line["step"]) == (stage, step)

    return until


def kill_at(stage: str, step: int):
    def until(trainer: Trainer, line: dict) -> None:
        if (line["stage"], line["step"]) == (stage, step):
            raise Killed

    return until


@pytest.mark.parametrize(
    ("until", "ended"),
    [
        pytest.param(stop_at("class encoder", 2), Stopped, id="stopped inside the class encoder"),
        pytest.param(stop_at("codes", 3), Stopped, id="stopped inside the codes"),
        pytest.param(stop_at("codes", STEPS), Stopped, id="stopped at the last step of the codes"),
        pytest.param(stop_at("flow", 2), Stopped, id="stopped inside the flow"),
        pytest.param(kill_at("flow", 1), Killed, id="killed just after a stage has ended"),
        pytest.param(kill_at("served", 3), Killed, id="killed inside the stage before the last"),
        pytest.param(kill_at("sharpened", 3), Killed, id="killed inside the last stage"),
    ],
)
@pytest.mark.slow
def test_a_run_that_was_cut_goes_on_bit_for_bit_like_the_unbroken_one(unbroken, start, config, until, ended):
    cut = start(config, until=until)
    assert cut.ended is ended
    resumed = start(config, cut.folder)
    assert resumed.ended is None
    assert digest(resumed.trainer) == digest(unbroken.trainer)
    tail = losses(unbroken.figures)[-len(resumed.figures) :]
    assert losses(resumed.figures) == tail
    assert len(cut.figures) + len(resumed.figures) in (len(unbroken.figures), len(unbroken.figures) + 1)  # a killed step is taken twice


# ----------------------------------------------------------------------------------------------------------- divergence


@pytest.fixture
def spoiled(few, validation, config, tmp_path):
    """Start a run in which a function spoils the model before or after the third step of the codes; nothing else is changed."""

    def run(spoil, after: bool, every_s: float) -> tuple[Trainer, str]:
        trainer = Trainer(config, few, validation, tmp_path, lambda line: None)
        taken = trainer._step

        def step(stage, total, drawn):
            here = (trainer.stage_index, trainer.step_index) == (1, 2)
            if here and not after:
                spoil(trainer.model)
            losses = taken(stage, total, drawn)
            if here and after:
                spoil(trainer.model)
            return losses

        trainer._step = step
        with pytest.raises(Diverged) as caught:
            trainer.run(save_every_s=every_s, log_every_s=every_s)
        return trainer, str(caught.value)

    return run


def sound(folder, name: str) -> bool:
    state = checkpoint.load(folder / name)
    return all(value.isfinite().all() for model in ("model", "average") for value in state[model].values())


@pytest.mark.parametrize("part", ["decoder", "encoder_u", "discriminator"])
def test_a_weight_that_is_not_finite_is_refused_by_name_before_it_is_saved(spoiled, tmp_path, part):
    def spoil(model) -> None:
        next(getattr(model, part).parameters()).data.view(-1)[0] = torch.inf

    _, message = spoiled(spoil, after=True, every_s=0)
    assert message.startswith(f"a weight of {part} is not finite in stage 'codes': try a smaller lr.{part}")
    state = checkpoint.load(tmp_path / LAST)
    assert (state["stage"], state["step"]) == (1, 2)  # the step before
    assert all(sound(tmp_path, name) for name in ("last.pt", "best.pt", "stage-1.pt"))


@pytest.mark.parametrize(("every_s", "found_at", "kept"), [(0, 3, 2), (1000, STEPS, 0)], ids=["every step", "once a stage"])
def test_a_loss_that_is_not_finite_is_named_however_seldom_the_host_looks(spoiled, tmp_path, every_s, found_at, kept):
    """The first that was not finite is named, not what followed from it, and no file holds anything of it."""
    trainer, message = spoiled(lambda model: model.discriminator.score.bias.data.fill_(torch.nan), after=False, every_s=every_s)
    assert message.startswith("discriminator_real is not finite in stage 'codes': try a smaller lr.discriminator")
    assert trainer.step_index == found_at
    state = checkpoint.load(tmp_path / LAST)
    assert (state["stage"], state["step"]) == (1, kept)
    assert all(sound(tmp_path, name) for name in ("last.pt", "best.pt", "stage-1.pt"))


def test_a_finished_run_is_not_trained_again(unbroken, start, config):
    before = (unbroken.folder / LAST).read_bytes()
    again = start(config, unbroken.folder)
    assert again.figures == []
    assert digest(again.trainer) == digest(unbroken.trainer)
    assert (unbroken.folder / LAST).read_bytes() == before


def test_a_folder_with_another_configurations_run_is_refused(unbroken, start, config):
    with pytest.raises(CheckpointError, match="another configuration"):
        start(dataclasses.replace(config, seed=1), unbroken.folder)


@pytest.mark.slow
def test_the_paper_preset_with_its_four_batches_a_step_goes_on_bit_for_bit_too(start):
    small = {f"model.{part}_widths": "[4, 4, 8]" for part in ("encoder_s", "encoder_u", "decoder", "discriminator")}
    config = read("paper", small | {"stage.0.epochs": "0.2", "stage.0.batch": "16", "precision": "fp32"})
    unbroken, cut = start(config), start(config, until=stop_at("joint", 2))
    assert [f["step"] for f in unbroken.figures] == [1, 2, 3]
    assert [f["step"] for f in cut.figures] == [1, 2]
    assert digest(start(config, cut.folder).trainer) == digest(unbroken.trainer)


# ----------------------------------------------------------------------------------------------- what a stage leaves


def test_what_is_returned_is_the_average_whitened_folded_and_refitted(unbroken, config, few):
    model, untrained = unbroken.trainer.average, build(config, few)
    assert digest(unbroken.trainer)[0] == digest(unbroken.trainer)[1]
    for name in ("flow.whitening", "flow.fold_means", "fitted.means", "fitted.z_u_scale_tril"):
        assert not torch.equal(model.get_buffer(name), untrained.get_buffer(name))


def test_the_average_follows_slowly_and_becomes_the_weights_when_the_stage_ends(start, config):
    seen = []

    def until(trainer: Trainer, line: dict) -> None:
        seen.append((trainer.model.encoder_s.head.weight.detach().clone(), trainer.average.encoder_s.head.weight.clone()))

    stage = dataclasses.replace(config.stage[0], ema=0.5, after=())
    run = start(dataclasses.replace(config, stage=(stage,)), until=until)
    average = build(config, run.trainer.train).encoder_s.head.weight.detach()
    for step, (live, found) in enumerate(seen):
        average = torch.lerp(average, live, 1 - min(0.5, (step + 1) / (step + 10)))
        assert torch.allclose(found, average, atol=1e-6)
    assert not torch.allclose(seen[-1][0], seen[-1][1])
    assert torch.equal(run.trainer.model.encoder_s.head.weight, seen[-1][1])


def test_the_average_of_all_tensors_at_once_is_that_of_each_alone(config, few):
    average, model = build(config, few), build(dataclasses.replace(config, seed=1), few)
    wanted = {name: value.clone() for name, value in average.state_dict().items()}
    for step in range(3):
        follow(average, model, 0.9, step)
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                wanted[name].lerp_(value, 1 - min(0.9, (step + 1) / (step + 10)))
            else:
                wanted[name].copy_(value)
    assert all(torch.equal(value, wanted[name]) for name, value in average.state_dict().items())


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("cosine", [0.5 * (1 + np.cos(np.pi * i / 5)) for i in range(5)]),
        ("one-cycle", [0.04, 0.04 + 0.96 * 0.8, *(0.5 * (1 + np.cos(np.pi * (i / 5 - 0.25) / 0.75)) for i in (2, 3, 4))]),
    ],
)
def test_rates_follow_their_schedule(start, config, schedule, factors):
    rates = []

    def until(trainer: Trainer, line: dict) -> None:
        rates.append(trainer.optimizers["prior"].param_groups[0]["lr"])

    stage = dataclasses.replace(config.stage[0], schedule=schedule, after=())
    start(dataclasses.replace(config, stage=(stage,)), until=until)
    assert rates == pytest.approx([stage.lr["prior"] * factor for factor in factors])


def test_a_flow_trained_with_the_codes_follows_the_schedule_and_is_calibrated(start, config, few):
    rates, codes = [], config.stage[1]
    move = {**codes.update[0].train, "flow": {"flow_nll": 1.0}}
    move["encoder_u"] = {**move["encoder_u"], "flow_nll": 0.2}
    joint = dataclasses.replace(
        codes, update=(Update(move),), lr={**codes.lr, "flow": 1e-3}, schedule="cosine", before=("whiten",), after=("fold", "fit_sampler")
    )

    def until(trainer: Trainer, line: dict) -> None:
        rates.append({part: optimizer.param_groups[0]["lr"] / joint.lr[part] for part, optimizer in trainer.optimizers.items()})

    run = start(dataclasses.replace(config, stage=(joint,)), until=until)
    assert rates == [dict.fromkeys(joint.lr, pytest.approx(0.5 * (1 + np.cos(np.pi * i / STEPS)))) for i in range(STEPS)]
    model, untrained = run.trainer.average, build(config, few)
    for part in ("encoder_u.head.weight", "decoder.draw.0.0.weight", "flow.couplings.0.last.weight"):
        assert not torch.equal(model.state_dict()[part], untrained.state_dict()[part]), part
    found = encode(model, few.pixels, few.labels)
    z_u, _ = model.flow(found.q.mean, found.read)
    counts = torch.bincount(found.read)
    for k in (counts > model.sizes.dim_u).nonzero()[:, 0]:
        assert z_u[found.read == k].mean(0).abs().max() < 1e-3
        assert (z_u[found.read == k].std(0) - 1).abs().max() < 1e-3


# ---------------------------------------------------------------------------------------------------------- batches


def rows_drawn(trainer: Trainer, stage, count: int) -> list[list[int]]:
    """Which pictures of the training split a stage's first batches hold."""
    known = {picture.tobytes(): i for i, picture in enumerate(trainer.train.pixels)}
    drawn = trainer._batches(stage, None)
    return [[known[(x * 255).round().byte().permute(1, 2, 0).numpy().tobytes()] for x in next(drawn).x] for _ in range(count)]


@pytest.fixture
def trainer(config, few, validation, tmp_path) -> Trainer:
    return Trainer(config, few, validation, tmp_path, lambda line: None)


def test_an_epoch_shows_every_picture_at_most_once_in_an_order_of_its_own(trainer, config):
    stage = dataclasses.replace(config.stage[0], flip=False, shift=0)
    rows = rows_drawn(trainer, stage, 24)
    first, second = np.concatenate(rows[:12]).tolist(), np.concatenate(rows[12:]).tolist()
    assert len(set(first)) == len(set(second)) == 12 * 16
    assert first != second


def test_batches_that_are_made_ahead_are_the_same_in_the_same_order():
    made = []
    numbers = prefetched(made.append(i) or i for i in itertools.count())
    assert [next(numbers) for _ in range(5)] == [0, 1, 2, 3, 4]
    numbers.close()
    assert made == [0, 1, 2, 3, 4, 5]


def test_a_batch_of_classes_holds_as_many_pictures_of_each(trainer, config):
    stage = dataclasses.replace(config.stage[0], flip=False, shift=0, pictures_per_class=4)
    for rows in rows_drawn(trainer, stage, 30):
        counts = np.bincount(trainer.train.labels[rows], minlength=10)
        assert sorted(counts[counts > 0].tolist()) == [4, 4, 4, 4]


# ------------------------------------------------------------------------------------------------------- augmentation


def stage_with(config: Config, *, flip: bool, shift: int):
    return dataclasses.replace(config.stage[0], flip=flip, shift=shift)


def test_no_flip_and_no_shift_is_the_identity(config):
    x = torch.rand(4, 3, 6, 5)
    assert torch.equal(augment(x, stage_with(config, flip=False, shift=0), np.random.default_rng(0)), x)


def test_flips_mirror_about_half_of_the_pictures_and_leave_the_others(config):
    x = torch.rand(200, 1, 4, 6)
    flipped = augment(x, stage_with(config, flip=True, shift=0), np.random.default_rng(0))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True)]
    untouched = [torch.equal(a, b) for a, b in zip(flipped, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, untouched, strict=True))
    assert 70 < sum(mirrored) < 130


@settings(max_examples=20, deadline=None)
@given(height=st.integers(4, 9), width=st.integers(4, 9), channels=st.sampled_from([1, 3]), shift=st.integers(1, 3))
def test_a_shift_moves_a_picture_by_whole_pixels_and_repeats_its_border(config, height, width, channels, shift):
    x = torch.rand(6, channels, height, width, generator=torch.Generator().manual_seed(height * 10 + width))
    moved = augment(x, stage_with(config, flip=False, shift=shift), np.random.default_rng(0))
    assert moved.shape == x.shape
    offsets = range(-shift, shift + 1)
    for before, after in zip(x, moved, strict=True):
        candidates = (
            before[:, (torch.arange(height) + dy).clamp(0, height - 1)][:, :, (torch.arange(width) + dx).clamp(0, width - 1)]
            for dy in offsets
            for dx in offsets
        )
        assert any(torch.equal(after, candidate) for candidate in candidates)


def test_shifts_reach_every_offset(config):
    x = torch.zeros(300, 1, 7, 7)
    x[:, 0, 3, 3] = 1
    moved = augment(x, stage_with(config, flip=False, shift=1), np.random.default_rng(0))
    assert {tuple(place) for place in (moved[:, 0] == 1).nonzero()[:, 1:].tolist()} == {(i, j) for i in (2, 3, 4) for j in (2, 3, 4)}


def test_a_cutout_leaves_a_grey_square_somewhere_in_every_picture(config):
    x = torch.rand(50, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    stage = dataclasses.replace(config.stage[0], flip=False, shift=0, cutout=4)
    cut = augment(x, stage, np.random.default_rng(0))
    holes = [(row == 0.5).all(0) for row in cut]
    assert torch.equal(torch.where(cut == 0.5, x, cut), x)
    assert {int(hole.sum()) for hole in holes} <= {i * j for i in (2, 3, 4) for j in (2, 3, 4)}
    assert len({tuple(hole.flatten().tolist()) for hole in holes}) > 20


def test_a_stage_that_changes_its_pictures_computes_no_codes_beforehand(config):
    flags = ({}, {"flip": True}, {"shift": 1}, {"cutout": 2})
    assert [dataclasses.replace(config.stage[3], **flag).augments for flag in flags] == [False, True, True, True]


# ----------------------------------------------------------------------------------------------- stages that runs share


def with_stage(config: Config, number: int, **changes) -> Config:
    stages = [dataclasses.replace(stage, **changes) if i == number else stage for i, stage in enumerate(config.stage)]
    return dataclasses.replace(config, stage=tuple(stages))


@pytest.mark.slow
def test_a_run_begun_after_shared_stages_ends_with_the_bits_of_a_run_of_its_own(start, config, unbroken):
    other = with_stage(config, 3, sample_share=0.25)
    own, shared = start(other), start(other, after=unbroken.folder)
    assert {line["stage"] for line in shared.figures} == {"served", "sharpened"}
    assert digest(shared.trainer) == digest(own.trainer)


def test_parts_that_no_shared_stage_moves_may_have_other_sizes(start, config, unbroken):
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, flow_hidden=8))
    shared = start(other, after=unbroken.folder)
    assert [line["stage"] for line in shared.figures if line["step"] == 1] == ["flow", "served", "sharpened"]


def test_a_run_that_shares_every_stage_is_finished_at_once_and_can_be_exported(start, config, unbroken):
    shared = start(dataclasses.replace(config, stage=config.stage[:2], name="codes"), after=unbroken.folder)
    assert shared.figures == []
    state = checkpoint.load(shared.folder / LAST)
    assert (state["stage"], json.loads(state["config"])["name"]) == (2, "codes")
    taken = checkpoint.load(unbroken.folder / "stage-2.pt")["average"]
    assert all(torch.equal(value, taken[name]) for name, value in state["average"].items())
    assert json.loads((shared.folder / "data.json").read_text()) == json.loads((unbroken.folder / "data.json").read_text())


def test_the_clocks_of_a_run_count_what_it_took_over_and_every_resumption(unbroken, start, config):
    spent = [checkpoint.load(unbroken.folder / f"stage-{done}.pt")["core_seconds"] for done in (1, 2, 3, 4)]
    assert 0 < spent[0] < spent[1] < spent[2] < spent[3]
    shared = start(with_stage(config, 3, sample_share=0.25), after=unbroken.folder)
    assert shared.trainer.core_seconds > spent[2]
    cut = start(config, until=stop_at("codes", 3))
    before = cut.trainer.core_seconds
    assert start(config, cut.folder).trainer.core_seconds > before > 0


@pytest.mark.parametrize(("change", "value"), [("seed", 1), ("precision", "bf16")])
def test_configurations_without_a_common_first_stage_share_nothing(start, config, unbroken, change, value):
    with pytest.raises(ConfigError, match="no first stage in common"):
        start(dataclasses.replace(config, **{change: value}), after=unbroken.folder)


@pytest.fixture(scope="module")
def collapsing() -> Config:
    """A second stage of 64 steps whose style code collapses under its divergence."""
    epochs = {"stage.0.epochs": "0.05", "stage.1.epochs": "10.6"}  # 96 pictures, batches of 16
    watched = trainee.config(**{"stage.1.collapse_watch": "true", "stage.1.update.0.train.encoder_u.kl_sum": "1000.0"} | epochs)
    return dataclasses.replace(watched, stage=watched.stage[:2])


def collapsed_run(config: Config, folder, until: int = 10**9) -> tuple[Trainer, list[str]]:
    said: list[str] = []

    def report(figures: dict) -> None:
        made.stopping = figures["stage_number"] == 2 and figures["step"] >= until

    made = Trainer(config, trainee.pictures(), trainee.pictures(10, seed=1), folder, report, said.append)
    with contextlib.suppress(Stopped):
        made.run(save_every_s=0, log_every_s=0)
    return made, said


def test_a_style_code_that_collapses_is_relieved_once_and_that_is_said(collapsing, tmp_path):
    _, said = collapsed_run(collapsing, tmp_path / "run")
    found = [text for text in said if "the style code has collapsed" in text]
    assert len(found) == 1
    assert "after 60 steps): the weight of kl_sum and kl_mean is multiplied by 0.25 from now on" in found[0]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [text for line in lines for text in line.get("warnings", ()) if "the style code has collapsed" in text] == found


def test_a_relieved_stage_goes_on_relieved_after_a_stop(collapsing, tmp_path):
    collapsed_run(collapsing, tmp_path / "whole")
    collapsed_run(collapsing, tmp_path / "cut", until=62)
    assert checkpoint.load(tmp_path / "cut" / LAST)["relieved"] is True
    again, said = collapsed_run(collapsing, tmp_path / "cut")
    assert not any("the style code has collapsed" in text for text in said)
    assert trainee.learned(tmp_path / "cut") == trainee.learned(tmp_path / "whole")
    assert again.relieved is False  # the next stage begins as it is written


def test_a_code_that_tells_enough_is_left_as_it_is(collapsing, tmp_path):
    fine = changed(collapsing, {"stage.1.update.0.train.encoder_u.kl_sum": "0.0"})
    _, said = collapsed_run(fine, tmp_path / "run")
    assert not any("the style code has collapsed" in text for text in said)
