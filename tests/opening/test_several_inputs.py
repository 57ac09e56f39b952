"""Models of several inputs: each is shown, by its name; what is not given is zeros."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.app.session import Session
from tensorview.cli import main
from tensorview.errors import OpenError
from tensorview.opening import open_model

CODE = """
import torch
from torch import nn

class Joined(nn.Module):
    input_shape = {"image": (3, 8, 8), "mask": (1, 8, 8)}

    def __init__(self):
        super().__init__()
        self.image, self.mask = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)

    def forward(self, image, mask):
        return torch.cat([self.image(image), self.mask(mask)], 1)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    np.save(tmp_path / "mask.npy", np.full((1, 8, 8), 0.5, np.float32))
    return tmp_path


def test_a_class_may_name_its_inputs(place):
    subject = open_model("net.py:Joined")
    assert {name: spec.shape for name, spec in subject.inputs.items()} == {"image": (3, 8, 8), "mask": (1, 8, 8)}
    assert subject.input_spec.shape == (3, 8, 8)
    made = subject.complete(torch.ones(1, 3, 8, 8), {"mask": np.load("mask.npy")})
    assert made["image"].sum() == 3 * 64
    assert torch.equal(made["mask"], torch.full((1, 1, 8, 8), 0.5))
    with pytest.raises(OpenError, match="no input 'depth'; it has image, mask"):
        subject.complete(torch.ones(1, 3, 8, 8), {"depth": np.zeros(3)})


def test_all_inputs_are_shown_and_a_picture_replaces_the_first(place):
    session = Session(open_model("net.py:Joined"))
    assert [layer.name for layer in session.scene.trace.inputs] == ["image", "mask"]
    picture = np.full((8, 8, 3), 255, np.uint8)
    session.show(*session.run(session.prepare_image(picture, prepare=True)))
    assert session.scene.trace["image"].values.min() == 1
    assert session.scene.trace["mask"].values.max() == 0


def test_a_model_of_one_input_is_left_alone():
    subject = open_model("lenet5")
    x = torch.zeros(1, 1, 28, 28)
    assert subject.complete(x) is x
    with pytest.raises(OpenError, match="a single one"):
        subject.complete(x, {"mask": np.zeros(3)})


def test_the_inputs_of_an_onnx_file_are_shown(place):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 2, 4, 4)) for n in ("left", "right")]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 2, 4, 4))
    graph = helper.make_graph([helper.make_node("Add", ["left", "right"], ["out"], name="sum")], "g", values, [out])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, "two.onnx")
    session = Session(open_model("two.onnx"))
    assert [layer.name for layer in session.scene.trace.inputs] == ["left", "right"]
    assert len(session.scene.links.points) >= 4


@pytest.mark.gl
def test_named_inputs_on_the_command_line(place, capsys):
    np.save("image.npy", np.zeros((3, 8, 8), np.float32))
    assert main(["summary", "net.py:Joined", "--input", "mask=mask.npy"]) == 0
    assert "mask" in capsys.readouterr().out
    assert (
        main(["render", "net.py:Joined", "image.npy", "--input", "mask=mask.npy", "-o", "two.png", "--size", "320x200"])
        == 0
    )
    assert main(["render", "net.py:Joined", "--input", "depth=mask.npy", "-o", "two.png"]) == 2
    assert "no input 'depth'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["render", "net.py:Joined", "--input", "mask", "-o", "two.png"])
    assert "write its name and a file" in capsys.readouterr().err


def test_shapes_by_name_are_checked(place):
    class Wrong(nn.Module):
        input_shape = {"a": (3, 0)}  # noqa: RUF012

    with pytest.raises(OpenError, match="positive whole numbers"):
        open_model(Wrong())
