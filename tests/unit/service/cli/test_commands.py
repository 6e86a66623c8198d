"""The commands: the pictures of the service in files and pipes, talk on stderr, and a code for every way to end."""

from __future__ import annotations

import inspect
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.serving import serving
from twofold.service.cli import main
from twofold.service.cli.doctor import available_mb
from twofold.service.client import Local, Picture, calls

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def local(toy_bundle):
    with Local(toy_bundle) as client:
        yield client


@pytest.fixture
def twofold(toy_bundle, tmp_path, monkeypatch):
    """Run a command in this process, in a folder of its own, on the toy bundle."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> int:
        bundle = () if "--server" in arguments else ("--bundle", str(toy_bundle))
        return main.main([str(one) for one in (*arguments, *bundle)])

    return run


def piped(*arguments: str, stdin: bytes = b"", **options) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "twofold", *arguments]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, timeout=120, check=False, **options)


# -------------------------------------------------------------------------------------------------------------- pictures


def test_a_generated_sheet_is_the_clients_own_and_messages_go_to_stderr(twofold, local, capsys):
    assert twofold("generate", "alpha", "-n", 5, "--seed", 3, "--out", "sheet.png") == 0
    assert Path("sheet.png").read_bytes() == local.generate(0, n=5, seed=3).sheet().data
    message = capsys.readouterr()
    assert message.out == ""
    assert message.err == f"sheet.png: 5 pictures of {local.models()[0].id}, seed 3\n"


def test_a_folder_gets_a_file_for_each_picture(twofold, local):
    assert twofold("generate", "1", "-n", 3, "--seed", 3, "--out", "some/") == 0
    expected = local.generate(1, n=3, seed=3)
    assert [path.read_bytes() for path in sorted(Path("some").iterdir())] == [picture.data for picture in expected]
    assert sorted(path.name for path in Path("some").iterdir()) == ["0000.png", "0001.png", "0002.png"]


def test_without_out_the_file_has_the_commands_name_and_a_suffix_is_a_format(twofold):
    assert twofold("generate", "0", "--seed", 1) == 0
    assert twofold("generate", "0", "--seed", 1, "--out", "a.webp") == 0
    assert twofold("generate", "0", "--seed", 1, "--format", "webp") == 0
    assert Picture.of(Path("generate.png").read_bytes()).suffix == ".png"
    assert Path("a.webp").read_bytes() == Path("generate.webp").read_bytes()
    assert Picture.of(Path("a.webp").read_bytes()).recipe["seed"] == 1


def test_a_dash_is_stdout_and_stdin(toy_bundle, local):
    made = piped("generate", "beta", "--seed", "2", "--out", "-", "--bundle", str(toy_bundle))
    assert made.stdout == local.generate(1, seed=2)[0].data
    read = piped("encode", "-", "--bundle", str(toy_bundle), stdin=made.stdout)
    code = local.encode(made.stdout)[0].code
    assert read.stdout.decode().split("\t")[1] == "Beta"
    assert read.stdout.decode().rstrip("\n").endswith(code)
    generated = piped("decode", "-", "--out", "-", "--bundle", str(toy_bundle), stdin=f'{code}\n{{"class": 1, "seed": 2}}\n'.encode())
    assert generated.stdout == local.decode([code, {"class": 1, "seed": 2}]).sheet().data


def test_a_swap_of_files_and_codes_is_the_matrix(twofold, local):
    a, b = local.generate(0, n=2, seed=1), local.generate(1, seed=2)
    for k, picture in enumerate(a):
        picture.save(f"{k}.png")
    Path("code.txt").write_text(b[0].code + "\n")
    assert twofold("swap", "--class-from", "0.png", "1.png", "--style-from", "code.txt", "--style-from", b[0].code) == 0
    assert Path("swap.png").read_bytes() == local.swap(list(a), [b[0].code] * 2).sheet().data


def test_a_way_an_edit_and_a_filled_hole_are_the_clients_own(twofold, local):
    a, b = local.generate(0, n=2, seed=1)
    a.save("a.png")
    b.save("b.png")
    assert twofold("interpolate", "a.png", b.code, "class=beta", '{"class": 1, "seed": 3}', "--frames", 5, "--seed", 2) == 0
    expected = local.interpolate([a, b.code, {"class": "beta"}, {"class": 1, "seed": 3}], 5, seed=2)
    assert Path("interpolate.png").read_bytes() == expected.sheet().data
    for name in ("way.gif", "way.webp"):
        assert twofold("interpolate", "a.png", "b.png", "--frames", 4, "--fps", 9, "--animate", "--out", name) == 0
        assert Path(name).read_bytes() == local.animate([a, b], 4, fps=9, format=name.partition(".")[2]).data
    assert twofold("edit", "a.png", "--class", "beta", "--strength", 0.5, "-n", 2, "--style-spread", 0.3, "--seed", 4) == 0
    assert Path("edit.png").read_bytes() == local.edit(a, "beta", strength=0.5, n=2, style_spread=0.3, seed=4).sheet().data
    assert twofold("inpaint", "a.png", "--box", "1,2,3,3", "--steps", 2) == 0
    assert Path("inpaint.png").read_bytes() == local.inpaint(a, box=(1, 2, 3, 3), steps=2)[0].data


def test_an_inspection_prints_the_recipe_and_fails_where_it_does_not_hold(twofold, local, capsys):
    (picture,) = local.generate(0, seed=1)
    picture.save("good.png")
    assert twofold("inspect", "good.png", "--verify") == 0
    assert json.loads(capsys.readouterr().out) == picture.recipe
    Image.new("L", (8, 8)).save("plain.png")
    assert twofold("inspect", "plain.png") == 0
    assert twofold("inspect", "plain.png", "--verify", "--json") == 5
    assert '"verified": null' in capsys.readouterr().out


def test_json_is_what_the_interface_answers_and_out_writes_beside_it(twofold, capsys):
    assert twofold("generate", "0", "-n", 70, "--seed", 1, "--json", "--out", "sheet.png") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [image["index"] for image in answer["images"]] == list(range(70))
    assert answer["model"].startswith("toy@")
    assert Path("sheet.png").exists()
    assert (
        twofold("swap", "--class-from", answer["images"][0]["code"], "--style-from", answer["images"][1]["code"], "--verdict", "--json")
        == 0
    )
    swapped = json.loads(capsys.readouterr().out)
    assert (swapped["rows"], swapped["cols"], swapped["images"][0]["verdict"]["kept"]) == (1, 1, True)
    assert not Path("swap.png").exists()


def test_models_and_classes_are_lines_for_cut_and_grep(twofold, capsys):
    assert twofold("models") == 0
    assert capsys.readouterr().out.rstrip("\n").split("\t")[1:] == ["4 classes", "8x8x1", "fp32", "CPUExecutionProvider"]
    assert twofold("models", "toy") == 0
    assert capsys.readouterr().out.splitlines()[2] == "2\tGamma\t0.2500"
    assert twofold("models", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["default"]


def test_a_server_gives_the_same_bytes_as_the_model_in_process(twofold, toy_bundle):
    with serving(toy_bundle) as running:
        assert twofold("generate", "gamut", "-n", 2, "--seed", 5, "--server", running.url, "--out", "far.png") == 0
    assert twofold("generate", "gamut", "-n", 2, "--seed", 5, "--out", "near.png") == 0
    assert Path("far.png").read_bytes() == Path("near.png").read_bytes()


# ------------------------------------------------------------------------------------------------------------------ ends


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["generate", "sneaker"], 2, "there is no class of this name; the closest are given"),
        (["generate", "0", "-n", "0"], 2, "n is not acceptable; it must be an integer from 1 to 64 (how many pictures)."),
        (["generate", "0", "--out", "picture.gif"], 2, "--out must end with .png or .webp, or with / for a folder."),
        (["generate", "0", "--out", "-", "--json"], 2, "stdout holds pictures or JSON, not both: leave out --json or --out -."),
        (["generate", "0", "--model", "other"], 4, "there is no model of this name (toy)"),
        (["encode", "nowhere.png"], 4, "No such file or directory"),
        (["encode", "."], 2, "Is a directory"),
        (["interpolate", "c1.x", "c1.y", "--animate", "--out", "way.png"], 2, "the code token is damaged"),
        (["decode", "{"], 2, "What begins with { must be a JSON object."),
        (["decode", "c1.abc"], 2, "the code token is damaged; copy it whole"),
        (["replay", "plain.png"], 2, "The picture carries no recipe."),
        (["replay", "text.txt"], 2, "This is no PNG, WebP or GIF"),
        (["models", "--server", "http://127.0.0.1:9"], 3, "127.0.0.1:9 cannot be reached"),
    ],
)
def test_every_way_to_end_has_its_code_and_one_line(twofold, capsys, arguments, code, message):
    Image.new("L", (8, 8)).save("plain.png")
    Path("text.txt").write_text("no picture")
    assert twofold(*arguments) == code
    shown = capsys.readouterr()
    assert shown.err.startswith("twofold: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["models", "--server", "ftp://x"],
        ["models", "--server", "http://x", "--bundle", "b"],
        ["swap"],
        ["inpaint", "a.png"],
        ["inpaint", "a.png", "--box", "1,2,3"],
        ["edit", "a.png", "--directions", "0"],
    ],
)
def test_usage_is_refused_before_anything_is_loaded(twofold, arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_has_had_enough_is_no_fault(toy_bundle):
    command = f"{sys.executable} -m twofold.service.cli.main models toy --bundle {toy_bundle}; echo $? >&2"
    done = subprocess.run(["/bin/sh", "-c", f"({command}) | true"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == "0\n"


def test_ctrl_c_ends_with_130_and_no_traceback():
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the connection and never answers
        command = [sys.executable, "-m", "twofold", "models", "--server", f"http://127.0.0.1:{mute.getsockname()[1]}"]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
            connection, _ = mute.accept()
            process.send_signal(signal.SIGINT)
            _, message = process.communicate(timeout=60)
            connection.close()
    assert (process.returncode, message) == (130, b"")


# ---------------------------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("form", ["png", "webp"])
def test_every_kind_of_picture_is_made_again_from_its_recipe(twofold, local, form, capsys):
    (a, b) = local.generate(2, n=2, seed=7, temperature=0.5, sampler="paper", format=form)
    kinds = {
        "generated": a,
        "decoded": local.decode(b.code, format=form)[0],
        "swapped": local.swap(a, b, format=form)[0, 0],
        "sheet": local.generate(1, n=5, seed=1, format=form).sheet(),
        "matrix": local.swap([a, b], [a, b], format=form).sheet(),
        "drawn": local.decode({"class": 1, "seed": 2, "index": 3}, format=form)[0],
        "edited": local.edit(a, 1, strength=0.5, style_spread=0.5, seed=3, format=form)[0],
        "frame": local.interpolate([a, b, {"class": 1}], 12, path="slerp", seed=4, format=form)[7],
        "row": local.interpolate([a, b, {"class": 1}], 4, vary="style", seed=4, format=form).sheet(),
    }
    for name, picture in kinds.items():
        picture.save(f"{name}.{form}")
        assert twofold("replay", f"{name}.{form}", "--check") == 0, name
        assert capsys.readouterr().out == "same\n"
        assert twofold("replay", f"{name}.{form}", "--out", f"again.{form}") == 0
        assert Path(f"again.{form}").read_bytes() == picture.data, name


def test_a_picture_that_was_changed_fails_the_check(twofold, local, capsys):
    (picture,) = local.generate(2, seed=7)
    changed = Image.open(io.BytesIO(picture.data))
    info, pixels = changed.text, np.asarray(changed).copy()
    pixels[0, 0] ^= 3
    kept = PngInfo()
    kept.add_itxt("twofold", info["twofold"])
    Image.fromarray(pixels).save("changed.png", pnginfo=kept)
    assert twofold("replay", "changed.png", "--check", "--json") == 5
    message = json.loads(capsys.readouterr().out)
    assert (message["same"], message["notes"]) == (False, [])
    assert 1 <= message["max_difference"] <= 3


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"do": "generate"}, "was changed"),
        ({"do": "generate", "model": "toy", "class": 1, "url": "http://x"}, "was changed"),
        ({"do": "dream", "model": "toy"}, "cannot be made again"),
        ({"pictures": [], "rows": 1, "cols": 1}, "was changed"),
        ({"pictures": [3], "rows": 1, "cols": 1}, "was changed"),
        ({"do": "generate", "model": "toy", "class": {}}, "class is not acceptable"),
        ({"do": "interpolate", "model": "toy", "from": "c1.A", "to": "c1.A", "path": "linear", "t": 2}, "was changed"),
        ({"do": "interpolate", "model": "toy", "from": "c1.A", "to": "c1.A", "path": "linear", "t": 0.5}, "damaged"),
        ({"fps": 12, "pictures": []}, "An animation is not made again"),
    ],
)
def test_a_recipe_is_believed_in_nothing(twofold, capsys, recipe, message):
    info = PngInfo()
    info.add_itxt("twofold", json.dumps(recipe))
    Image.new("L", (8, 8)).save("forged.png", pnginfo=info)
    assert twofold("replay", "forged.png") == 2
    assert message in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------- doctor


def test_the_doctor_finds_a_good_machine_healthy(twofold, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert twofold("doctor", "--port", port, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"]
    assert [check["name"] for check in found["checks"]] == [
        "python",
        "libraries",
        "onnxruntime",
        "memory",
        "settings",
        "port",
        "bundle toy",
    ]
    assert "golden" in found["checks"][-1]["said"]


def test_the_doctor_names_what_is_ill_and_still_checks_the_rest(toy_bundle, tmp_path, capsys, monkeypatch):
    bad = shutil.copytree(toy_bundle, tmp_path / "bad")
    (bad / "decoder.onnx").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = main.main(["doctor", "--port", str(taken.getsockname()[1]), "--bundle", str(bad), "--bundle", str(toy_bundle)])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert code == 5
    assert [name for state, name, _ in lines if state == "FAIL"] == ["port", "bundle bad"]
    assert ["decoder.onnx" in message for _, name, message in lines if name == "bundle bad"] == [True]
    monkeypatch.setenv("TWOFOLD_PRT", "1")
    assert main.main(["doctor"]) == 5
    assert "FAIL\tsettings\tTWOFOLD_PRT is not a setting" in capsys.readouterr().out


def test_free_memory_is_what_the_system_has_and_the_container_leaves(tmp_path):
    assert available_mb(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048000 kB\n")
    assert available_mb(tmp_path) == 2000
    cgroup = tmp_path / "sys/fs/cgroup"
    cgroup.mkdir(parents=True)
    (cgroup / "memory.max").write_text(f"{300 * 2**20}\n")
    (cgroup / "memory.current").write_text(f"{100 * 2**20}\n")
    assert available_mb(tmp_path) == 200
    (cgroup / "memory.max").write_text("max\n")
    assert available_mb(tmp_path) == 2000


# ------------------------------------------------------------------------------------------------------------- interface


def options_of(name: str) -> dict[str, object]:
    """Name -> default of every argument of a command."""
    (commands,) = (action for action in main.parser()._actions if isinstance(action.choices, dict))
    return {action.dest: action.default for action in commands.choices[name]._actions}


@pytest.mark.parametrize("name", ["generate", "encode", "decode", "swap", "interpolate", "edit", "inpaint", "inspect"])
def test_a_command_has_the_names_and_defaults_of_its_call(name):
    options = options_of(name)
    for parameter in inspect.signature(getattr(calls, name)).parameters.values():
        assert parameter.name in options
        if parameter.name != "format" and parameter.default is not inspect.Parameter.empty:  # --out's suffix may choose the format
            assert options[parameter.name] == parameter.default, parameter.name
