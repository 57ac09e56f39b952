"""Opening and closing layers, the list of layers, the look, legend, colour bar and read-outs, clear and reset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from tensorview import explore

from .visit import Visit, awaited

pytestmark = pytest.mark.browser

# Records, at every frame, the sum of the cells' coordinates and of those that they come to rest at.
WATCH = """() => {
    window.watched = [];
    const sum = (a) => a.reduce((total, x) => total + x, 0);
    const look = () => {
        const { mesh, rest } = stage.surfaces.cells;
        watched.push([performance.now(), sum(mesh.getPoints().getData()), sum(rest), rest.length]);
        if (!window.watchEnds) requestAnimationFrame(look);
    };
    window.watchEnds = false;
    look();
}"""
WATCHED = """async () => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    window.watchEnds = true;
    return watched;
}"""


def is_open(visit: Visit, layer: str) -> bool:
    return layer in visit.scene.look.open


def click(visit: Visit, layer: str) -> None:
    """Click a layer where it is seen, and wait for what comes of it."""
    visit.page.mouse.click(*visit.spot_on(layer))
    visit.settle()


@pytest.mark.parametrize("layer", ["conv1", "pool2", "fc1", "output", "input"])
def test_a_click_opens_and_closes(digits: Visit, layer: str) -> None:
    was = digits.points()
    click(digits, layer)
    assert is_open(digits, layer)
    assert digits.find("card-name").inner_text() == layer
    shown = digits.points()
    np.testing.assert_allclose(shown, digits.scene.cells.points, rtol=1e-6)
    assert len(shown) > len(was) or layer in ("output", "input"), "every map has its own box"
    digits.find("card-close").click()
    digits.settle()
    click(digits, layer)
    assert not is_open(digits, layer)
    np.testing.assert_array_equal(digits.points(), was)


@pytest.mark.parametrize("layer", ["add", "cat", "wide", "grouped"])
def test_merges_and_long_vectors_open_too(animals: Visit, layer: str) -> None:
    click(animals, layer)
    assert is_open(animals, layer)
    np.testing.assert_allclose(animals.points(), animals.scene.cells.points, rtol=1e-6)
    animals.find("card-close").click()
    animals.settle()
    click(animals, layer)
    assert not is_open(animals, layer)


@pytest.mark.parametrize("milliseconds", [300, 0])
def test_layers_move_to_their_new_places(digits: Visit, milliseconds: int) -> None:
    digits.choose(animation=milliseconds)
    digits.page.evaluate(WATCH)
    click(digits, "conv2")
    times, sums, rests, sizes = np.array(awaited(digits.page, WATCHED)).T
    moving = sizes > sizes[0]
    under_way = moving & (sums != rests)
    if milliseconds == 0:
        assert not under_way.any(), "at once"
        return
    assert under_way.sum() >= 3, "several frames show it on its way"
    steps = np.diff(sums[moving])
    assert (steps <= 1e-3).all() or (steps >= -1e-3).all(), "and none goes back"
    arrived = times[moving & (sums == rests)].min()
    assert 200 <= arrived - times[under_way].min() <= 2000


def test_open_all_close_all_and_the_view_follows(digits: Visit) -> None:
    first = digits.camera()
    digits.press("open-all")
    assert {p.name for p in digits.scene.placements} == digits.scene.look.open
    opened = digits.camera()
    assert opened != first, "still at home, the view keeps everything in frame"
    digits.page.mouse.move(300, 300)
    digits.page.mouse.down()
    digits.page.mouse.move(340, 300, steps=3)
    digits.page.mouse.up()
    digits.settle()
    own = digits.camera()
    digits.press("close-all")
    assert not digits.scene.look.open
    assert digits.camera() == own, "a view of one's own is left alone"


def test_the_list_finds_selects_and_opens(digits: Visit) -> None:
    digits.press("tab-layers")
    listed = digits.page.locator("[data-testid^=layer-]").all_inner_texts()
    assert [text.split("\n")[0] for text in listed][:3] == ["input", "conv1", "relu1"]
    digits.find("find-layer").locator("input").fill("CONV")
    digits.wait_until("document.querySelectorAll('[data-testid^=layer-]').length === 2")
    digits.press("toggle-conv2")
    assert digits.scene.look.open == {"conv2"}
    assert digits.find("toggle-conv2").get_attribute("aria-expanded") == "true"
    digits.press("toggle-conv2")
    assert digits.scene.look.open == set()
    digits.press("layer-conv1")
    assert digits.find("card-name").inner_text() == "conv1"
    digits.find("find-layer").locator("input").fill("no such layer")
    digits.wait_until("document.querySelectorAll('[data-testid^=layer-]').length === 0")


def test_choices_of_the_look_reach_the_scene(digits: Visit) -> None:
    digits.press("tab-layers")
    for name, label, value in (
        ("encoding", "signed, zero neutral", "signed"),
        ("scaling", "each map", "map"),
        ("aggregate", "maximum of the maps", "max"),
        ("arrangement", "row", "row"),
    ):
        digits.find(name).click()
        digits.page.get_by_role("option", name=label, exact=True).click()
        digits.wait_until("([name, value]) => trame.state.get(name) === value", [name, value])
        digits.settle()
        assert getattr(digits.scene.look, name) == value
    assert "of each feature map" in digits.find("colour-bar").inner_text()
    assert digits.scene.theme.dark
    digits.press("toggle-theme")
    assert not digits.scene.theme.dark
    assert digits.picture()[300, 3].tolist() == list(digits.scene.theme.background)


def test_legend_bar_and_times_are_shown_and_hidden(digits: Visit) -> None:
    kinds = digits.find("legend").locator("li").all_inner_texts()
    assert kinds == [kind for kind, _ in digits.scene.legend()]
    shown = (
        digits.find("legend")
        .locator(".tv-dot")
        .evaluate_all("(d) => d.map((e) => getComputedStyle(e).backgroundColor)")
    )
    assert shown == [f"rgb({r}, {g}, {b})" for _, (r, g, b) in digits.scene.legend()]
    for button, part in (("toggle-legend", "legend"), ("toggle-bar", "colour-bar")):
        assert digits.find(button).get_attribute("aria-pressed") == "true"
        digits.press(button)
        assert digits.find(part).count() == 0
        assert digits.find(button).get_attribute("aria-pressed") == "false"
        digits.press(button)
        assert digits.find(part).is_visible()
    assert digits.find("stats").count() == 0
    digits.press("toggle-stats")
    digits.find("stage").focus()
    digits.page.keyboard.press("ArrowLeft")
    digits.page.keyboard.press("ArrowLeft")
    digits.wait_until("/[1-9]\\d* ms a frame/.test(document.querySelector('[data-testid=stats]').textContent)")


def test_clear_empties_the_data_and_reset_also_the_view(digits: Visit) -> None:
    home = digits.camera()
    click(digits, "conv1")
    digits.find("stage").focus()
    digits.page.keyboard.press("ArrowLeft")
    digits.settle()
    own = digits.camera()
    digits.find("pad-clear").click()
    digits.wait_until("document.querySelector('[data-testid=prediction-text]').textContent.startsWith('Draw a digit')")
    digits.settle()
    assert not digits.scene.trace["input"].values.any()
    assert is_open(digits, "conv1")
    assert digits.camera() == own
    assert digits.find("preview").count() == 0
    digits.find("sample-3").click()
    digits.wait_until("document.querySelector('[data-testid=truth]')")
    digits.find("reset").click()
    digits.wait_until("!document.querySelector('[data-testid=truth]')")
    digits.wait_until("!document.querySelector('[data-testid=card]')")
    digits.settle()
    assert not digits.scene.trace["input"].values.any()
    assert not digits.scene.look.open
    assert digits.camera() == home


def test_maps_are_sorted_and_the_rest_hidden(digits: Visit) -> None:
    click(digits, "conv2")
    digits.press("card-close")
    digits.press("tab-layers")
    means = digits.scene.trace["conv2"].values.mean(axis=(1, 2))
    for name, label in (("sort", "by mean activation"), ("most_maps", "the 4 most active maps")):
        digits.find(name).click()
        digits.page.get_by_role("option", name=label, exact=True).click()
        digits.settle()
    item = next(p for p in digits.scene.placements if p.name == "conv2")
    assert list(item.order) == np.argsort(-means, kind="stable")[:4].tolist()
    channel = item.order[0]
    spots = digits.to_pixels(np.array([digits.corners_of("conv2", channel, k, k).mean(axis=0) for k in range(10)]))
    seen = [digits.point_at(float(x), float(y)) for x, y in spots]
    found = [said for said in seen if said["shown"] and said["layer"] == "conv2"]
    assert found
    for said in found:
        values = digits.scene.trace["conv2"].values[channel]
        assert said["channel"] == str(channel)
        assert float(said["value"]) == pytest.approx(float(values[int(said["row"]), int(said["column"])]), rel=1e-6)


def test_the_list_has_every_layer_however_far_it_is_scrolled(digits: Visit) -> None:
    digits.press("tab-layers")
    digits.find("layers").evaluate("(list) => { list.scrollTop = list.scrollHeight }")
    digits.press("tab-input")
    digits.press("tab-layers")
    names = [layer.name for layer in digits.scene.all_layers]
    assert digits.find("layers").locator("[data-testid^=toggle-]").count() == len(names)
    digits.press("toggle-conv1")
    assert is_open(digits, "conv1")


class Added(nn.Module):
    """The sum of an image and a mask, and its convolution."""

    input_shape: ClassVar = {"image": (1, 6, 6), "mask": (1, 6, 6)}

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.conv(image + mask)


def test_the_eye_beside_an_input_hides_it_and_shows_it_again(visit: Any) -> None:
    with explore(Added().eval(), port=0, browser=False) as viewer:
        page = visit(viewer)
        page.press("tab-layers")
        before = page.points()
        drawn = [item.name for item in page.scene.placements]
        assert page.find("hide-conv").count() == 0
        assert page.find("hide-mask").get_attribute("aria-pressed") == "false"
        page.press("hide-mask")
        assert page.find("hide-mask").get_attribute("aria-pressed") == "true"
        assert [item.name for item in page.scene.placements] == [name for name in drawn if name != "mask"]
        assert len(page.points()) == len(before) - 6 * 4, "one slab less"
        page.press("hide-image")
        assert page.page.get_by_text("every input is hidden").is_visible()
        assert page.find("hide-image").get_attribute("aria-pressed") == "false"
        page.press("hide-mask")
        assert page.find("hide-mask").get_attribute("aria-pressed") == "false"
        np.testing.assert_allclose(page.points(), before, atol=1e-5)
        assert [item.name for item in page.scene.placements] == drawn


class Long(nn.Module):
    """Layers with long names, and a layer that does not fit the one before it."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.ModuleDict({f"the_{n}_of_many_projections": nn.Linear(4, 4) for n in ("first", "second")})
        self.a_module_with_a_long_name = nn.ModuleDict({"another_module_with_a_long_name": inner})
        self.misfit = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.a_module_with_a_long_name["another_module_with_a_long_name"].values():
            x = layer(x)
        return self.misfit(x)


@pytest.fixture
def long_names(visit: Any) -> Iterator[Visit]:
    with explore(Long().eval(), torch.ones(1, 4), port=0, browser=False) as viewer:
        yield visit(viewer)


def test_long_names_make_the_panel_no_wider(long_names: Visit) -> None:
    width = "document.querySelector('.tv-panel').getBoundingClientRect().width"
    before = long_names.page.evaluate(width)
    long_names.press("tab-layers")
    long_names.find("find-layer").locator("input").fill("second")
    name = "a_module_with_a_long_name.another_module_with_a_long_name.the_second_of_many_projections"
    long_names.press(f"layer-{name}")
    assert long_names.page.evaluate(width) == before < 400
    row = long_names.find(f"layer-{name}")
    assert row.get_attribute("title") == name
    whole, shown = row.evaluate("(e) => [e.scrollWidth, e.clientWidth]")
    assert whole <= shown, "and none of the row is out of sight"


def test_a_failure_that_the_panel_says_goes_from_the_stage_by_itself(long_names: Visit) -> None:
    assert "misfit" in long_names.find("failure").inner_text()
    message = long_names.page.locator("[data-testid=message] .v-snackbar__wrapper")
    message.wait_for()
    box = message.bounding_box()
    assert box is not None
    long_names.page.mouse.move(box["x"] + 20, box["y"] + 20)
    message.wait_for(state="detached", timeout=8000)
    assert "misfit" in long_names.find("failure-of-layers").inner_text()
    assert long_names.find("failure-of-layers").is_visible()
