"""The command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tensorview.app
from tensorview import SceneFile, load_scene, open_model, screenshot
from tensorview.arguments import HYPERPARAMETERS
from tensorview.cli import main

HEAVY = ("torch", "vtkmodules", "trame", "trame_server", "torchvision", "aiohttp", "matplotlib")
SMALL = ["--size", "320x180"]
NET = """
from torch import nn
Net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4))
input_shape = (1, 8, 8)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a picture of a digit and a model."""
    monkeypatch.chdir(tmp_path)
    digit = open_model("lenet5").samples[4].image
    Image.fromarray(255 - digit).resize((200, 200)).save("digit.png")
    Path("net.py").write_text(NET, encoding="utf-8")
    return tmp_path


@pytest.fixture
def explored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple, dict]]:
    """What `explore` is called with, instead of serving."""
    calls: list[tuple[tuple, dict]] = []
    monkeypatch.setattr(tensorview.app, "explore", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# Before anything is loaded -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["render", "--help"], 0),
        (["--version"], 0),
        (["render", "lenet5"], 2),
        (["render", "lenet5", "-o", "a.png", "--size", "huge"], 2),
        (["render", "lenet5", "-o", "a.jpg"], 2),
        (["render", "lenet5", "-o", "a.png", "--size", "9000x9000"], 2),
        (["render", "none.toml", "-o", "a.png"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_and_mistakes_in_arguments_load_nothing_heavy(arguments: list[str], status: int, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tensorview.cli import main\n"
        "try:\n    status = main(sys.argv[1:])\nexcept SystemExit as end:\n    status = end.code or 0\n"
        f"print('loaded', [m for m in {HEAVY} if m in sys.modules])\nsys.exit(status)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (status == 2)


def test_python_m_tensorview_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tensorview", "--version"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, tensorview.__version__)


# render ------------------------------------------------------------------------------------------------------------


@pytest.mark.gl
def test_the_example_of_the_documentation(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "render lenet5 digit.png -o figure.png --size 3840x2160 --transparent --open conv1,conv2 --theme light"
    assert main(words.split()) == 0
    assert capsys.readouterr() == ("", "")
    shown = pixels("figure.png")
    assert shown.shape == (2160, 3840, 4)
    assert (shown[..., 3] == 0).mean() > 0.3
    assert (shown[..., 3] > 0).mean() > 0.2


@pytest.mark.gl
def test_the_command_and_the_function_draw_the_same(place: Path) -> None:
    subject, _, scene = SceneFile("lenet5", input="digit.png", open=("conv1",), encoding="signed").build()
    screenshot(scene, "function.png", size=(320, 180), title="Four", legend=True, colour_bar=True)
    words = ["lenet5", "digit.png", "--open", "conv1", "--encoding", "signed", "--title", "Four", "--legend"]
    assert main(["render", *words, "--colour-bar", "-o", "command.png", *SMALL]) == 0
    assert Path("command.png").read_bytes() == Path("function.png").read_bytes()
    assert subject.samples[4].label == 4


@pytest.mark.gl
def test_a_scene_file_is_drawn_and_options_replace_what_it_says(place: Path) -> None:
    scene = load_scene("lenet5-open").scene
    screenshot(scene, "function.png", size=(320, 180), title=SceneFile.load("lenet5-open").title)
    SceneFile.load("lenet5-open").save("copy.toml")
    for spec in ("lenet5-open", "copy.toml"):
        assert main(["render", spec, "-o", "a.png", *SMALL]) == 0
        assert Path("a.png").read_bytes() == Path("function.png").read_bytes()
    assert main(["render", "copy.toml", "digit.png", "--theme", "light", "-o", "b.png", *SMALL]) == 0
    assert (pixels("b.png")[-1, 0] == 255).all()


@pytest.mark.gl
@pytest.mark.parametrize(
    "words",
    [
        ["--scaling", "map"],
        ["--value-range", "-1", "1"],
        ["--aggregate", "max"],
        ["--arrangement", "row"],
        ["--camera", "-30", "10"],
        ["--zoom", "0.5"],
        ["--input-shape", "1,9,8", "--random-weights"],
    ],
    ids=" ".join,
)
def test_every_option_changes_the_picture(place: Path, words: list[str]) -> None:
    six_maps_of_any_size = "nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten()"
    Path("net.py").write_text(f"{NET}Net = nn.Sequential({six_maps_of_any_size})\n", encoding="utf-8")
    np.save("x.npy", np.random.default_rng(0).random((1, 8, 8), dtype=np.float32))
    given = ["render", "net.py:Net"] if "--input-shape" in words else ["render", "net.py:Net", "x.npy"]
    given += [] if "--aggregate" in words else ["--open", "*"]
    assert main([*given, "-o", "a.png", *SMALL]) == 0
    assert main([*given, "-o", "b.png", *SMALL, *words]) == 0
    assert (pixels("a.png") != pixels("b.png")).any()


@pytest.mark.gl
def test_of_a_pass_that_fails_the_layers_that_ran_are_drawn(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["render", "lenet5", "digit.png", "--input-shape", "1,40,40", "--open", "conv1,fc1", "-o", "a.png", *SMALL]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "fc1" in said
    assert "400" in said
    assert "a.png shows the 7 layers that ran" in said
    assert said.count("\n") == 1
    assert len(np.unique(pixels("a.png").reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("render lenet6 -o a.png", "no model 'lenet6': did you mean lenet5"),
        ("render none.py:Net -o a.png", "no file none.py"),
        ("render net.py:Nett -o a.png", "did you mean net.py:Net"),
        ("render lenet5 none.png -o a.png", "no file none.png"),
        ("render lenet5 net.py -o a.png", "net.py is not an image"),
        ("render lenet5 sample:12 -o a.png", "no sample:12; it has sample:0 to sample:9"),
        ("render lenet5 --open conv9 -o a.png", "no layer 'conv9'"),
        ("render lenet5 --weights none.safetensors -o a.png", "no file none.safetensors"),
        ("render net.py --weights bad.safetensors -o a.png", "0.weight"),
        ("render lenet5 --value-range 2 1 -o a.png", "the lower one first"),
        ("render lenet5 --zoom 0 -o a.png", "--zoom is 0"),
        ("render lenet5 --zoom nan -o a.png", "--zoom is nan"),
        ("render lenet5 --camera 0 90 -o a.png", "pitch of 90"),
        ("render lenet5 --camera 0 nan -o a.png", "pitch of nan"),
        ("render lenet5 --camera inf 0 -o a.png", "yaw of inf"),
        ("render lenet5 -o nowhere/a.png", "no folder nowhere"),
        ("render lenet5 -o a.png --size 8193x100", "16 to 8192"),
        (f"render lenet5 -o {'x' * 300}.png", "cannot be written: File name too long"),
        (f"render lenet5 -o {'x' * 245}.png", "cannot be written: File name too long"),
        ("render lenet5 -o x\0.png", "cannot be written"),
        ("render view.toml -o a.png", "--trust"),
        ("explore lenet6", "no model 'lenet6'"),
        ("explore none.toml", "no scene file none.toml"),
        ("train --batch-size 0", "batch_size is 0; it is 1 or more"),
        ("train --learning-rate -1", "learning_rate is -1"),
        ("train --architecture lenet", "no architecture 'lenet'"),
        ("train --data nowhere", "no data 'nowhere'"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_two(
    place: Path, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import save_file

    save_file({"1.weight": np.zeros((2, 2), np.float32)}, "bad.safetensors")
    SceneFile("net.py:Net").save("view.toml")
    Path("a.png").write_bytes(b"before")
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("tensorview: ")
    assert says in said.err
    assert "Traceback" not in said.err
    assert Path("a.png").read_bytes() == b"before"


def test_a_shape_is_asked_for_by_its_option(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("any.py").write_text("from torch import nn\nNet = nn.Sequential(nn.ReLU())\n", encoding="utf-8")
    assert main(["summary", "any.py:Net"]) == 2
    said = capsys.readouterr().err
    assert "give its shape, as --input-shape 3,224,224." in said
    assert main(["summary", "any.py:Net", "--input-shape", "3,224,224"]) == 0


@pytest.mark.parametrize("command", ["summary net.py:Net", "render net.py:Net -o a.png"])
def test_a_model_that_ends_the_program_is_said(place: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.py").write_text(
        "import sys\nfrom torch import nn\n\n\nclass Net(nn.Identity):\n    input_shape = (8,)\n\n"
        "    def forward(self, x):\n        sys.exit(3)\n",
        encoding="utf-8",
    )
    assert main(command.split()) == 2
    assert capsys.readouterr().err == "tensorview: the model's code ended the program, by sys.exit(3).\n"


@pytest.mark.parametrize("words", ["render", "render lenet5", "explore", "paint lenet5", "explore lenet5 a b", "-q"])
def test_arguments_that_are_none_end_with_status_two(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert "usage: tensorview" in capsys.readouterr().err


def test_a_title_that_fills_no_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["render", "lenet5", "-o", "a.png", "--title", "t" * 100_000])
    assert end.value.code == 2
    assert "a title has at most 200 characters, not 100,000" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "--no-browser sample:3 --theme light",
        "sample:3 --no-browser --theme light",
        "--no-browser --theme light sample:3",
    ],
)
def test_an_input_may_stand_behind_an_option(explored: list, words: str) -> None:
    for begin in (["explore", "lenet5"], ["explore", "--trust", "lenet5"], []):
        if begin or words.startswith("-"):
            assert main([*begin, *words.split()]) == 0
            (subject, x), given = explored.pop()
            assert torch.equal(x, subject.preprocess(subject.samples[3].image))
            assert (given["browser"], given["look"].theme) == (False, "light")


def test_an_input_may_stand_behind_an_option_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--json", "lenet5", "--input-shape", "1,28,28", "sample:3"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]
    assert main(["summary", "lenet5", "--json", "sample:99"]) == 2
    assert "no sample:99" in capsys.readouterr().err


def test_a_negative_number_may_be_written_in_any_way(explored: list) -> None:
    from tensorview.cli import make_parser

    assert main(["explore", "lenet5", "--value-range", "-1e-3", "1"]) == 0
    assert explored[0][1]["look"].value_range == (-1e-3, 1.0)
    for text, camera in (("-1e1 3", [-10, 3]), ("-.5 -3.", [-0.5, -3]), ("-inf -2E+1", [-float("inf"), -20])):
        given = make_parser().parse_args(["render", "lenet5", "-o", "a.png", "--camera", *text.split()])
        assert given.camera == camera


# explore -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--port", "9000", "--no-browser"]])
def test_without_a_command_it_is_the_playground(explored: list, words: list[str]) -> None:
    assert main(words) == 0
    (subject, x), given = explored[0]
    assert (subject.name, x) == ("lenet5", None)
    assert given["port"] == (9000 if words else None)
    assert given["browser"] == (not words)
    assert given["host"] == "127.0.0.1"
    assert given["token"] is None
    assert given["block"] is True


def test_explore_hands_on_what_it_is_given(place: Path, explored: list) -> None:
    page = ["--host", "0.0.0.0", "--port", "81", "--token", "t" * 16, "--no-browser", "--memory", "64"]
    look = ["--open", "conv1, pool1", "--theme", "light", "--encoding", "signed", "--scaling", "map"]
    assert main(["explore", "lenet5", "digit.png", *look, *page]) == 0
    (subject, x), given = explored[0]
    assert x.shape == (1, 1, 28, 28)
    assert int(subject.module(x).argmax()) == 4
    look = given.pop("look")
    assert (look.theme, look.encoding, look.scaling, look.class_names) == (
        "light",
        "signed",
        "map",
        tuple("0123456789"),
    )
    assert given == {
        "open": ("conv1", "pool1"), "camera": None, "host": "0.0.0.0", "port": 81, "token": "t" * 16, "browser": False,
        "block": True, "memory": 64 * 2**20,
    }  # fmt: skip


def test_explore_opens_a_scene_file(explored: list) -> None:
    assert main(["explore", "lenet5-open"]) == 0
    (_, x), given = explored[0]
    assert tuple(given["open"]) == SceneFile.load("lenet5-open").open
    np.testing.assert_array_equal(x[0].numpy(), load_scene("lenet5-open").trace["input"].values)


def test_of_a_model_and_a_scene_of_one_name_the_model_is_meant(explored: list) -> None:
    assert main(["explore", "lenet5"]) == 0
    assert explored[0][0][1] is None


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*args: object, **kwargs: object) -> Callable[[], None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(tensorview.app, "explore", interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == ""


# watch -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple, dict]]:
    """What `play` is called with, instead of serving."""
    calls: list[tuple[tuple, dict]] = []
    monkeypatch.setattr(tensorview.app, "play", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


def test_watch_plays_a_run(place: Path, played: list) -> None:
    tensorview.watch(torch.nn.Linear(2, 3), torch.rand(1, 2), "run", class_names="abc").close()
    assert main(["watch", "run", "--theme", "light", "--port", "0", "--no-browser"]) == 0
    ((recording,), given) = played[0]
    assert recording.steps == (0,)
    assert given["look"].theme == "light"
    assert given["look"].class_names == ("a", "b", "c")
    assert (given["port"], given["browser"], given["block"], given["open"]) == (0, False, True, None)


def test_watch_plays_a_folder_of_checkpoints(place: Path, played: list) -> None:
    subject = tensorview.open_model("lenet5")
    Path("kept").mkdir()
    torch.save(subject.module.state_dict(), "kept/step-30.pt")
    assert main(["watch", "kept", "--model", "lenet5", "--probe", "sample:4"]) == 0
    ((recording,), given) = played[0]
    assert recording.steps == (30,)
    assert subject.top(recording.trace(30)["output"].values, k=1)[0].name == "4"
    assert given["look"].class_names == subject.class_names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("watch none", "none is not a folder that exists"),
        ("watch .", "has no run in it"),
        ("watch . --probe x.png", "needs a --model"),
        ("watch . --model lenet5", "has no checkpoint"),
    ],
)
def test_what_cannot_be_watched(place: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


def test_the_defaults_that_the_help_names_are_those_of_the_trainer() -> None:
    from tensorview.training import Hyperparameters

    named = {name: re.search(r"default: ([\w.]+)\)", text) for name, _, text in HYPERPARAMETERS}
    for name, found in named.items():
        if found is not None:
            assert f"{getattr(Hyperparameters(), name.replace('-', '_'))}".removesuffix(".0") == found[1]
    assert sum(found is not None for found in named.values()) >= 4
