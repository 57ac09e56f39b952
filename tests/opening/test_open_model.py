import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tensorview.models.lenet5 import LeNet5
from torch import nn

from tensorview.errors import ModelNotFound, OpenError
from tensorview.opening import InputSpec, open_model, shipped_models

NET = """
import torch
from torch import nn

class Block(nn.Module):
    pass

class Net(nn.Module):
    input_shape = (1, 12, 10)
    input_range = (-1, 1)
    class_names = ["left", "right"]
    title = "My net"

    def __init__(self, width=3):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(120, 2))

    def forward(self, x):
        return self.body(x)

class Needy(Net):
    def __init__(self, width, depth, *more, scale=1):
        super().__init__()

class Failing(Net):
    def __init__(self):
        raise RuntimeError("no luck")

def build():
    return Net(5)

def needs(width):
    return Net(width)

def nothing():
    return 3

ready = Net()
number = 5
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


@pytest.mark.parametrize("name", ["Net", "build", "ready"])
def test_class_function_and_model(file, name):
    subject = open_model(f"{file}:{name}")
    assert type(subject.module).__name__ == "Net"
    assert not subject.module.training
    assert subject.name == f"net.py:{name}"
    assert subject.title == "My net"
    assert subject.input_spec.shape == (1, 12, 10)
    assert (subject.input_spec.low, subject.input_spec.high) == (-1, 1)
    assert subject.class_names == ("left", "right")
    assert subject.samples == ()


@pytest.mark.parametrize("shape", [(1, 10**6, 10**6), (10**9, 10**9), (10**30, 1), (int("9" * 30),) * 3, (2**28 + 1,)])
def test_an_input_that_no_memory_holds_is_refused(file, shape):
    class Declared(torch.nn.Identity):
        input_shape = shape

    class Named(torch.nn.Identity):
        input_shape = {"a": (1, 4, 4), "b": shape}  # noqa: RUF012

    for spec, given in ((f"{file}:Net", shape), ("torchvision:none", shape), (Declared(), None), (Named(), None)):
        with pytest.raises(OpenError, match=r"An input of the shape \(.*\) has .* numbers, but at most 268,435,456"):
            open_model(spec, input_shape=given)
    assert InputSpec((2**28,)).shape == (2**28,)
    with pytest.raises(OpenError, match="at most 268,435,456"):
        InputSpec(shape)


@pytest.mark.parametrize("name", ["net.py:Net", "net.py", "net.onnx", "net.pt"])
def test_the_home_of_nobody_is_no_folder(name):
    with pytest.raises(OpenError, match=r"There is no file ~nobody-of-that-name.net"):
        open_model(f"~nobody-of-that-name/{name}")


def test_a_single_number_is_no_input_shape():
    class Net(torch.nn.Linear):
        input_shape = 8

    with pytest.raises(OpenError, match="Net has input_shape 8; it is positive whole numbers"):
        open_model(Net(8, 2))
    for wrong in (8, 1.5, (), (0,), "abc"):
        with pytest.raises(OpenError, match="positive whole numbers"):
            open_model(torch.nn.Linear(8, 2), input_shape=wrong)


def test_input_shape_argument_wins(file):
    assert open_model(f"{file}:Net", input_shape=np.array([3, 5, 5])).input_spec.shape == (3, 5, 5)


def test_weights_are_loaded(file, tmp_path):
    source = open_model(f"{file}:Net").module
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    module = open_model(f"{file}:Net", weights=tmp_path / "w.safetensors").module
    assert torch.equal(module.body[2].weight, source.body[2].weight)
    with pytest.raises(OpenError, match="exclude each other"):
        open_model(f"{file}:Net", weights=tmp_path / "w.safetensors", random_weights=True)


def test_a_file_with_one_model_needs_no_name(tmp_path):
    path = tmp_path / "one.py"
    path.write_text("from torch import nn\nclass Only(nn.Module):\n    input_shape = (4,)\n")
    assert type(open_model(path).module).__name__ == "Only"


def test_a_file_may_carry_the_attributes_and_its_weights(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "input_shape = (1, 4, 4)\nclass_names = 'ab', 'cd'\nweights = 'w.safetensors'\nsamples = 's.npz'\n"
        "def preprocess(image):\n    return torch.full((1, 4, 4), image.size[0])\n"
        "def model():\n    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))\n"
    )
    linear = nn.Linear(16, 2)
    save_file({f"1.{key}": value for key, value in linear.state_dict().items()}, tmp_path / "w.safetensors")
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    np.savez(tmp_path / "s.npz", images=images, labels=np.array([1, 0]))
    subject = open_model(f"{path}:model")
    assert torch.equal(subject.module[1].weight, linear.weight)
    assert subject.class_names == ("ab", "cd")
    assert [sample.label for sample in subject.samples] == [1, 0]
    assert np.array_equal(subject.samples[1].image, images[1])
    assert subject.preprocess(np.zeros((9, 7), np.uint8)).unique().tolist() == [7]
    random = open_model(f"{path}:model", random_weights=True)
    assert not torch.equal(random.module[1].weight, linear.weight)


def test_a_layer_with_a_name_of_the_convention_is_a_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.preprocess = nn.Linear(4, 4)
            self.weights = nn.Parameter(torch.zeros(2))
            self.samples = nn.ModuleList()

        def forward(self, x):
            return self.preprocess(x)

    subject = open_model(Net())
    assert subject.preparation.transform is None
    assert subject.samples == ()


def test_a_shipped_class_can_be_handed_over():
    subject = open_model(LeNet5())
    assert len(subject.samples) == 10
    assert subject.preparation.kind == "digit"


def test_random_weights_repeat_and_leave_the_random_state(file):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    one, two = (open_model(f"{file}:Net").module.body[2].weight for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_module_is_taken_as_it_is():
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Dropout())
    subject = open_model(module)
    assert subject.module is module
    assert module.training
    assert subject.title == "Sequential"
    assert open_model(subject) is subject


def test_files_next_to_the_file_can_be_imported(tmp_path):
    (tmp_path / "neighbour_of_net.py").write_text("WIDTH = 7\n")
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\nfrom neighbour_of_net import WIDTH\nmodel = nn.Linear(WIDTH, 1)\n")
    before = list(sys.path)
    assert open_model(f"{path}:model").input_spec.shape == (7,)
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nett", r"net\.py has no Nett: did you mean net\.py:Net"),
        ("zzz", r"it has net\.py:Block, net\.py:Net, .*net\.py:ready"),
        ("Needy", r"net\.py:Needy needs arguments \(width, depth\)"),
        ("needs", r"net\.py:needs needs arguments \(width\)"),
        ("Failing", r"net\.py:Failing cannot be built: RuntimeError: no luck"),
        ("nothing", r"net\.py:nothing returned a int, not a model"),
        ("number", r"net\.py:number is a int, not a model"),
        ("", r"several models: name one of net\.py:Block, net\.py:Net"),
    ],
)
def test_what_makes_no_model_is_said_in_a_sentence(file, name, words):
    with pytest.raises(OpenError, match=words) as caught:
        open_model(f"{file}:{name}" if name else file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def broken(:\n", r"SyntaxError: .*, line 1"),
        ("x = 1\ny = undefined\n", r"NameError: name 'undefined' is not defined, line 2"),
        ("import no_such_package_anywhere\n", "ModuleNotFoundError: No module named 'no_such_package_anywhere'"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("x = 1\n", r"defines no torch\.nn\.Module"),
    ],
)
def test_files_that_do_not_run(tmp_path, source, words):
    path = tmp_path / "bad.py"
    path.write_text(source)
    with pytest.raises(OpenError, match=words):
        open_model(path)


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(ModelNotFound, match=r"no model 'lenet': did you mean lenet5\?"):
        open_model("lenet")
    with pytest.raises(ModelNotFound, match=r"no model 'qqq': what opens is a shipped model \(lenet5\)"):
        open_model("qqq")
    with pytest.raises(OpenError, match=r"There is no file .*gone\.py"):
        open_model(f"{tmp_path}/gone.py:Net")


@pytest.mark.parametrize("path", ["net.tflite", "a/b.pb", "net.mlmodel"])
def test_other_formats_say_what_opens(path):
    with pytest.raises(OpenError, match=r"does not open here: what opens is .*torchvision:NAME and a file of .onnx, "):
        open_model(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("input_shape = (1, 0, 4)", r"input_shape \(1, 0, 4\)"),
        ("input_shape = (1, 2.5)", "positive whole numbers"),
        ("input_range = (1, 0)", r"input_range \(1, 0\); it is two numbers"),
        ("input_range = 'ab'", "input_range 'ab'"),
        ("preparation = 'letter'", "it can be 'digit' or 'image'"),
        ("weights = 'gone.pt'", r"There is no file .*gone\.pt"),
        ("samples = 'gone.npz'", r"There is no file .*gone\.npz"),
    ],
)
def test_attributes_that_are_wrong(tmp_path, line, words):
    path = tmp_path / "net.py"
    path.write_text(f"from torch import nn\n{line}\nmodel = nn.Linear(3, 3)\n")
    with pytest.raises(OpenError, match=words):
        open_model(f"{path}:model")


def test_shipped_models_are_listed():
    assert shipped_models() == ("lenet5",)


def test_addresses_are_no_files(tmp_path):
    for spec in ("https://a.b/net.py:Net", "https://a.b/net.onnx", "s3://b/net.pt"):
        with pytest.raises(OpenError, match=f"^{spec} is an address, and only files are opened"):
            open_model(spec)
    with pytest.raises(OpenError, match=r"^https://a.b/c.png is an address"):
        open_model("lenet5").read("https://a.b/c.png")
    with pytest.raises(OpenError, match=r"^https://a.b/w.safetensors is an address"):
        open_model("lenet5", weights="https://a.b/w.safetensors")
