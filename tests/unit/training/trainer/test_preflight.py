"""A configuration that no run could finish is refused before any data is read, with the stage and the key to change."""

from __future__ import annotations

import dataclasses

import pytest

from twofold.training.config.schema import Config, ConfigError, Update, read
from twofold.training.trainer import preflight
from twofold.training.trainer.distributed import Distributed

FASHION = read("fashion")
CODES, FLOW, SERVED = 1, 2, 3


def changed(number: int, flow_layers: int = 8, **changes) -> Config:
    """The fashion preset with changes to one stage, which alone is left."""
    stage = dataclasses.replace(FASHION.stage[number], **changes)
    return dataclasses.replace(FASHION, stage=(stage,), model=dataclasses.replace(FASHION.model, flow_layers=flow_layers))


def trains(part: str, *losses: str) -> dict[str, tuple[Update]]:
    return {"update": (Update({part: dict.fromkeys(losses, 1.0)}),)}


@pytest.mark.parametrize("preset", ["fashion", "mnist", "sprites", "cifar10", "paper", "tiny"])
def test_every_preset_passes_for_one_process_and_for_two(preset):
    for processes in (1, 2):
        preflight.check(read(preset), Distributed(size=processes))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(CODES, **trains("decoder", "gen_swop")), r"'codes': unknown loss 'gen_swop' \(did you mean 'gen_swap'\?\)"),
        (changed(CODES, before=("fitsampler",)), r"'codes': unknown action 'fitsampler' \(did you mean 'fit_sampler'\?\)"),
        (changed(CODES, **trains("decoder")), "'codes': train.decoder needs at least one loss"),
        (changed(CODES, update=(Update({}),)), "'codes': an update must train at least one part"),
        (changed(CODES, flow_layers=0, **trains("encoder_u", "flow_nll")), "'flow_nll' needs a flow: set model.flow_layers above 0"),
        (changed(FLOW, flow_layers=0), "'flow': train.flow needs a flow: set model.flow_layers above 0"),
        (changed(SERVED, flow_layers=0), "'served': through_flow needs a flow: set model.flow_layers above 0"),
        (changed(CODES, flow_layers=0, after=("fold",)), "'fold' needs model.flow_layers above 0"),
        (changed(CODES, flow_layers=0, before=("whiten",)), "'whiten' needs model.flow_layers above 0"),
        (changed(CODES, after=("quantize_style",)), "'quantize_style' needs model.style_step above 0"),
        (changed(CODES, after=("shrink_to_class_mean",)), "'shrink_to_class_mean' needs model.shrinkage above 0"),
        (changed(CODES, swap_share=0.0), "'discriminator_swap' needs a swap_share above 0|'gen_swap' needs a swap_share above 0"),
        (changed(CODES, sample_share=0.0, **trains("decoder", "gen_smp")), "'gen_smp' needs a sample_share above 0"),
        (changed(CODES, swap_share=0.0, **trains("decoder", "cycle_consistency")), "'cycle_consistency' needs a swap_share above 0"),
        (
            changed(CODES, swap_share=0.0, sample_share=0.0, **trains("decoder", "cycle_class")),
            "'cycle_class' needs a swap_share or sample_share above 0",
        ),
    ],
)
def test_what_no_run_could_finish_is_refused_by_stage_and_key(config, message):
    with pytest.raises(ConfigError, match=message):
        preflight.check(config)


def test_a_batch_that_the_processes_cannot_divide_is_refused():
    for processes in (3, 128):
        with pytest.raises(ConfigError, match=rf"^stage 'class encoder': batch must be a multiple of the {processes} processes"):
            preflight.check(FASHION, Distributed(size=processes))
