import pytest
import torch
from torch import nn

from tensorview.errors import OpenError
from tensorview.opening import open_model


def shape(*layers):
    return open_model(nn.Sequential(*layers)).input_spec.shape


def test_a_linear_layer_tells_its_features():
    assert shape(nn.Linear(13, 2)) == (13,)
    assert shape(nn.Linear(784, 2)) == (784,)


def test_a_flattened_square_is_an_image():
    assert shape(nn.Flatten(), nn.Linear(784, 2)) == (1, 28, 28)
    assert shape(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)) == (3, 32, 32)
    assert shape(nn.Flatten(), nn.Linear(13, 2)) == (13,)


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (1, 32), (1, 64), (3, 32), (3, 64), (3, 224)])
def test_the_side_that_fits_the_linear_layer_is_found(channels, side):
    after = (side - 4) // 2
    layers = nn.Conv2d(channels, 2, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * after * after, 3)
    assert shape(*layers) == (channels, side, side)


def test_a_strided_start_is_for_large_images():
    assert shape(nn.Conv2d(3, 4, 7, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()) == (3, 224, 224)
    assert shape(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()) == (3, 32, 32)


def test_tokens_are_integers():
    assert open_model(nn.Embedding(10, 4), input_shape=(6,)).input_spec.dtype == "int64"
    assert open_model(nn.Linear(3, 1).double()).input_spec.dtype == "float64"


@pytest.mark.parametrize(
    "module",
    [nn.Embedding(10, 4), nn.Conv1d(2, 2, 3), nn.Conv3d(1, 1, 3), nn.ReLU(), nn.LazyLinear(3)],
    ids=lambda module: type(module).__name__,
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_the_layers_do_not_tell_is_asked_for(module):
    with pytest.raises(OpenError, match=f"input shape of {type(module).__name__} cannot be told"):
        open_model(module)


def test_probing_leaves_nothing_behind():
    module = nn.Sequential(nn.Conv2d(1, 2, 5), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(2 * 28 * 28, 3))
    module[2].eval()
    module[1].weight.grad = torch.ones(2)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    assert open_model(module).input_spec.shape == (1, 32, 32)
    assert [layer.training for layer in module] == [True, True, False, True, True]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert module[0].weight.grad is None
    assert torch.equal(module[1].weight.grad, torch.ones(2))


class Counter(nn.Module):
    """It counts its passes in place, and keeps the last shape in a new tensor."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 5), nn.Linear(2 * 28 * 28, 3)
        self.register_buffer("n", torch.tensor(0))
        self.register_buffer("last", torch.zeros(4))

    def forward(self, x):
        self.n += 1
        self.last = torch.tensor(x.shape)
        return self.fc(self.conv(x).flatten(1))


def test_probing_leaves_buffers_as_they_were():
    module = Counter()
    kept = module.n, module.last
    assert open_model(module).input_spec.shape == (1, 32, 32)
    assert module.n is kept[0]
    assert module.last is kept[1]
    assert module.n.item() == 0
    assert module.last.tolist() == [0, 0, 0, 0]


def test_a_layer_that_is_made_for_the_first_input_is_not_made_for_a_guess():
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 2, 3), None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x).flatten(1)
            if self.fc is None:
                self.fc = nn.Linear(x.shape[1], 3)
            return self.fc(x)

    late, lazy = Late(), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LazyLinear(3))
    for model in late, lazy:
        assert open_model(model).input_spec.shape[0] == 1
    assert late.fc is None
    assert "fc" not in late._modules
    assert late(torch.rand(1, 1, 8, 8)).shape == lazy(torch.rand(1, 1, 8, 8)).shape == (1, 3)
    assert late.fc.in_features == lazy[2].in_features == 72
