"""Everything that can be wrong with a configuration as a whole, found before any data is read.

config/schema.py checks each value alone; here they are checked together, against the registries of losses and actions and the processes
of the run. The sizes of pictures are known later: `trainer.build` refuses widths that do not suit them.
"""

from __future__ import annotations

from collections.abc import Mapping

from twofold.training.config.schema import Config, ConfigError, Stage, nearest
from twofold.training.trainer.calibration import ACTIONS, REQUIRES
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.forward import CYCLE, FLOW
from twofold.training.trainer.objectives import OBJECTIVES

# How a size of the model that is no number is set.
_KEY_OF = {"has_flow": "model.flow_layers above 0, or model.flow_affine", "style_centered": "model.style_centered"}


def check(config: Config, distributed: Distributed = SINGLE_PROCESS) -> None:
    """Raises ConfigError, naming the stage and the key, for a configuration that no run could finish."""
    for stage in config.stage:
        try:
            _check_batch(stage, distributed)
            _check_parts(stage, config)
            for update in stage.update:
                if not update.train:
                    raise ConfigError("an update must train at least one part")
                if stage.adversarial == "gradient":
                    _check_balance(update.train.get("decoder", {}))
                for part, weights in update.train.items():
                    _check_losses(part, weights, stage, config)
            _check_actions(stage, config)
        except ConfigError as error:
            raise ConfigError(f"stage {stage.name!r}: {error}") from error


def _check_batch(stage: Stage, distributed: Distributed) -> None:
    if stage.batch % distributed.size or stage.batch // distributed.size < 2:
        raise ConfigError(f"batch must be a multiple of the {distributed.size} processes, at least 2 rows for each")


def _check_parts(stage: Stage, config: Config) -> None:
    if "flow" in stage.trained and not config.model.flow_layers:  # whitening alone has nothing to train
        raise ConfigError("train.flow needs a flow: set model.flow_layers above 0")
    if stage.through_flow and not config.model.has_flow:
        raise ConfigError(f"through_flow needs a flow: set {_KEY_OF['has_flow']}")


def _check_balance(weights: Mapping[str, float]) -> None:
    """What is trained on gen_* needs something to weigh it against."""
    drawn = sum(weight for name, weight in weights.items() if name.startswith("gen_"))
    if (drawn > 0) != any(name.startswith("recon_") for name in weights):
        raise ConfigError('adversarial = "gradient" needs a recon_* loss and gen_* above 0 in train.decoder')


def _check_losses(part: str, weights: Mapping[str, float], stage: Stage, config: Config) -> None:
    if not weights:
        raise ConfigError(f"train.{part} needs at least one loss")
    for name in weights:
        if name not in OBJECTIVES:
            raise ConfigError(f"unknown loss {name!r}{nearest(name, OBJECTIVES)}")
        needs = OBJECTIVES[name].needs
        if FLOW in needs and not config.model.has_flow:
            raise ConfigError(f"{name!r} needs a flow: set {_KEY_OF['has_flow']}")
        for kind, key in (("swap", "swap_share"), ("smp", "sample_share")):
            if kind in needs and not getattr(stage, key) > 0:
                raise ConfigError(f"{name!r} needs a {key} above 0")
        if CYCLE in needs and not max(stage.swap_share, stage.sample_share) > 0:
            raise ConfigError(f"{name!r} needs a swap_share or sample_share above 0")


def _check_actions(stage: Stage, config: Config) -> None:
    for action in (*stage.before, *stage.after):
        if action not in ACTIONS:
            raise ConfigError(f"unknown action {action!r}{nearest(action, ACTIONS)}")
        if action in REQUIRES and not getattr(config.model, REQUIRES[action]):
            raise ConfigError(f"{action!r} needs {_KEY_OF.get(REQUIRES[action], f'model.{REQUIRES[action]} above 0')}")
