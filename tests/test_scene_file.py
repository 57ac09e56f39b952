"""Scene files: read, written, and opened."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tensorview.capture import capture
from tensorview.errors import OpenError, SceneError, TrustRequired
from tensorview.scene import Camera, Scene
from tensorview.scene_file import SceneFile, load_scene, shipped_scenes
from tensorview.scene_toml import toml_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FULL = SceneFile(
    model="net.py:Net",
    weights="net.safetensors",
    input_shape=(1, 8, 8),
    input="pictures/seven.png",
    open=("conv", 'quoted " and \\ back', "new\nline\t\x01\x7f", "Größe × 3 😀"),
    theme="light",
    encoding="signed",
    scaling="fixed",
    value_range=(-1.5, 1e-7),
    arrangement="row",
    aggregate="max",
    sort="activation",
    most_maps=9,
    hidden=("mask",),
    title="A title",
    camera=Camera((1.0, 2.5, 300.0), (0.0, -1e-9, 0.1), (0.0, 1.0, 0.0), 20.0),
)
NET = """
import torch
from torch import nn
class Net(nn.Module):
    input_shape = (1, 8, 8)
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        nn.init.constant_(self.conv.weight, 0.5)
    def forward(self, x):
        return self.conv(x)
"""
TWO = """
import torch
from torch import nn
class Two(nn.Module):
    input_shape = {"image": (1, 8, 8), "mask": (2, 8, 8)}
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
    def forward(self, image, mask):
        return self.conv(torch.cat([image, mask], 1))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Reading and writing -----------------------------------------------------------------------------------------------


def test_what_is_saved_loads_as_it_was(place: Path) -> None:
    FULL.save("view.toml")
    read = SceneFile.load("view.toml")
    assert read.source == Path("view.toml")
    assert {**vars(read), "source": None} == vars(FULL)
    assert list(place.iterdir()) == [place / "view.toml"]


def test_the_same_scene_is_the_same_bytes(place: Path) -> None:
    for name in ("a.toml", "b.toml"):
        FULL.save(name)
    SceneFile.load("a.toml").save("a.toml")
    assert Path("a.toml").read_bytes() == Path("b.toml").read_bytes()
    assert b"\r" not in Path("a.toml").read_bytes()


def test_paths_are_relative_to_the_file(place: Path) -> None:
    (place / "views").mkdir()
    FULL.save("views/view.toml")
    said = tomllib.loads(Path("views/view.toml").read_text(encoding="utf-8"))
    assert said["model"] == "../net.py:Net"
    assert said["weights"] == "../net.safetensors"
    assert said["input"] == "../pictures/seven.png"
    read = SceneFile.load(place / "views" / "view.toml")
    assert Path(read.input).resolve() == place / "pictures" / "seven.png"
    assert Path(read.model.removesuffix(":Net")).resolve() == place / "net.py"


@pytest.mark.parametrize("name", ["net.onnx", "net.pt", "net.keras", "model.json", "net.pt2", "net.ts"])
def test_the_file_of_a_model_is_relative_to_the_scene_file(place: Path, name: str) -> None:
    (place / "views").mkdir()
    SceneFile(f"models/{name}").save("views/view.toml")
    assert tomllib.loads(Path("views/view.toml").read_text(encoding="utf-8"))["model"] == f"../models/{name}"
    read = SceneFile.load(place / "views" / "view.toml")
    assert Path(read.model) == place / "models" / name
    with pytest.raises(OpenError, match=r"There is no file .*models.net"):
        replace(read, model=read.model.replace("model.json", "net.json")).build(trust=True)


def test_what_is_no_path_stays(place: Path) -> None:
    for model in ("lenet5", "torchvision:resnet18"):
        scene = SceneFile(model, input="sample:7", random_weights=model != "lenet5")
        scene.save("view.toml")
        read = SceneFile.load("view.toml")
        assert (read.model, read.input, read.random_weights) == (model, "sample:7", scene.random_weights)


def test_a_long_title_of_a_model_is_cut(place: Path) -> None:
    subject, _, scene = SceneFile("lenet5").build()
    SceneFile.of(replace(subject, title="t" * 5000), scene).save("view.toml")
    assert SceneFile.load("view.toml").title == "t" * 200


def test_defaults_are_not_written(place: Path) -> None:
    SceneFile("lenet5").save("view.toml")
    assert Path("view.toml").read_text(encoding="utf-8") == 'version = 1\nmodel = "lenet5"\n'


def test_a_file_that_is_there_outlives_a_failure(place: Path) -> None:
    write(place / "view.toml", "before")
    for broken in (SceneFile("lenet5", title="half \udc80"), SceneFile("lenet5", value_range=(0.0, float("inf")))):
        with pytest.raises(OpenError, match=r"cannot be saved as view\.toml"):
            broken.save("view.toml")
    assert Path("view.toml").read_text(encoding="utf-8") == "before"
    with pytest.raises(OpenError, match="cannot be saved"):
        FULL.save("nowhere/view.toml")
    assert list(place.iterdir()) == [place / "view.toml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('model = "lenet5"', "has no version; scene files with 'version = 1' open"),
        ('version = 2\nmodel = "lenet5"', "has version 2"),
        ('version = true\nmodel = "lenet5"', "has version True"),
        ("version = 1", "key 'model' is missing"),
        ("version = 1\nmodel = 3", "key 'model' is 3; it is a text"),
        ('version = 1\nmodel = ""', "key 'model' is ''"),
        ('version = 1\nmodel = "m"\nopenn = []', "no key 'openn'; there is open"),
        ('version = 1\nmodel = "m"\nopen = [1]', "key 'open' is"),
        ('version = 1\nmodel = "m"\nrandom_weights = 1', "'random_weights' is 1; it is true or false"),
        ('version = 1\nmodel = "m"\ninput_shape = [1, 0]', "'input_shape'"),
        ('version = 1\nmodel = "m"\nvalue_range = [1]', "'value_range' is .*; it is two numbers"),
        ('version = 1\nmodel = "m"\nvalue_range = [0, nan]', "'value_range'"),
        ('version = 1\nmodel = "m"\nvalue_range = [2, 1]', "the lower one first"),
        ('version = 1\nmodel = "m"\ntheme = "pink"', "no theme 'pink'"),
        ('version = 1\nmodel = "m"\nencoding = "pink"', "no encoding 'pink'"),
        ('version = 1\nmodel = "m"\ncamera = 3', "'camera' is 3; it is a table"),
        ('version = 1\nmodel = "m"\n[camera]\nposition = [1, 2, 3]', "the camera has no focal_point"),
        ('version = 1\nmodel = "m"\n[camera]\nposition = [1, 2]', "'position' is"),
        ('version = 1\nmodel = "m"\n[camera]\nposition = [1, 2, 3]\nfocal_point = [1, 2, 3]', "sees nothing"),
        ('version = 1\nmodel = "m"\n[camera]\nposition = [0, 2, 0]\nfocal_point = [0, 0, 0]', "sees nothing"),
        (
            'version = 1\nmodel = "m"\n[camera]\nposition = [0, 2, 1]\nfocal_point = [0, 0, 0]\nview_angle = 0.5',
            "view_angle is 0.5 degrees",
        ),
        ("version = ", "not a scene file in TOML"),
        (f"version = 1\nopen = {'[' * 5000}", "nested too deeply"),
        (f"version = {'9' * 10_000}", "not a scene file in TOML|has version 9"),
        (f"version = {'9' * 4000}", r"has version 9{100}\.\.\.; scene"),
        (f'version = 1\nmodel = "m"\ntheme = {list(range(999))}', r"'theme' is \[0, .*\.\.\.; it is a text"),
        (f'version = 1\nmodel = "m"\ntitle = "{"t" * 201}"', "'title' is .*; it is a text of at most 200 characters"),
    ],
)
def test_what_a_file_cannot_say_is_one_sentence(place: Path, text: str, says: str) -> None:
    write(place / "view.toml", text)
    with pytest.raises(OpenError, match=says) as caught:
        SceneFile.load("view.toml")
    assert str(caught.value).startswith("view.toml")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_sentence(place: Path) -> None:
    with pytest.raises(OpenError, match=r"There is no scene file none\.toml"):
        SceneFile.load("none.toml")
    (place / "folder.toml").mkdir()
    with pytest.raises(OpenError, match=r"folder\.toml cannot be read"):
        SceneFile.load("folder.toml")
    (place / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OpenError, match="not a scene file"):
        SceneFile.load("binary.toml")
    (place / "large.toml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(OpenError, match="1,048,577 bytes"):
        SceneFile.load("large.toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_read(place: Path) -> None:
    os.mkfifo("pipe.toml")
    with pytest.raises(OpenError, match=r"pipe\.toml is a device or a pipe, not a scene file"):
        SceneFile.load("pipe.toml")


@pytest.mark.parametrize(
    "text", ["", "plain", '"\\\b\t\n\f\r', "\x00\x1f\x7f\x85\u2028", "é×漢😀", "'''", "\U000e0001"]
)
def test_every_text_is_read_as_it_was_written(text: str) -> None:
    assert tomllib.loads(toml_text({"a": text, "b": [text, text]}, {})) == {"a": text, "b": [text, text]}


@pytest.mark.parametrize("number", [0.0, -1.0, 1e300, 5e-324, 0.1, 1e22, 123456789.123])
def test_every_number_is_read_as_it_was_written(number: float) -> None:
    read = tomllib.loads(toml_text({"a": number}, {"t": {"b": (number,)}}))
    assert (read["a"], read["t"]["b"]) == (number, [number])
    assert type(read["a"]) is float


# Opening -----------------------------------------------------------------------------------------------------------


def test_the_shipped_scenes_open() -> None:
    assert {"lenet5", "lenet5-open", "lenet5-light"} <= set(shipped_scenes())
    for name in shipped_scenes():
        file, opened = SceneFile.load(name), load_scene(name)
        assert opened.subject.name == "lenet5"
        assert opened.scene.trace is opened.trace
        assert set(opened.scene.look.open) == set(file.open)
        assert opened.scene.theme.name == file.theme
        assert file.title
        number = int(file.input.removeprefix("sample:"))
        assert int(opened.trace["output"].values.argmax()) == opened.subject.samples[number].label
        assert file.title.endswith(str(number))


def test_near_names_of_shipped_scenes_are_offered() -> None:
    with pytest.raises(OpenError, match=r"no scene 'lenet5-opne'.*lenet5-open"):
        SceneFile.load("lenet5-opne")


def test_a_python_file_is_run_only_where_it_is_trusted(place: Path) -> None:
    write(place / "net.py", NET + "open('ran', 'w').close()\n")
    SceneFile("net.py:Net", open=("conv",)).save("view.toml")
    read = SceneFile.load("view.toml")
    with pytest.raises(TrustRequired, match=r"view\.toml names the Python file .*net\.py:Net.*--trust"):
        read.build()
    assert not Path("ran").exists()
    subject, trace, scene = read.build(trust=True)
    assert Path("ran").exists()
    assert type(subject.module).__name__ == "Net"
    assert trace["conv"].shape == (3, 6, 6)
    assert scene.look.open == {"conv"}


def test_inputs_of_every_sort(place: Path) -> None:
    write(place / "net.py", NET)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save("image.png")
    np.save("array.npy", pixels.astype(np.float32)[None] / 100)

    def shown(name: str | None) -> np.ndarray:
        return SceneFile("net.py", input=name).build().trace["input"].values

    np.testing.assert_allclose(shown("image.png")[0], pixels / 255, atol=1e-6)
    np.testing.assert_allclose(shown("array.npy")[0], pixels / 100, atol=1e-6)
    assert not shown(None).any()
    with pytest.raises(OpenError, match=r"net\.py has no sample:0; it has none"):
        shown("sample:0")
    with pytest.raises(OpenError, match=r"no file none\.png"):
        shown("none.png")


def test_a_sample_of_thousands_of_digits() -> None:
    with pytest.raises(OpenError, match=r"lenet5 has no sample:9{20}\.\.\.; it has sample:0 to"):
        SceneFile("lenet5", input=f"sample:{'9' * 5000}").build()


@pytest.mark.parametrize("name", ["sample:10", "sample:-1", "sample:x", "sample:"])
def test_a_sample_that_is_not_there(name: str) -> None:
    with pytest.raises(OpenError, match=f"lenet5 has no {name}; it has sample:0 to sample:9"):
        SceneFile("lenet5", input=name).build()


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(SceneError, match=r"'conv9'.*conv"):
        SceneFile("lenet5", open=("conv9",)).build()


def test_a_view_becomes_a_file_and_a_view_again(place: Path) -> None:
    subject, _, scene = SceneFile("lenet5", input="sample:4", open=("pool1", "conv1"), encoding="signed").build()
    camera = Camera((50.0, 60.0, 300.0), (1.0, 2.0, -30.0), view_angle=25.0)
    SceneFile.of(subject, scene, camera, input="sample:4").save("view.toml")
    again = load_scene("view.toml")
    assert again.scene.camera == camera
    assert again.scene.look == scene.look
    np.testing.assert_array_equal(again.scene.page("cells").pixels, scene.page("cells").pixels)
    assert SceneFile.load("view.toml").open == ("conv1", "pool1")


def test_a_drawing_on_the_page_is_saved_in_the_scene_file(tmp_path):
    from tensorview.app.downloads import scene_file
    from tensorview.app.session import Session
    from tensorview.opening import open_model

    session = Session(open_model("lenet5"))
    drawn = np.zeros((28, 28), np.uint8)
    drawn[3:20, 18:21], drawn[3:6, 9:21] = 255, 200
    trace, _ = session.run(session.prepare_image(drawn, prepare=True))
    session.show(trace)
    path = tmp_path / "drawn.toml"
    path.write_bytes(scene_file(session, session.first_camera(1600, 1000)).content)
    opened = SceneFile.load(path).build()
    np.testing.assert_allclose(opened.trace["input"].values, trace["input"].values, atol=0.5 / 255 + 1e-6)
    assert opened.trace["output"].values.argmax() == trace["output"].values.argmax()


def test_a_picture_in_a_scene_file_that_is_none_is_said():
    from tensorview.opening import open_model

    broken = SceneFile("lenet5", input="data:image/png;base64,not base64")
    with pytest.raises(OpenError, match="not base64; save the scene again"):
        broken.tensor(open_model("lenet5"))


def test_a_view_of_a_model_of_ones_own_opens_again_as_it_was(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    from tensorview.app.downloads import scene_file
    from tensorview.app.session import Session
    from tensorview.opening import open_model

    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "from torch import nn\n\nclass Net(nn.Sequential):\n    input_shape = (1, 6, 6)\n\n"
        "    def __init__(self):\n        super().__init__(nn.Conv2d(1, 3, 3))\n"
    )
    save_file({"0.weight": torch.full((3, 1, 3, 3), 0.5), "0.bias": torch.arange(3.0)}, "w.safetensors")
    session = Session(open_model("net.py:Net", weights="w.safetensors"))
    Path("view.toml").write_bytes(scene_file(session, session.first_camera(1600, 1000)).content)
    written = SceneFile.load("view.toml")
    assert written.weights is not None
    assert Path(written.weights).name == "w.safetensors"
    trace = written.build(trust=True).trace
    np.testing.assert_array_equal(trace["0"].values, np.broadcast_to(np.arange(3.0)[:, None, None], (3, 4, 4)))


def test_a_hidden_input_of_a_view_is_hidden_when_it_opens_again(place: Path) -> None:
    from tensorview.opening import open_model

    write(place / "net.py", TWO)
    subject = open_model("net.py:Two", trust=True)
    scene = Scene(capture(subject.module, subject.complete(torch.zeros(1, 1, 8, 8))), hidden=["mask"])
    SceneFile.of(subject, scene).save("view.toml")
    assert 'hidden = ["mask"]' in Path("view.toml").read_text(encoding="utf-8").splitlines()
    again = load_scene("view.toml", trust=True)
    assert again.scene.look == scene.look
    assert [item.name for item in again.scene.placements] == ["image", "cat", "conv"]
