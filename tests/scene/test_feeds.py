"""What feeds a cell, against the support of a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tensorview.capture import Trace, capture
from tensorview.scene.feeds import Source, sources


class Apply(nn.Module):
    """A function as a model, so that what runs is no module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: Tensor) -> Tensor:
        return self.function(*given)


def positive(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(0.5, 1.5)
    return module.eval()


def mask_of(found: list[Source], name: str, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for source in (s for s in found if s.layer == name):
        channels = slice(None) if source.channels is None else slice(source.channels.start, source.channels.stop)
        spans = source.spans or ()
        mask[(channels, *(slice(low, high) for low, high in spans))] = True
    return mask


def hull(mask: np.ndarray) -> np.ndarray:
    """The smallest box around what is set."""
    full = np.zeros_like(mask)
    if mask.any():
        full[tuple(slice(axis.min(), axis.max() + 1) for axis in np.nonzero(mask))] = True
    return full


def indices(shape: tuple[int, ...], most: int = 40) -> list[tuple[int, ...]]:
    every = list(np.ndindex(shape))
    corners = {every[0], every[-1]}
    chosen = np.random.default_rng(0).permutation(len(every))[:most]
    return sorted(corners | {every[i] for i in chosen})


def check(model: nn.Module, *shapes: tuple[int, ...], exact: bool = True) -> Trace:
    """The last layer's sources equal the gradient's support of its cells, for one input or several."""
    torch.manual_seed(1)
    given = [(torch.rand(1, *shape) + 0.5).requires_grad_() for shape in shapes]
    out = model(*given)
    trace = capture(model, tuple(x.detach() for x in given) if len(given) > 1 else given[0].detach())
    layer = trace.layers[-1]
    assert layer.parents == tuple(x.name for x in trace.inputs)
    parents = {x.name: x for x in (*trace.inputs, *trace.layers)}
    for index in indices(layer.shape):
        gradients = torch.autograd.grad(out[(0, *index)], given, retain_graph=True, allow_unused=True)
        found = sources(layer, index, parents)
        for parent, gradient in zip(trace.inputs, gradients, strict=True):
            support = np.zeros(parent.shape, bool) if gradient is None else gradient[0].abs().numpy() > 1e-6
            expected = support if exact else hull(support)
            np.testing.assert_array_equal(mask_of(found, parent.name, parent.shape), expected, err_msg=f"{index}")
    return trace


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 5, padding=2),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)),
        nn.Conv2d(4, 6, 3, padding="same"),
        nn.Conv2d(4, 6, 4, padding="same"),
        nn.Conv2d(4, 6, 3, padding="valid"),
        nn.Conv2d(4, 6, 3, groups=2, stride=2),
        nn.Conv2d(4, 4, 3, groups=4, padding=1),
        nn.Conv2d(4, 8, 3, groups=4, padding=1),
        nn.Conv2d(4, 6, 1),
        nn.Conv2d(4, 6, (7, 8)),
        nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="replicate"),
        nn.ConvTranspose2d(4, 6, 3),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 6, 2, stride=3),
        nn.ConvTranspose2d(4, 6, (3, 4), stride=(1, 2), groups=2),
    ],
    ids=repr,
)
def test_convolution_reads_its_window_of_its_group(module):
    check(positive(module), (4, 7, 8))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, 3, dilation=2),
        nn.Conv2d(4, 6, (3, 2), dilation=(2, 3), padding=2, stride=2),
        nn.ConvTranspose2d(4, 6, 3, dilation=2),
        nn.ConvTranspose2d(4, 6, 3, dilation=2, stride=2, padding=1),
    ],
    ids=repr,
)
def test_dilated_convolution_reads_from_its_first_to_its_last_tap(module):
    check(positive(module), (4, 9, 9), exact=False)


def test_convolutions_of_sequences_and_volumes():
    check(positive(nn.Conv1d(3, 4, 3, stride=2, padding=1)), (3, 11))
    check(positive(nn.ConvTranspose1d(3, 4, 4, stride=2)), (3, 6))
    check(positive(nn.Conv3d(2, 4, (2, 3, 3), padding=(0, 1, 1), stride=(1, 2, 1))), (2, 4, 5, 6))


def test_circular_padding_reads_beyond_the_other_edge():
    trace = capture(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), torch.rand(1, 1, 6, 6))
    found = sources(trace.layers[0], (0, 0, 3), {x.name: x for x in trace.inputs})
    assert found == [Source("input", range(1), ((0, 6), (2, 5)))]  # rows 5, 0 and 1


def test_functional_convolutions():
    weight = torch.rand(4, 2, 3, 3) + 0.1
    check(Apply(lambda x: F.conv2d(x, weight, stride=2, padding=1, groups=2)), (4, 7, 8))
    check(Apply(lambda x: F.conv_transpose2d(x, weight, stride=2)), (4, 5, 5))


@pytest.mark.parametrize(
    "module",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.AvgPool2d((2, 3), stride=(2, 1), ceil_mode=True),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((3, 5)),
        Apply(lambda x: F.avg_pool2d(x, 3, 2)),
        Apply(lambda x: F.adaptive_avg_pool2d(x, (2, 3))),
        nn.LPPool2d(2, 2),
        Apply(lambda x: x.mean((2, 3))),
        Apply(lambda x: x.mean(dim=(-2, -1), keepdim=True)),
        Apply(lambda x: torch.sum(x, 1)),
        Apply(lambda x: x.mean(1, keepdim=True)),
    ],
    ids=repr,
)
def test_pooling_reads_its_window_of_the_same_map(module):
    check(module, (3, 7, 8))


@pytest.mark.parametrize(
    "module",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=3),
        nn.AdaptiveMaxPool2d((3, 2)),
        Apply(lambda x: F.max_pool2d(x, 3, 2)),
    ],
    ids=repr,
)
def test_max_pooling_reads_every_cell_that_could_win(module):
    """A single 1 among zeros wins wherever it enters: no gradient is needed."""
    shape = (2, 8, 7)
    trace = capture(module, torch.zeros(1, *shape))
    layer, parent = trace.layers[0], trace.inputs[0]
    ones = torch.eye(int(np.prod(shape))).reshape(-1, *shape)
    won = module(ones).numpy()
    for index in indices(layer.shape):
        entered = won[(slice(None), *index)].reshape(shape) > 0
        found = mask_of(sources(layer, index, {parent.name: parent}), parent.name, shape)
        np.testing.assert_array_equal(found, hull(entered), err_msg=f"{index}")


@pytest.mark.parametrize(
    "module",
    [
        nn.Sigmoid(),
        nn.GELU(),
        nn.PReLU(3),
        nn.Softmax(dim=1),
        nn.Softmax(dim=-1),
        nn.LogSoftmax(dim=2),
        nn.Softmax2d(),
        Apply(lambda x: F.softmax(x, 2)),
        Apply(torch.tanh),
        nn.Identity(),
        nn.Dropout(),
        nn.BatchNorm2d(3),
        nn.InstanceNorm2d(3),
        nn.LayerNorm((4, 5)),
        nn.LayerNorm(5),
        nn.GroupNorm(3, 3),
        nn.LocalResponseNorm(2),
    ],
    ids=repr,
)
def test_activation_and_normalisation_read_the_cell_or_what_they_normalise_over(module):
    check(module.eval(), (3, 4, 5))


def test_linear_reads_all_features_of_its_row():
    check(positive(nn.Linear(7, 4)), (7,))
    check(positive(nn.Linear(6, 4)), (5, 6))
    check(positive(nn.Linear(6, 4)), (2, 3, 6))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Flatten(), (3, 4, 5)),
        (nn.Unflatten(1, (3, 4)), (12,)),
        (Apply(lambda x: x.view(-1, 20)), (4, 5)),
        (Apply(lambda x: x.permute(0, 3, 1, 2)), (3, 4, 5)),
        (Apply(lambda x: x.transpose(1, 2)), (4, 5)),
        (nn.ChannelShuffle(3), (6, 2, 2)),
        (nn.PixelShuffle(2), (8, 3, 2)),
        (nn.PixelUnshuffle(2), (2, 4, 6)),
    ],
    ids=lambda value: repr(value),
)
def test_reshape_reads_the_cell_that_it_moved(module, shape):
    check(module, shape)


@pytest.mark.parametrize(
    "module",
    [
        nn.ZeroPad2d((1, 2, 0, 3)),
        nn.ConstantPad2d((-1, 2, 1, 1), 5.0),
        nn.ReflectionPad2d((1, 3, 2, 0)),
        nn.ReplicationPad2d(2),
        nn.CircularPad2d((2, 1, 1, 0)),
    ],
    ids=repr,
)
def test_padding_reads_where_it_took_the_value_and_nothing_else(module):
    check(module, (2, 5, 6))


def test_functional_padding_is_never_said_too_small():
    trace = capture(Apply(lambda x: F.pad(x, (1, 0, 0, 0))), torch.rand(1, 2, 3, 4))
    found = sources(trace.layers[0], (1, 2, 2), {x.name: x for x in trace.inputs})
    mask = mask_of(found, "input", (2, 3, 4))
    assert mask[1, 2, 1]
    assert not mask[0].any()
    assert not mask[1, :2].any()


@pytest.mark.parametrize(
    "module",
    [
        nn.Upsample(scale_factor=2),
        nn.Upsample(size=(7, 11)),
        nn.Upsample(size=(7, 11), mode="nearest-exact"),
        nn.UpsamplingBilinear2d(scale_factor=2),
        nn.Upsample(scale_factor=3, mode="bilinear"),
        nn.Upsample(size=(8, 9), mode="bilinear", align_corners=True),
        Apply(lambda x: F.interpolate(x, scale_factor=2.0)),
        Apply(lambda x: F.interpolate(x, size=(9, 5), mode="bilinear")),
        Apply(lambda x: F.interpolate(x, size=(2, 2), mode="area")),
    ],
    ids=repr,
)
def test_up_sampling_reads_what_it_blends(module):
    check(module, (2, 4, 5))


def test_merges_read_the_same_cell_of_every_parent():
    check(Apply(lambda a, b: a + b), (2, 3, 4), (2, 3, 4))
    check(Apply(lambda a, b: a * b), (2, 3, 4), (2, 1, 1))
    check(Apply(lambda a, b, c: torch.addcmul(a, b, c)), (2, 3), (2, 3), (2, 3))


def test_a_concatenation_reads_the_parent_that_owns_the_map():
    check(Apply(lambda a, b: torch.cat([a, b], 1)), (2, 3, 4), (3, 3, 4))
    check(Apply(lambda a, b: torch.cat([a, b], dim=-1)), (2, 3), (2, 5))
    check(Apply(lambda a, b: torch.stack([a, b], 1)), (3, 4), (3, 4))
    check(Apply(lambda a, b: torch.stack([a, b], -1)), (3, 4), (3, 4))


def test_a_parent_joined_twice_is_never_said_too_small():
    trace = capture(Apply(lambda a, b: torch.cat([b, a, b], 1)), (torch.rand(1, 2, 3), torch.rand(1, 2, 3)))
    found = sources(trace.layers[0], (5, 1), {x.name: x for x in trace.inputs})
    assert [(s.channels, s.spans) for s in found] == [(range(2), ((1, 2),))] * 2


def test_a_product_of_matrices_reads_a_row_and_a_column():
    check(Apply(lambda a, b: a @ b), (3, 4), (4, 5))
    check(Apply(lambda a, b: torch.matmul(a, b)), (2, 3, 4), (2, 4, 5))


def test_an_embedding_reads_the_token_and_anything_else_reads_all():
    trace = capture(nn.Embedding(10, 4), torch.tensor([[3, 1, 7]]))
    assert sources(trace.layers[0], (2, 1), {x.name: x for x in trace.inputs}) == [Source("input", range(2, 3), ())]
    trace = capture(nn.LSTM(4, 3, batch_first=True), torch.rand(1, 5, 4))
    assert sources(trace.layers[0], (2, 1), {x.name: x for x in trace.inputs}) == [Source("input")]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: -x - 1,
        lambda x: 0.5 * x + torch.tensor([0.5, 0.25]).view(2, 1, 1),
        lambda x: x.clamp(0.1, 5).mul_(3).exp(),
    ],
)
def test_arithmetic_behind_the_last_layer_reads_the_same_cell(function):
    assert check(Apply(function), (2, 3, 3)).layers[-1].module_type == "output"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.flip(-1) + 1,
        lambda x: x - x.cumsum(-1),
        lambda x: x[:, :1] * torch.ones(1, 2, 3, 3) - 1,
        lambda x: x.roll(1, -1).add_(1),
    ],
)
def test_what_moves_or_mixes_cells_behind_the_last_layer_reads_all(function):
    trace = capture(Apply(function), torch.rand(1, 2, 3, 3) + 0.5)
    parts = sources(trace.layers[-1], (1, 0, 0), {layer.name: layer for layer in (*trace.inputs, *trace)})
    assert [(part.layer, part.spans) for part in parts] == [("input", None)]


def test_a_concatenation_with_a_constant_is_never_said_to_read_another_column():
    trace = capture(Apply(lambda x: torch.cat([torch.ones(1, 1, 3), x], 1)), torch.rand(1, 2, 3))
    layer = trace.layers[-1]
    for row, column in np.ndindex(3, 3):
        mask = mask_of(sources(layer, (row, column), {"input": trace.inputs[0]}), "input", (2, 3))
        np.testing.assert_array_equal(mask, np.arange(3) == [[column], [column]], err_msg=f"{row} {column}")
