"""Sessions with inputs of every kind."""

from __future__ import annotations

import torch
from torch import nn

from tensorview.app.explore import _shape
from tensorview.app.session import Session
from tensorview.opening import open_model


class Joined(nn.Module):
    """An image and a mask, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3)
        self.mask = nn.Conv2d(1, 4, 3)

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.image(image), self.mask(mask)], 1)


def test_several_inputs_stay_as_they_were_given():
    x = {"image": torch.rand(1, 3, 8, 8), "mask": torch.rand(1, 1, 8, 8)}
    session = Session(open_model(Joined(), input_shape=_shape(x)), x)
    assert [layer.name for layer in session.scene.layers[:2]] == ["image", "mask"]
    assert not session.takes_pictures
    assert not session.takes_drawings
    trace, failure = session.run(session.empty_input())
    assert failure == ""
    assert torch.equal(torch.from_numpy(trace["mask"].values.copy()), x["mask"][0])


def test_a_drawing_is_an_input_of_one_small_channel_only():
    def session(channels: int, size: int) -> Session:
        model = nn.Conv2d(channels, 2, 3)
        return Session(open_model(model, input_shape=(channels, size, size)))

    assert session(1, 28).takes_drawings
    assert not session(1, 96).takes_drawings
    assert not session(3, 28).takes_drawings
    assert session(3, 28).takes_pictures
    assert not session(5, 28).takes_pictures


def test_a_first_input_that_is_given_is_previewed():
    x = torch.rand(2, 3, 8, 8)
    session = Session(open_model(nn.Conv2d(3, 2, 3), input_shape=(3, 8, 8)), x)
    expected = (x[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    assert session.preview is not None
    assert (torch.from_numpy(session.preview).int() - expected.int()).abs().max() <= 1
