"""The lab's networks, and a person's own."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tensorview.models.lenet5 as shipped
import torch

from tensorview.errors import ModelNotFound, OpenError
from tensorview.opening import InputSpec, brings_weights
from tensorview.training import ARCHITECTURES, Hyperparameters, train
from tensorview.training.architectures import make_architecture
from tensorview.training.building import Recipe
from tensorview.training.data import Data
from tensorview.training.loop import Loop


def parameters(model: torch.nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 48)])
def test_first_and_last_layers_follow_the_data(name: str, shape: tuple[int, int, int]) -> None:
    model = make_architecture(name, shape, 7)
    assert model(torch.rand(2, *shape)).shape == (2, 7)


def test_lenet5_is_the_one_that_ships() -> None:
    mine, theirs = make_architecture("lenet5", (1, 28, 28), 10), shipped.LeNet5()
    assert [(name, value.shape) for name, value in mine.named_parameters()] == [
        (name, value.shape) for name, value in theirs.named_parameters()
    ]
    assert [name for name, _ in mine.named_children()] == [name for name, _ in theirs.named_children()]
    theirs.load_state_dict(mine.state_dict())
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(mine(x), theirs(x))


def test_the_perceptron_is_about_as_large_as_lenet5() -> None:
    mlp, lenet5 = (parameters(make_architecture(name, (1, 28, 28), 10)) for name in ("mlp", "lenet5"))
    assert abs(mlp / lenet5 - 1) < 0.01


def test_the_convnetjs_net_is_karpathys() -> None:
    model = make_architecture("convnetjs", (1, 28, 28), 10)
    assert parameters(model) == (25 * 8 + 8) + (25 * 8 * 16 + 16) + (16 * 4 * 4 * 10 + 10)


def test_fresh_weights_are_the_same_for_a_seed_and_leave_other_random_numbers() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    first, again, other = (make_architecture("mlp", (1, 28, 28), 10, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first.fc1.weight, again.fc1.weight)
    assert not torch.equal(first.fc1.weight, other.fc1.weight)


def test_what_does_not_fit_is_one_sentence(bars: Data) -> None:
    with pytest.raises(OpenError, match="LeNet-5 needs images of 12 pixels a side; these are 8 x 8"):
        Recipe("lenet5").build(replace(bars, input_spec=InputSpec((1, 8, 8))))
    with pytest.raises(OpenError, match="no architecture 'vgg'"):
        Recipe("vgg").build(bars)


NET = textwrap.dedent(
    """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, outputs=3):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.act = nn.Tanh()
            self.head = nn.Linear(4, outputs)

        def forward(self, x):
            return self.head(self.act(self.norm(self.conv(x))).mean((2, 3)))

    class Fixed(nn.Module):
        input_shape = (3, 20, 20)

        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(1200, 3)

        def forward(self, x):
            return self.fc(x.flatten(1))

    def ten():
        return Net(10)

    def frozen():
        return Net().requires_grad_(False)
    """
)


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return str(tmp_path / "net.py")


def test_ones_own_model_is_trained(net: str, tmp_path: Path, bars: Data) -> None:
    recipe = Recipe("net.py:Net", f"{net}:Net")
    loop = Loop(tmp_path / "lab", bars, recipe, Hyperparameters(batch_size=8))
    before = loop.model.norm.running_mean.clone()
    loop.batch()
    loop.close()
    assert not torch.equal(loop.model.norm.running_mean, before)
    assert loop.recorder.path.joinpath("step-00000001.safetensors").exists()
    assert recipe.with_architecture("mlp").build(bars)[0].fc1.out_features == 72
    assert type(recipe.with_architecture("mlp").with_architecture("net.py:Net").build(bars)[0]).__name__ == "Net"


def test_images_are_brought_to_the_size_of_ones_own_model(net: str, bars: Data) -> None:
    model, data = Recipe("net.py:Fixed", f"{net}:Fixed").build(bars)
    assert data.train.pixels.shape == (90, 3, 20, 20)
    assert model(data.inputs(data.train.pixels[:2])).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ten", r"net\.py:ten gives \(10,\) for an image; to learn bars it must give \(3,\)"),
        ("frozen", r"net\.py:frozen has no parameters that can be trained"),
    ],
)
def test_a_model_that_cannot_learn_this_is_one_sentence(net: str, bars: Data, name: str, message: str) -> None:
    with pytest.raises(OpenError, match=message):
        Recipe(name, f"{net}:{name}").build(bars)
    with pytest.raises(ModelNotFound):
        Recipe("Nett", f"{net}:Nett").build(bars)


def test_weights_stay_with_the_network_that_they_are_of(net: str, tmp_path: Path, bars: Data) -> None:
    from safetensors.torch import save_file

    for name, recipe in (("lenet5", Recipe("lenet5", seed=7)), ("net.py:Net", Recipe("net.py:Net", f"{net}:Net"))):
        model, _ = recipe.build(bars)
        with torch.no_grad():
            for value in model.parameters():
                value.add_(1.0)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "some.safetensors")
        given = replace(recipe, weights=str(tmp_path / "some.safetensors"), weights_of=name)
        back = Recipe(**asdict(given.with_architecture("mlp"))).with_architecture(name)
        built, _ = back.build(bars)
        assert all(torch.equal(a, b) for a, b in zip(built.parameters(), model.parameters(), strict=True))
        fresh = make_architecture("mlp", (1, 16, 16), 3, recipe.seed)
        assert torch.equal(given.with_architecture("mlp").build(bars)[0].fc1.bias, fresh.fc1.bias)


def test_another_model_of_ones_own_is_not_this_one(net: str) -> None:
    with pytest.raises(OpenError, match=r"no architecture 'other\.py:Net': choose of lenet5, .*, net\.py:Net"):
        Recipe("net.py:Net", f"{net}:Net").with_architecture("other.py:Net")
    with pytest.raises(OpenError, match=r"no architecture 'net\.py:Net'"):
        Recipe("lenet5").with_architecture("net.py:Net")


def test_a_model_whose_input_cannot_be_told_takes_the_datas(tmp_path: Path, bars: Data) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))\n\n"
        "def broken():\n    raise ValueError('no input shape here')\n"
    )
    model, data = Recipe("net.py:net", f"{tmp_path / 'net.py'}:net").build(bars)
    assert (model[1].in_features, data.input_spec.shape) == (256, (1, 16, 16))
    with pytest.raises(OpenError, match="cannot be built: ValueError: no input shape here") as caught:
        Recipe("net.py:broken", f"{tmp_path / 'net.py'}:broken").build(bars)
    assert caught.value.lacks is None


def test_a_file_that_brings_its_weights_is_trained_from_them(tmp_path: Path, bars: Data) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))
    torch.save(model, tmp_path / "a.model.pth")
    built, _ = Recipe("a.model.pth", str(tmp_path / "a.model.pth"), trust=True).build(bars)
    assert torch.equal(built[1].weight, model[1].weight)


@pytest.mark.parametrize(
    ("spec", "brings"),
    [
        ("net.py:Net", False),
        ("a.b/net.py", False),
        ("lenet5", False),
        ("torchvision:resnet18", False),
        ("C:/models/net.onnx", True),
        ("models:old/net.pt", True),
        ("net.PTH", True),
    ],
)
def test_files_that_bring_weights_are_known_by_their_names(spec: str, brings: bool) -> None:
    assert brings_weights(spec) is brings


def test_training_without_a_page(tmp_path: Path) -> None:
    seen: list[int] = []
    hyper = Hyperparameters(learning_rate=0.1)
    run = train(tmp_path, architecture="mlp", hyper=hyper, epochs=1, on_batch=lambda loop: seen.append(loop.step))
    assert seen == list(range(1, 46))  # 1,437 examples in batches of 32
    assert run.steps[-1] == 45
    assert run.evaluation(45).count == 360
    assert run.evaluation(45).accuracy > 0.5
