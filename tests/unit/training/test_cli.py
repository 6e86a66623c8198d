"""The command line: what it prints, with which exit code it ends, and that a signal loses nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pictures import write_pictures
from tests.toy import make_bundle
from twofold.training import cli
from twofold.training.cli import EXIT_CODES, main
from twofold.training.evaluation.eval_classifier import EvalClassifierConfig, train_eval_classifier
from twofold.training.trainer import checkpoint
from twofold.training.trainer.run_dir import CONFIG, DATA, LAST

ROOT = Path(__file__).parents[3]

SMALL = """
name = "small"
precision = "fp32"
[data]
validation_rows = 20
[model]
dim_s = 3
dim_u = 2
encoder_s_widths = [4, 6]
encoder_u_widths = [4, 6]
decoder_hidden = 8
decoder_widths = [6, 4]
discriminator_widths = [4, 4]
flow_layers = 0
[[stage]]
name = "class encoder"
epochs = 4
batch = 20
lr = { encoder_s = 4e-3, prior = 4e-3 }
ema = 0.9
after = ["fit_sampler"]
[[stage.update]]
train.encoder_s = { class = 1.0, likelihood = 0.1 }
train.prior = { class = 1.0, likelihood = 0.1, log_var_regularizer = 0.1 }
[[stage]]
name = "codes"
epochs = 6
batch = 20
lr = { encoder_u = 2e-3, decoder = 2e-3 }
ema = 0.9
class_code = "detached"
[[stage.update]]
train.encoder_u = { recon_sse = 1.0, kl_sum = 1.0 }
train.decoder = { recon_sse = 1.0 }
"""
STEPS = (4 * 9, 6 * 9)  # of the stages: epochs of 180 pictures


class Watched(io.StringIO):
    """A stderr that sends signals to this process when a text is first printed."""

    def __init__(self, text: str, *signals: int) -> None:
        super().__init__()
        self.text, self.signals = text, list(signals)

    def write(self, printed: str) -> int:
        if self.text in printed:
            while self.signals:
                os.kill(os.getpid(), self.signals.pop(0))
        return super().write(printed)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A configuration, its data, and a finished run of them."""
    root = tmp_path_factory.mktemp("cli")
    (root / "small.toml").write_text(SMALL)
    found = SimpleNamespace(config=root / "small.toml", data=write_pictures(root / "data", train=200, test=40), run=root / "run")
    assert quietly(train(found, found.run)) == (0, "")
    return found


@pytest.fixture(autouse=True)
def handlers():
    """The signal handlers of the test run come back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def train(places, out, *options):
    return ["train", str(places.config), "--data", str(places.data), "--out", str(out), "--device", "cpu", "--threads", "1", *options]


def quietly(arguments):
    """(exit code, stdout)"""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()) as out:
        return main(arguments), out.getvalue()


def refusal(arguments, code=2):
    """The one line that it is refused with."""
    with contextlib.redirect_stderr(io.StringIO()) as err:
        assert main(arguments) == code
    (line,) = err.getvalue().splitlines()
    assert line.startswith("twofold-train: ")
    return line.removeprefix("twofold-train: ")


def weights(run: Path) -> dict[str, torch.Tensor]:
    state = checkpoint.load(run / LAST)
    return {f"{kind}.{name}": value for kind in ("model", "average") for name, value in state[kind].items()}


# ------------------------------------------------------------------------------------------------------------------ runs


def test_a_run_prints_its_stages_in_plain_lines_and_what_comes_next(places, tmp_path, capsys):
    assert main(train(places, tmp_path / "run")) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "\r" not in said.err
    assert f"[1/2 class encoder] 1/{STEPS[0]} | " in said.err
    assert f"[2/2 codes] {STEPS[1]}/{STEPS[1]} | " in said.err
    assert said.err.splitlines()[-1].startswith("trained small in ")
    assert f"next: twofold-train export {tmp_path / 'run'} --data {places.data} --out BUNDLE" in said.err
    assert json.loads((tmp_path / "run" / CONFIG).read_text())["stage"][1]["epochs"] == 6
    described = json.loads((tmp_path / "run" / DATA).read_text())
    assert (described["train_rows"], described["validation_rows"], described["classes"]) == (180, 20, 4)


@pytest.mark.parametrize(("number", "at"), [(signal.SIGTERM, 1), (signal.SIGINT, STEPS[0])], ids=["in a stage", "at its end"])
def test_after_a_signal_the_same_command_ends_with_the_same_tensors(places, tmp_path, number, at):
    with contextlib.redirect_stderr(Watched(f"[1/2 class encoder] {at}/", number)) as said:
        assert main(train(places, tmp_path)) == 130
    assert said.getvalue().endswith("stopped and saved: the same command continues from here\n")
    state = checkpoint.load(tmp_path / LAST)
    assert (state["stage"], state["step"]) == (0, at)
    assert quietly(train(places, tmp_path))[0] == 0
    unbroken, resumed = weights(places.run), weights(tmp_path)
    assert unbroken.keys() == resumed.keys()
    assert [name for name in unbroken if not torch.equal(unbroken[name], resumed[name])] == []


def test_a_second_ctrl_c_stops_at_once(places, tmp_path):
    with contextlib.redirect_stderr(Watched("[1/2 class encoder] 1/", signal.SIGINT, signal.SIGINT)):
        assert main(train(places, tmp_path)) == 130
    assert not (tmp_path / LAST).exists()


def test_a_finished_run_is_not_trained_again(places):
    before = (places.run / LAST).read_bytes()
    assert quietly(train(places, places.run))[0] == 0
    assert (places.run / LAST).read_bytes() == before


# -------------------------------------------------------------------------------------------------------------- refusals


def test_an_unknown_preset_names_the_nearest(places, tmp_path):
    assert "did you mean 'tiny'" in refusal(["train", "tinny", "--data", str(places.data), "--out", str(tmp_path)])


def test_an_override_without_a_value_is_refused(places, tmp_path):
    assert refusal(train(places, tmp_path, "--set", "seed")) == "--set seed: must be KEY=VALUE"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stage.0.epochs=inf", "stage.0.epochs: must be a finite number"),
        ("stage.0.batch=1000000000", "stage.0.batch: must be at most 16384"),
        ("stage.1.after=['whitten']", "stage 'codes': unknown action 'whitten' (did you mean 'whiten'?)"),
        (
            "stage.0.update.0.train.prior={ likelyhood = 1.0 }",
            "stage 'class encoder': unknown loss 'likelyhood' (did you mean 'likelihood'?)",
        ),
    ],
)
def test_a_configuration_is_refused_before_any_data_is_read(places, tmp_path, change, message):
    words = ["train", str(places.config), "--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "run"), "--set", change]
    assert refusal(words) == message


def test_an_unknown_key_names_the_nearest(places, tmp_path):
    assert "unknown key 'stage.0.epoch' (did you mean 'epochs'?)" in refusal(train(places, tmp_path, "--set", "stage.0.epoch=2"))


def test_a_row_of_the_table_that_does_not_exist_names_the_nearest(places, tmp_path):
    said = refusal(["reproduce", "tiny", "--data", str(places.data), "--out", str(tmp_path), "--rows", "cVEA"])
    assert said.startswith("there is no row 'cVEA' (did you mean 'cVAE'?)")
    assert list(tmp_path.iterdir()) == []


def test_missing_data_says_what_to_give(places, tmp_path):
    refusal(["train", str(places.config), "--data", str(tmp_path / "nothing"), "--out", str(tmp_path)])


def test_a_folder_with_a_run_of_another_configuration_is_refused_and_left_as_it_is(places):
    before = {path.name: path.read_bytes() for path in places.run.iterdir() if path.is_file()}
    assert "another configuration" in refusal(train(places, places.run, "--set", "seed=1"))
    assert {path.name: path.read_bytes() for path in places.run.iterdir() if path.is_file()} == before


def test_a_run_that_diverges_ends_with_5_and_names_the_key_to_change(places, tmp_path):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main(train(places, tmp_path, "--set", "stage.1.lr.decoder=1e12", "--set", "stage.1.lr.encoder_u=1e12")) == 5
    last = said.getvalue().splitlines()[-1]
    assert last.startswith("twofold-train: ")
    assert "is not finite in stage 'codes'" in last


@pytest.mark.parametrize("option", ["--threads=-1", "--keep-every=-1", "--threads=many", "--device=tpu"])
def test_an_option_with_a_value_that_cannot_be_is_a_usage_error(option, capsys):
    with pytest.raises(SystemExit) as left:
        main(["train", "tiny", "--data=pictures", "--out=run", option])
    assert left.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_option_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as left:
        main(["train", "tiny"])
    assert left.value.code == 2
    assert "--data" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- packages, errors

PROGRAM = """
import sys
blocked = sys.argv.pop(1)

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == blocked or name == blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from twofold.training.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without(package: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command where a package cannot be imported."""
    command = [sys.executable, "-c", PROGRAM, package, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


COMMANDS = {
    "init": ("init", "pictures"),
    "train": ("train", "tiny", "--data=pictures", "--out=run"),
    "eval-classifier": ("eval-classifier", "--data=pictures", "--out=classifier"),
    "export": ("export", "run", "--data=pictures", "--out=bundle"),
    "evaluate": ("evaluate", "bundle", "--data=pictures", "--eval-classifier=classifier"),
    "report": ("report", "run", "--data=pictures"),
    "figures": ("figures", "bundle", "--data=pictures", "--out=out"),
    "reproduce": ("reproduce", "--data=pictures", "--out=out"),
    "extras": ("extras", "bundle", "--data=pictures"),
    "toy": ("toy", "--out=out"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_torch_names_the_extra_to_install(name):
    done = without("torch", *COMMANDS[name])
    assert (done.returncode, done.stderr, done.stdout) == (2, "twofold-train: training needs torch: pip install 'twofold[train]'\n", "")


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("pydantic.dataclasses", ("train", "tiny", "--data=pictures", "--out=run")),
        ("tqdm", ("train", "tiny", "--data=pictures", "--out=run")),
        ("datasets", ("train", "tiny", "--data=tests/data/fashion-sample", "--out=run")),
        ("sklearn", ("evaluate", "bundle", "--data=pictures", "--eval-classifier=classifier")),
    ],
)
def test_a_command_without_another_package_names_the_extra_to_install(package, words):
    done = without(package, *words)
    named = package.partition(".")[0]
    assert (done.returncode, done.stderr) == (2, f"twofold-train: training needs {named}: pip install 'twofold[train]'\n")


@pytest.mark.parametrize("name", ["train", "evaluate", "push"])
def test_help_needs_neither_torch_nor_pydantic(name):
    for package in ("torch", "pydantic"):
        done = without(package, name, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: twofold-train {name} ")


def test_every_error_that_has_an_exit_code_exists_once():
    sources = [path.read_text(encoding="utf-8") for package in ("model", "training") for path in (ROOT / package).rglob("*.py")]
    for name in EXIT_CODES:
        assert sum(source.count(f"class {name}(") for source in sources) == 1, name


def test_an_error_of_this_program_is_not_hidden(monkeypatch):
    def fail(args):
        raise RuntimeError("a fault")

    monkeypatch.setattr(cli, "toy", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        main(["toy", "--out", "nowhere"])


# ---------------------------------------------------------------------------------------------------------------- export


def export(run, data, out):
    return ["export", str(run), "--data", str(data), "--out", str(out)]


def test_a_run_that_is_not_finished_is_not_exported(places, tmp_path):
    state = checkpoint.load(places.run / LAST)
    checkpoint.save(tmp_path / LAST, {**state, "stage": 1, "step": 3})
    assert "not finished" in refusal(export(tmp_path, places.data, tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
@pytest.mark.slow
def test_the_best_checkpoint_of_the_last_stage_is_exported_on_request(places, tmp_path):
    assert checkpoint.load(places.run / "best.pt")["stage"] == 1  # within the last of the two stages
    assert quietly([*export(places.run, places.data, tmp_path / "bundle"), "--checkpoint=best.pt"])[0] == 0
    assert (tmp_path / "bundle" / "eval_classifier.onnx").exists()


def test_a_checkpoint_of_an_earlier_stage_is_not_exported(places, tmp_path):
    checkpoint.save(tmp_path / "early.pt", {**checkpoint.load(places.run / LAST), "stage": 0, "step": 3})
    said = refusal([*export(tmp_path, places.data, tmp_path / "bundle"), "--checkpoint=early.pt"])
    assert said == "early.pt: the run is not finished: train on, then export"


def test_a_folder_without_a_run_is_not_exported(places, tmp_path):
    assert refusal(export(tmp_path, places.data, tmp_path / "bundle")) == "last.pt: no such checkpoint"


def test_a_run_is_exported_with_its_own_pictures_only(places, tmp_path):
    other = write_pictures(tmp_path / "other", train=200, test=40, seed=1)
    assert "trained on other pictures" in refusal(export(places.run, other, tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
@pytest.mark.slow
def test_a_model_that_fails_its_proof_ends_with_5_and_writes_nothing(places, tmp_path):
    run = shutil.copytree(places.run, tmp_path / "run")
    state = checkpoint.load(run / LAST)
    state["average"]["encoder_u.head.bias"][0] = torch.nan
    checkpoint.save(run / LAST, state)
    assert "differs from torch" in refusal(export(run, places.data, tmp_path / "bundle"), code=5)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("options", [[], ["--no-eval-classifier"]])
@pytest.mark.parametrize("command", ["export", "extras"])
def test_a_bundle_gets_an_evaluation_classifier_unless_it_is_left_out(monkeypatch, command, options):
    called = []
    monkeypatch.setattr("twofold.training.export.bundle.export_run", lambda *arguments: called.append("export"))
    monkeypatch.setattr("twofold.training.bundle_ops.refresh_extras.renew_extras", lambda *arguments: called.append("extras"))
    added = "twofold.training.bundle_ops.add_eval_classifier.add_eval_classifier"
    monkeypatch.setattr(added, lambda bundle, data, log: called.append((str(bundle), str(data))))
    place = ["run", "--out", "bundle"] if command == "export" else ["bundle"]
    assert quietly([command, *place, "--data", "pictures", *options]) == (0, "bundle\n")
    assert called == [command, *([] if options else [("bundle", "pictures")])]


# -------------------------------------------------------------------------------------------------------------- evaluate


@pytest.fixture(scope="module")
def measured(places, tmp_path_factory):
    """A toy bundle, an evaluation classifier, the arguments that measure it, and what a first evaluation wrote and printed."""
    root = tmp_path_factory.mktemp("measured")
    eval_classifier = EvalClassifierConfig(widths=(4, 4, 4), epochs=1, batch=20)
    train_eval_classifier(places.data, root / "eval_classifier", eval_classifier, log=lambda line: None)
    bundle = make_bundle(root / "toy")
    arguments = ["evaluate", str(bundle), "--data", str(places.data), "--eval-classifier", str(root / "eval_classifier"), "--quick"]
    code, printed = quietly(arguments)
    assert code == 0
    return SimpleNamespace(arguments=arguments, out=root / "toy.test.json", printed=printed, root=root)


def test_an_evaluation_prints_a_table_and_is_written_beside_the_bundle(measured):
    assert measured.printed.startswith("| measure | real | toy (quick) |")
    stored = json.loads(measured.out.read_text())
    assert stored["quick"] is True
    assert "\n| class mean | " in measured.printed
    assert measured.printed.splitlines()[-1] == f"Verdict on a sample: {stored['verdict']['text']}"


def test_two_models_of_one_name_have_a_column_each(measured, tmp_path):
    other = json.loads(measured.out.read_text())
    other["bundle"]["model_hash"] = "abcdef01" + "0" * 56
    (tmp_path / "other.json").write_text(json.dumps(other))
    code, printed = quietly([*measured.arguments, "--out", str(tmp_path / "e.json"), "--beside", str(tmp_path / "other.json")])
    assert code == 0
    assert printed.startswith("| measure | real | toy (quick) | toy@abcdef01 (quick) |")


def test_a_quick_evaluation_cannot_be_recorded_and_does_not_start(measured, tmp_path):
    line = refusal([*measured.arguments, "--record", "--out", str(tmp_path / "e.json")])
    assert "--quick makes none" in line
    assert not (tmp_path / "e.json").exists()


@pytest.mark.parametrize("content", [None, "not JSON", "[]", '{"bundle": {"name": "x"}}'])
def test_what_evaluate_did_not_write_cannot_stand_beside_it(measured, tmp_path, content):
    if content is not None:
        (tmp_path / "other.json").write_text(content)
    line = refusal([*measured.arguments, "--beside", str(tmp_path / "other.json")])
    assert line == "other.json is not what evaluate writes"


def test_an_evaluation_on_other_data_cannot_stand_beside_it(measured, tmp_path):
    other = json.loads(measured.out.read_text())
    (tmp_path / "other.json").write_text(json.dumps({**other, "split": "validation"}))
    with contextlib.redirect_stderr(io.StringIO()) as err:
        assert main([*measured.arguments, "--out", str(tmp_path / "e.json"), "--beside", str(tmp_path / "other.json")]) == 2
    assert "comparable only on the same data, split and evaluation classifier" in err.getvalue().splitlines()[-1]


# ------------------------------------------------------------------------------------------------------------ splits by group


@pytest.fixture
def people(tmp_path):
    """24 people who each show two classes, one after the other, counted by a camera."""
    for number in range(48):
        place = tmp_path / "people" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        own = np.random.default_rng(number // 2).integers(0, 256, (8, 8), dtype=np.uint8)
        shown = np.random.default_rng(1000 + number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.blend(Image.fromarray(own), Image.fromarray(shown), 0.3).save(place / f"IMG_{number}.png")
    return tmp_path / "people"


def test_every_command_splits_by_the_group_of_the_configuration(places, people, tmp_path):
    small = tmp_path / "grouped.toml"
    small.write_text(SMALL.replace("validation_rows = 20", 'validation_rows = 20\ngroup = "auto"'))
    grouped = SimpleNamespace(config=small, data=people)
    assert quietly(train(grouped, tmp_path / "run"))[0] == 0
    facts = json.loads((tmp_path / "run" / DATA).read_text())["group"]
    assert facts == {"option": "auto", "rule": "runs of numbers across the classes", "groups": 24, "largest": 2}
    assert quietly(["export", str(tmp_path / "run"), "--data", str(people), "--out", str(tmp_path / "bundle")])[0] == 0
    assert json.loads((tmp_path / "bundle" / "card.json").read_text())["data"]["group"] == facts


def test_the_option_group_overrides_the_configuration(places, people, tmp_path):
    other = SimpleNamespace(config=places.config, data=people)
    assert (
        quietly(train(other, tmp_path / "run", "--group", r"IMG_(\d+)", "--set", "stage.0.epochs=1", "--set", "stage.1.epochs=1"))[0] == 0
    )
    assert json.loads((tmp_path / "run" / CONFIG).read_text())["data"]["group"] == r"IMG_(\d+)"
    assert json.loads((tmp_path / "run" / DATA).read_text())["group"]["groups"] == 48


def test_a_pattern_without_a_group_is_refused(places, people, tmp_path):
    other = SimpleNamespace(config=places.config, data=people)
    assert "must have one group in parentheses" in refusal(train(other, tmp_path / "run", "--group", "IMG_"))
