"""Reading one neuron: where the pointer is, what the page says, and what lights up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from .visit import Visit

pytestmark = pytest.mark.browser


def hooked(module: torch.nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """What every submodule returns, without the batch dimension."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, out: seen.__setitem__(name, out[0].detach().numpy().copy())

    hooks = [part.register_forward_hook(keep(name)) for name, part in module.named_modules() if name]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return seen


def test_five_neurons_of_every_kind_of_layer_read_as_the_module_computed_them(digits: Visit) -> None:
    digits.press("open-all")
    session = digits.viewer.session
    x = torch.tensor(session.scene.trace["input"].values)[None]
    truth = {"input": x[0].numpy(), **hooked(session.subject.module, x)}
    for layer in ("input", "conv1", "relu1", "pool1", "conv2", "flatten", "fc1", "output"):
        for index, px, py in digits.open_to_pointer(layer, 5):
            said = digits.point_at(px, py)
            assert said["shown"]
            assert said["layer"] == layer
            named = [int(said[key]) for key in ("channel", "row", "column") if said[key] != ""]
            assert tuple(named) == index
            assert np.float32(said["value"]) == truth[layer][index]
            assert said["text"].startswith(layer)


def test_the_last_of_a_thousand_units_is_read(animals: Visit) -> None:
    [(_, px, py)] = animals.open_to_pointer("wide", only=999)
    said = animals.point_at(px, py)
    assert said["channel"] == "999"
    assert "unit 999 of 1000" in said["text"]
    assert float(said["value"]) == pytest.approx(float(animals.scene.trace["wide"].values[999]), rel=1e-6)


def support(function: Callable[..., torch.Tensor], shapes: list[tuple[int, ...]], cell: tuple[int, ...]) -> list[Any]:
    """For every argument of a function, where its gradient at a cell of the result is not zero."""
    arguments = [torch.rand(1, *shape, requires_grad=True) for shape in shapes]
    function(*arguments)[(0, *cell)].backward()
    return [None if a.grad is None else a.grad[0].numpy() != 0 for a in arguments]


def middles(visit: Visit, layer: str, seen: np.ndarray | None) -> list[np.ndarray]:
    """In space, the middle of what is seen of every map of a layer, or of every unit of a vector."""
    if seen is None:
        return []
    if seen.ndim == 1:
        item = next(p for p in visit.scene.placements if p.name == layer)
        return [visit.corners_of(layer, 0, *divmod(int(u), item.maps.width)).mean(axis=0) for u in np.flatnonzero(seen)]
    found = []
    for channel in range(len(seen)):
        rows, columns = np.nonzero(seen[channel])
        if len(rows):
            ends = [(rows.min(), columns.min()), (rows.max(), columns.max())]
            corners = np.concatenate([visit.corners_of(layer, channel, int(r), int(c)) for r, c in ends])
            found.append((corners.min(axis=0) + corners.max(axis=0)) / 2)
    return found


def check_feeding(visit: Visit, layer: str, function: Callable[..., torch.Tensor]) -> None:
    """Hover a cell in the middle of a layer; lines must come from just what its gradient reaches."""
    trace = visit.scene.trace
    parents = list(trace[layer].parents)
    index, px, py = visit.open_to_pointer(layer, 1, seed=3)[0]
    visit.point_at(px, py)
    item = next(p for p in visit.scene.placements if p.name == layer)
    cell = index if len(index) == 3 else (0, *divmod(index[0], item.maps.width))
    end = visit.corners_of(layer, *cell).mean(axis=0)
    seen = support(function, [trace[p].values.shape for p in parents], index)
    expected = [m for parent, part in zip(parents, seen, strict=True) for m in middles(visit, parent, part)]
    points, segments = visit.mesh("lines", "hover")
    begins = [points[a] for a, b in segments if np.allclose(points[b], end, atol=1e-3)]
    assert len(begins) == len(expected) > 0
    gap = np.linalg.norm(np.array(begins)[:, None, :2] - np.array(expected)[None, :, :2], axis=2)
    assert gap.min(axis=0).max() < 1e-3, "a line from the middle of each part that feeds the cell"
    assert gap.min(axis=1).max() < 1e-3
    assert len(segments) == len(expected) + 4 * (len(expected) + 1), "and outlines of those parts and of the cell"


@pytest.mark.parametrize("layer", ["conv1", "conv2", "pool1", "relu1", "fc2", "output"])
def test_lines_come_from_what_feeds_a_cell_of_lenet(digits: Visit, layer: str) -> None:
    digits.press("open-all")
    module = digits.viewer.session.subject.module
    pools = torch.nn.AvgPool2d(2)  # its gradient reaches the whole window that a maximum is taken of
    check_feeding(digits, layer, pools if layer == "pool1" else getattr(module, layer))


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        ("grouped", lambda module: module.grouped),
        ("depthwise", lambda module: module.depthwise),
        ("add", lambda module: torch.add),
        ("cat", lambda module: lambda *parts: torch.cat(parts, dim=1)),
    ],
)
def test_lines_know_groups_and_merges(animals: Visit, layer: str, function: Callable[..., Any]) -> None:
    animals.press("open-all")
    check_feeding(animals, layer, function(animals.viewer.session.subject.module))


def test_nothing_is_left_when_the_pointer_leaves(digits: Visit) -> None:
    _, px, py = digits.open_to_pointer("input", 1)[0]
    assert digits.point_at(px, py)["shown"]
    assert len(digits.mesh("lines", "hover")[1]) > 0
    digits.page.mouse.move(1200, 300)  # over the panel
    digits.settle()
    assert len(digits.mesh("lines", "hover")[1]) == 0
    assert not digits.find("readout").is_visible()
    digits.point_at(px, py)
    digits.find("stage").focus()
    digits.page.keyboard.press("o")
    digits.settle()
    digits.wait_until("stage.serial === Number(document.querySelector('[data-testid=stage]').dataset.serial)")
    assert len(digits.mesh("lines", "hover")[1]) == 0, "what was under the pointer has moved away"


def test_the_card_equals_what_torch_says(digits: Visit) -> None:
    digits.find("tab-layers").click()
    session = digits.viewer.session
    x = torch.tensor(session.scene.trace["input"].values)[None]
    for name in ("conv2", "fc1", "relu2"):
        digits.press(f"layer-{name}")
        module, values = getattr(session.subject.module, name), hooked(session.subject.module, x)[name]
        said = {k: digits.find(f"card-{k}").inner_text() for k in ("kind", "minimum", "maximum", "mean", "zeros")}
        assert digits.find("card-name").inner_text() == name
        assert digits.find("card-module").inner_text() == repr(module)
        assert digits.find("card-output").inner_text() == " × ".join(map(str, values.shape))
        count = sum(p.numel() for p in module.parameters())
        assert digits.find("card-parameters").inner_text() == f"{count:,}"
        assert float(said["minimum"]) == pytest.approx(values.min(), rel=1e-6)
        assert float(said["maximum"]) == pytest.approx(values.max(), rel=1e-6)
        assert float(said["mean"]) == pytest.approx(values.astype(float).mean(), rel=1e-5)
        deviation = float(digits.find("card-std-deviation").inner_text())
        assert deviation == pytest.approx(values.astype(float).std(), rel=1e-5)
        assert said["zeros"].startswith(f"{int((values == 0).sum()):,} of {values.size:,}")
        assert digits.find("card-NaN").inner_text() == digits.find("card-Inf").inner_text() == "0"
        bars = digits.page.evaluate(
            "[...document.querySelectorAll('.tv-histogram span')].map((e) => parseFloat(e.style.height))"
        )
        counts = np.histogram(values, bins=len(bars))[0]
        np.testing.assert_allclose(bars, 100 * counts / counts.max(), atol=0.5)
        if count:
            assert digits.find("card-formula").inner_text().endswith(f"= {count:,}")
    assert digits.find("card-kind").inner_text() == "activation"
    digits.find("card-close").click()
    digits.wait_until("!document.querySelector('[data-testid=card]')")
