"""twofold synthesize, augment, counterfactual: what they make, what they say, and what they refuse."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.sets import ROOT, command, contents, environ
from twofold.service.cli import main
from twofold.service.client import Local
from twofold.service.runtime import latents


@pytest.fixture
def run(toy_bundle, capsys):
    """Run a command in this process on the toy bundle -> (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main.main([*map(str, arguments), "--bundle", str(toy_bundle)])
        except SystemExit as stopped:
            code = stopped.code
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def pictures(run, tmp_path) -> Path:
    """Three pictures of every class, as a folder."""
    assert run("synthesize", "--per-class", 3, "--seed", 5, "--out", tmp_path / "real")[0] == 0
    (tmp_path / "real" / "twofold.json").unlink()
    return tmp_path / "real"


def recipe_of(data: bytes) -> dict:
    return json.loads(Image.open(io.BytesIO(data)).info["twofold"])


# ---------------------------------------------------------------------------------------------------------------- making


async def test_every_synthesized_picture_has_the_bytes_of_the_http_route(run, client, tmp_path):
    options = {"seed": 7, "temperature": 0.75, "class-temperature": 0.5, "sampler": "paper"}
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    assert run("synthesize", "--per-class", 3, "--out", tmp_path / "set", *given)[0] == 0
    for label, name in enumerate(("Alpha", "Beta", "Gamma", "Gamut")):
        for index in range(3):
            query = {"class": label, "index": index, **{key.replace("-", "_"): value for key, value in options.items()}}
            answer = await client.get("/generate", params=query)
            assert (tmp_path / "set" / name / f"{index:05d}.png").read_bytes() == answer.content


@pytest.mark.parametrize(
    ("asked", "fields", "file"),
    [
        (
            ["augment", "--per-picture", 2, "--spread", 0.25, "--seed", 9],
            {"style_spread": 0.25, "seed": 9, "index": 11},
            "Beta/00005-00002-001.png",
        ),
        (["counterfactual", "--to", "Gamut", "--strength", 0.5], {"class": 3, "strength": 0.5}, "Gamut/00005-Beta-00002.png"),
    ],
)
async def test_every_edited_picture_has_the_bytes_of_the_http_route(run, client, pictures, tmp_path, asked, fields, file):
    assert run(*asked, pictures, "--out", tmp_path / "set")[0] == 0
    image = base64.b64encode((pictures / "Beta" / "00002.png").read_bytes()).decode()
    answer = await client.post("/edit", json={"image": image, **fields})
    assert (tmp_path / "set" / file).read_bytes() == answer.content


def test_a_table_holds_the_same_bytes_under_the_same_names_as_a_folder(run, tmp_path):
    for out in ("set", "set.parquet"):
        assert run("synthesize", "--per-class", 80, "--out", tmp_path / out)[0] == 0
    table = pq.ParquetFile(tmp_path / "set.parquet")
    assert table.metadata.num_row_groups == 2
    rows = table.read().to_pylist()
    assert len(rows) == 320
    names = ("Alpha", "Beta", "Gamma", "Gamut")
    for row in rows:
        assert (tmp_path / "set" / row["image"]["path"]).read_bytes() == row["image"]["bytes"]
        assert row["image"]["path"].startswith(names[row["label"]] + "/")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "set.parquet"]


def test_augmented_pictures_keep_the_class_code_and_turn_the_style(run, toy_bundle, pictures, tmp_path):
    assert run("augment", pictures, "--per-picture", 2, "--spread", 0.5, "--seed", 3, "--out", tmp_path / "more")[0] == 0
    local = Local(toy_bundle).arrays
    source = local.encode([pictures / "Beta" / "00001.png"])
    expected = latents.other_style(local.prior, source.z_u_mean[0], 0.5, 3, 9)  # the fifth source's second picture
    data = (tmp_path / "more" / "Beta" / "00004-00001-001.png").read_bytes()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), local.decode(source.z_s, expected[None])[0, :, :, 0])
    reported = recipe_of(data)
    assert {key: reported[key] for key in ("do", "seed", "index", "style_spread", "n")} == {
        "do": "edit",
        "seed": 3,
        "index": 9,
        "style_spread": 0.5,
        "n": 1,
    }
    assert reported["code"] == latents.pack_token(source.z_s[0], source.z_u_mean[0], local.card)
    assert len(contents(tmp_path / "more")) == 25


def test_a_counterfactual_keeps_the_style_code_and_has_the_class_mean(run, toy_bundle, pictures, tmp_path):
    assert run("counterfactual", pictures, "--to", "alpha", "--out", tmp_path / "as-alpha")[0] == 0
    local = Local(toy_bundle).arrays
    source = local.encode([pictures / "Gamut" / "00002.png"])
    data = (tmp_path / "as-alpha" / "Alpha" / "00011-Gamut-00002.png").read_bytes()
    expected = local.decode(local.prior.fit_means[:1], source.z_u_mean)[0, :, :, 0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), expected)
    assert recipe_of(data)["class"] == 0


def test_a_spread_of_0_and_a_strength_of_0_give_reconstructions(run, pictures, tmp_path):
    assert run("augment", pictures, "--spread", 0, "--out", tmp_path / "a")[0] == 0
    assert run("counterfactual", pictures, "--to", 1, "--strength", 0, "--out", tmp_path / "b")[0] == 0
    same = (Path("a/Alpha/00000-00000-000.png"), Path("b/Beta/00000-Alpha-00000.png"))
    first, second = (np.asarray(Image.open(tmp_path / path)) for path in same)
    np.testing.assert_array_equal(first, second)


def test_another_seed_is_another_set(run, tmp_path):
    for seed in (0, 1):
        run("synthesize", "--per-class", 2, "--seed", seed, "--out", tmp_path / str(seed))
    first, second = contents(tmp_path / "0"), contents(tmp_path / "1")
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


# --------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("out", ["set", "train-00000-of-00001.parquet"])
def test_what_was_made_is_read_back_by_datasets_and_by_the_training(run, tmp_path, out):
    import datasets

    from twofold.training.data.dataset import load

    assert run("synthesize", "--per-class", 20, "--out", tmp_path / "made" / out)[0] == 0
    data = tmp_path / "made" / out if out == "set" else tmp_path / "made"
    datasets.disable_progress_bars()
    if out == "set":
        rows = datasets.load_dataset("imagefolder", data_dir=str(data), split="train", cache_dir=str(tmp_path / "cache"))
    else:
        rows = datasets.load_dataset(str(data), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["label"].names == ["Alpha", "Beta", "Gamma", "Gamut"]
    assert len(rows) == 80
    pictures = load(data)
    assert pictures.class_names == ("Alpha", "Beta", "Gamma", "Gamut")
    assert pictures.pixels.shape[1:] == (8, 8, 1)
    if out != "set":  # of a folder a tenth is kept back as the test split
        for row in (0, 79):
            np.testing.assert_array_equal(pictures.pixels[row, :, :, 0], np.asarray(rows[row]["image"]))
            assert pictures.labels[row] == rows[row]["label"]


def test_folders_may_have_any_name_of_a_class_and_other_files_are_reported(run, pictures, tmp_path):
    (pictures / "Alpha").rename(pictures / "0")
    (pictures / "Gamut" / "notes.txt").write_text("no picture")
    (pictures / "Gamut" / ".hidden.png").write_text("not even looked at")
    (pictures / "Gamut" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, err = run("augment", pictures, "--out", tmp_path / "more", "--json")
    assert code == 0
    reported = json.loads(out)
    assert reported["skipped"].keys() == {"Gamut/notes.txt", "Gamut/bad.png"}
    assert reported["classes"] == {"Alpha": 3, "Beta": 3, "Gamma": 3, "Gamut": 3}
    assert "passed over Gamut/notes.txt: not named .png, .jpg or .webp" in err
    assert (tmp_path / "more" / "0" / "00000-00000-000.png").exists()
    assert run("augment", pictures, "--out", tmp_path / "more.parquet")[0] == 0
    assert pq.read_metadata(tmp_path / "more.parquet").num_rows == 12


@pytest.mark.parametrize("left_behind", ["__MACOSX", "@eaDir"])
def test_what_systems_leave_behind_is_passed_over(run, pictures, tmp_path, left_behind):
    (pictures / left_behind).mkdir()
    (pictures / left_behind / "a.png").write_text("left behind")
    (pictures / "Gamut" / "Thumbs.db").write_text("left behind")
    code, out, _ = run("augment", pictures, "--out", tmp_path / "more", "--json")
    assert code == 0
    assert json.loads(out)["skipped"] == {}


# ------------------------------------------------------------------------------------------------------------ going on


@pytest.mark.parametrize("out", ["set", "set.parquet"])
def test_the_same_command_again_makes_nothing_and_changes_nothing(run, tmp_path, out):
    asked = ("synthesize", "--per-class", 3, "--out", tmp_path / out, "--json")
    assert json.loads(run(*asked)[1])["made"] == 12
    before = contents(tmp_path / out)
    code, message, _ = run(*asked)
    assert code == 0
    assert (json.loads(message)["made"], json.loads(message)["found"]) == (0, 12)
    assert contents(tmp_path / out) == before


def test_a_picture_that_is_missing_empty_or_cut_is_made_again(run, tmp_path):
    asked = ("synthesize", "--per-class", 3, "--out", tmp_path / "set", "--json")
    run(*asked)
    before = contents(tmp_path / "set")
    files = sorted((tmp_path / "set").rglob("*.png"))
    files[0].unlink()
    files[3].write_bytes(b"")
    files[7].write_bytes(files[7].read_bytes()[:-5])
    assert json.loads(run(*asked)[1])["made"] == 3
    assert contents(tmp_path / "set") == before


def test_a_spooled_piece_that_is_cut_is_made_again(run, tmp_path):
    asked = ("synthesize", "--per-class", 3, "--out", tmp_path / "set.parquet")
    run(*asked)
    whole = (tmp_path / "set.parquet").read_bytes()
    spool = tmp_path / ".set.parquet.spool"
    spool.mkdir()
    (spool / "twofold.json").write_bytes(pq.ParquetFile(tmp_path / "set.parquet").schema_arrow.metadata[b"twofold"])
    (spool / "000000.parquet").write_bytes(whole[:-9])
    (tmp_path / "set.parquet").unlink()
    assert run(*asked)[0] == 0
    assert (tmp_path / "set.parquet").read_bytes() == whole
    assert not spool.exists()


# -------------------------------------------------------------------------------------------------------------- progress


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_progress_is_shown_on_a_terminal_and_nowhere_else(run, toy_bundle, tmp_path):
    import os
    import pty

    assert "\r" not in run("synthesize", "--per-class", 100, "--out", tmp_path / "quiet")[2]
    master, terminal = pty.openpty()
    asked = command("synthesize", "--per-class", 100, "--bundle", toy_bundle, "--out", tmp_path / "set")
    done = subprocess.run(asked, cwd=ROOT, env=environ(), stdout=subprocess.PIPE, stderr=terminal, timeout=60, check=False)
    os.close(terminal)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert (done.returncode, done.stdout) == (0, b"")
    assert f"\r[{'#' * 30}] 400/400 " in shown
    assert shown.splitlines()[-1].startswith("400 pictures in ")


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthesize", "--per-class", "0"], "must be a whole number from 1 to 100000"),
        (["synthesize", "--per-class", "100001"], "must be a whole number from 1 to 100000"),
        (["synthesize", "--per-class", "7.0"], "must be a whole number"),
        (["synthesize", "--per-class", "1", "--seed", str(2**63)], "must be a whole number from 0 to 9223372036854775807"),
        (["synthesize", "--per-class", "1", "--temperature", "nan"], "must be a number from 0 to 4"),
        (["synthesize", "--per-class", "1", "--sampler", "best"], "invalid choice"),
        (["synthesize"], "--per-class"),
        (["augment", "nowhere"], "nowhere: no such folder"),
        (["augment", "nowhere", "--spread", "1.5"], "must be a number from 0 to 1"),
        (["augment", "nowhere", "--per-picture", "1001"], "must be a whole number from 1 to 1000"),
        (["counterfactual", "nowhere"], "--to"),
        (["counterfactual", "nowhere", "--to", "Gam"], "several classes begin like this; write more of the name (Gamma, Gamut)"),
    ],
)
def test_what_cannot_be_done_is_reported_in_one_line(run, tmp_path, arguments, message):
    code, out, err = run(*arguments, "--out", tmp_path / "set")
    assert code == 2
    assert message in err.splitlines()[-1]
    assert out == ""
    assert not (tmp_path / "set").exists()


def test_a_folder_or_file_that_holds_something_else_is_refused_and_left_alone(run, tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("years of work")
    (tmp_path / "foreign.parquet").write_text("years of work")
    for name in ("foreign", "foreign.parquet"):
        before = contents(tmp_path)
        code, _, err = run("synthesize", "--per-class", 1, "--out", tmp_path / name)
        assert code == 2
        assert "holds no set; choose another --out" in err
        assert contents(tmp_path) == before


@pytest.mark.parametrize("out", ["set", "set.parquet"])
def test_another_set_in_the_same_place_is_refused_and_the_difference_named(run, tmp_path, out):
    run("synthesize", "--per-class", 1, "--out", tmp_path / out)
    before = contents(tmp_path)
    code, _, err = run("synthesize", "--per-class", 1, "--seed", 2, "--out", tmp_path / out)
    assert code == 2
    assert "holds another set (it differs in seed)" in err
    assert contents(tmp_path) == before


def test_a_set_may_not_be_written_into_the_folder_that_is_read(run, pictures):
    for out in (pictures, pictures / "more", pictures.parent):
        code, _, err = run("augment", pictures, "--out", out)
        assert code == 2
        assert "outside of the folder" in err


def test_a_folder_that_is_no_class_and_a_folder_without_pictures_are_refused(run, pictures, tmp_path):
    (pictures / "Omega").mkdir()
    assert (
        "the folder Omega is no class of this model; rename it; the closest names are given ("
        in run("augment", pictures, "--out", tmp_path / "a")[2]
    )
    (tmp_path / "empty" / "Alpha").mkdir(parents=True)
    assert "needs one sub-folder of pictures" in run("augment", tmp_path / "empty", "--out", tmp_path / "a")[2]


def test_two_runs_never_write_into_the_same_folder(run, tmp_path):
    import fcntl
    import os

    (tmp_path / "set").mkdir()
    handle = os.open(tmp_path / "set", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert "another run is writing" in run("synthesize", "--per-class", 1, "--out", tmp_path / "set")[2]
    os.close(handle)
    assert run("synthesize", "--per-class", 1, "--out", tmp_path / "set")[0] == 0


def test_a_damaged_bundle_is_refused(run, toy_bundle, tmp_path, capsys):
    folder = shutil.copytree(toy_bundle, tmp_path / "toy")
    (folder / "decoder.onnx").write_bytes(b"")
    assert main.main(["synthesize", "--per-class", "1", "--out", str(tmp_path / "set"), "--bundle", str(folder)]) == 2
    assert "bundle toy: decoder.onnx: " in capsys.readouterr().err


def test_without_pyarrow_a_folder_can_be_made_and_a_table_says_what_to_install(toy_bundle, tmp_path):
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from twofold.service.cli.main import main\n"
        f"sys.exit(main(['synthesize', '--per-class', '1', '--bundle', {str(toy_bundle)!r}, '--out', sys.argv[1]]))"
    )
    for out, code, message in (("set", 0, "4 pictures in"), ("set.parquet", 2, "pip install 'twofold[parquet]'")):
        script = [sys.executable, "-c", program, str(tmp_path / out)]
        done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code
        assert message in done.stderr
