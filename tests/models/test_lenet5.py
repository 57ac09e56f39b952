from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from tensorview.models.lenet5 import LeNet5
from torch import nn

from tensorview.opening import open_model
from tensorview.opening.mnist import load_mnist, mnist_root

# Straight strokes, (x, y) in percent; none of them stands in the script that draws the shipped digits.
DRAWN = {
    0: ["50,10 25,30 25,70 50,90 75,70 75,30 50,10"],
    1: ["50,10 50,90", "38,24 55,10 55,90", "35,25 52,10 52,90 / 34,90 70,90"],
    2: ["25,30 35,12 60,10 72,28 65,48 25,88 78,88"],
    3: ["25,15 70,12 45,45 72,60 65,85 25,88"],
    4: ["60,90 60,10 20,65 80,65", "28,12 28,48 70,48 / 70,12 70,90"],
    5: ["72,10 30,10 28,45 60,42 75,65 60,88 25,85"],
    6: ["65,10 35,40 28,70 45,90 68,80 70,60 50,52 32,65"],
    7: ["22,12 78,12 45,90", "22,12 75,12 40,90 / 35,50 70,50"],
    8: ["50,48 28,30 50,10 72,30 50,48 25,70 50,90 75,70 50,48"],
    9: ["70,35 50,50 30,35 40,12 65,12 70,35 65,90"],
}
STYLES = [(digit, style) for digit, styles in DRAWN.items() for style in styles]
PLACES = {"centre": (0.5, 0.5), "top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1)}


def drawing(strokes, side=280, height=0.5, place=(0.5, 0.5), pen=0.09):
    """(side, side) uint8, ink bright; `height` and `pen` are shares of the side and of the digit's height."""
    fine = 2
    width = max(side * height * pen, 1.5) * fine
    free = side * fine * (1 - height)
    image = Image.new("L", (side * fine, side * fine))
    draw = ImageDraw.Draw(image)
    for stroke in strokes.split("/"):
        points = np.array([point.split(",") for point in stroke.split()], float) / 100
        points = points * side * fine * height + np.array(place) * free
        draw.line([tuple(point) for point in points], fill=255, width=round(width))
        for x, y in points:
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def subject():
    return open_model("lenet5")


def best(subject, image):
    with torch.no_grad():
        return subject.top(subject.module(subject.preprocess(image)), 1)[0]


def test_layers_are_named_as_a_person_reads_them(subject):
    assert [name for name, _ in subject.module.named_children()] == [
        "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc1", "relu3", "fc2", "relu4", "output",
    ]  # fmt: skip
    assert all(not list(layer.children()) for layer in subject.module.children())
    counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in subject.module.named_children()}
    assert counts["conv1"] == 6 * (5 * 5 * 1) + 6
    assert counts["conv2"] == 16 * (5 * 5 * 6) + 16
    assert counts["fc1"] == 120 * 400 + 120
    assert counts["fc2"] == 84 * 120 + 84
    assert counts["output"] == 10 * 84 + 10
    assert sum(counts.values()) == 61_706


def test_layers_run_once_each_in_their_order(subject):
    ran = []
    hooks = [
        layer.register_forward_hook(lambda module, args, out, name=name: ran.append((name, tuple(out.shape[1:]))))
        for name, layer in subject.module.named_children()
    ]
    subject.module(torch.zeros(1, 1, 28, 28))
    for hook in hooks:
        hook.remove()
    assert ran == [
        ("conv1", (6, 28, 28)), ("relu1", (6, 28, 28)), ("pool1", (6, 14, 14)),
        ("conv2", (16, 10, 10)), ("relu2", (16, 10, 10)), ("pool2", (16, 5, 5)), ("flatten", (400,)),
        ("fc1", (120,)), ("relu3", (120,)), ("fc2", (84,)), ("relu4", (84,)), ("output", (10,)),
    ]  # fmt: skip


def test_it_computes_what_its_weights_say(subject):
    """The same in plain numpy for one image."""
    weights = {name: value.numpy().astype(np.float64) for name, value in subject.module.state_dict().items()}

    def conv(x, name):
        kernel = weights[f"{name}.weight"]
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))
        return np.einsum("chwij,kcij->khw", windows, kernel) + weights[f"{name}.bias"][:, None, None]

    def relu_pool(x):
        c, h, w = x.shape
        return np.maximum(x, 0).reshape(c, h // 2, 2, w // 2, 2).max((2, 4))

    image = subject.samples[5].image / 255
    x = relu_pool(conv(np.pad(image, 2)[None], "conv1"))
    x = relu_pool(conv(x, "conv2")).ravel()
    for name in ("fc1", "fc2", "output"):
        x = weights[f"{name}.weight"] @ (x if name == "fc1" else np.maximum(x, 0)) + weights[f"{name}.bias"]
    with torch.no_grad():
        logits = subject.module(torch.from_numpy(image).float()[None, None])[0].numpy()
    assert np.allclose(logits, x, atol=1e-3)


def test_what_it_tells_about_itself(subject):
    assert subject.title == "LeNet-5"
    assert subject.class_names == tuple("0123456789")
    assert subject.input_spec.shape == (1, 28, 28)
    assert (subject.input_spec.low, subject.input_spec.high) == (0, 1)
    assert not subject.module.training


def test_the_file_holds_float32_weights_only():
    path = Path(__file__).parents[2] / "models" / "lenet5.safetensors"
    with safe_open(path, "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F32"}  # noqa: SIM118
    assert path.stat().st_size < 260_000


def test_it_opens_as_a_users_own_file_does(subject):
    path = Path(__file__).parents[2] / "models" / "lenet5.py"
    own = open_model(f"{path}:LeNet5")
    state = own.module.state_dict()
    assert all(torch.equal(state[key], value) for key, value in subject.module.state_dict().items())
    assert len(own.samples) == 10


def test_random_weights_are_random():
    module = open_model("lenet5", random_weights=True).module
    assert isinstance(module, LeNet5)
    assert isinstance(module.conv1, nn.Conv2d)
    assert not torch.equal(module.output.weight, open_model("lenet5").module.output.weight)


def test_samples_are_one_of_each_and_recognised_for_sure(subject):
    assert [sample.label for sample in subject.samples] == list(range(10))
    for sample in subject.samples:
        assert sample.image.shape == (28, 28)
        assert sample.image.dtype == np.uint8
        guess = best(subject, sample.image)
        assert guess.index == sample.label
        assert guess.share > 0.98


def test_samples_arrive_as_they_are(subject):
    for sample in subject.samples:
        assert np.array_equal(subject.preview(subject.preprocess(sample.image)), sample.image)


def test_the_pool_holds_every_class_and_is_mostly_read_right(subject, monkeypatch, tmp_path):
    monkeypatch.setenv("TENSORVIEW_MNIST", str(tmp_path))
    pool = open_model("lenet5").pool
    assert np.bincount([sample.label for sample in pool]).tolist() == [20] * 10
    right = np.mean([best(subject, sample.image).index == sample.label for sample in pool])
    assert right > 0.94


@pytest.mark.parametrize(("digit", "style"), STYLES)
def test_a_digit_gets_the_same_answer_wherever_and_however_large_it_is_drawn(subject, digit, style):
    for height in (0.3, 0.5, 0.8):
        for name, place in PLACES.items():
            guess = best(subject, drawing(style, height=height, place=place))
            assert guess.index == digit, (name, height, guess)


@pytest.mark.parametrize(("digit", "style"), STYLES)
@pytest.mark.parametrize("pen", [0.03, 0.06, 0.12, 0.16])
def test_thin_and_thick_pens(subject, digit, style, pen):
    assert best(subject, drawing(style, pen=pen)).index == digit


@pytest.mark.parametrize(("digit", "style"), STYLES)
def test_a_small_pad_dark_ink_and_photographs(subject, digit, style):
    small = drawing(style, side=28, height=0.7)
    assert best(subject, small).index == digit
    paper = Image.fromarray(255 - drawing(style, height=0.4, place=(0.2, 0.7))).convert("RGB")
    assert best(subject, paper).index == digit
    assert best(subject, paper.resize((900, 900))).index == digit
    wide = Image.new("RGB", (700, 300), "white")
    wide.paste(paper, (400, 10))
    assert best(subject, wide).index == digit


def test_placing_switched_off_is_seen_by_the_model(subject):
    image = drawing(DRAWN[7][0], side=28, height=0.5, place=(0, 0))
    assert np.array_equal(subject.preview(subject.preprocess(image, prepare=False)), image)
    assert not np.array_equal(subject.preview(subject.preprocess(image)), image)


@pytest.mark.parametrize("prepare", [False, True])
def test_accuracy_on_mnist(subject, prepare):
    root = mnist_root()
    if root is None:
        pytest.skip("MNIST is not on disk: TENSORVIEW_MNIST names the root that torchvision downloaded it to")
    images, labels = load_mnist(root, train=False)
    assert len(images) == 10_000
    x = torch.cat([subject.preprocess(image, prepare=prepare) for image in images])
    with torch.no_grad():
        right = (subject.module(x).argmax(1).numpy() == labels).mean()
    assert right >= 0.99
