"""The words of the page."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tensorview.app import texts
from tensorview.capture import Trace, capture
from tensorview.classes import Prediction
from tensorview.scene import Hit, Scene


def trace_of(module: nn.Module, *shape: int) -> Trace:
    torch.manual_seed(0)
    return capture(module.eval(), torch.rand(1, *shape) + 0.5)


def read(scene: Scene, layer: str, channel: int | None, row: int, column: int, index: tuple[int, ...] | None) -> dict:
    placement = next(i for i, p in enumerate(scene.placements) if p.name == layer)
    return texts.readout(scene, Hit(layer, placement, channel, row, column, index, 1.0))


def test_a_cell_of_an_open_layer_is_read_with_its_place() -> None:
    trace = trace_of(nn.Sequential(nn.Conv2d(1, 3, 3)), 1, 6, 6)
    said = read(Scene(trace, ["0"]), "0", 2, 1, 3, (2, 1, 3))
    assert (said["layer"], said["channel"], said["row"], said["column"]) == ("0", 2, 1, 3)
    assert np.float32(said["value"]) == trace["0"].values[2, 1, 3]
    assert said["text"] == f"0 · channel 2, row 1, column 3 · {said['value']}"


def test_a_closed_layer_says_that_it_shows_a_mean_or_a_maximum() -> None:
    trace = trace_of(nn.Sequential(nn.Conv2d(1, 3, 3)), 1, 6, 6)
    column = trace["0"].values[:, 1, 3]
    mean = read(Scene(trace), "0", None, 1, 3, None)
    assert "mean of 3 maps" in mean["text"]
    assert float(mean["value"]) == pytest.approx(column.mean(), rel=1e-6)
    most = read(Scene(trace, aggregate="max"), "0", None, 1, 3, None)
    assert "max of 3 maps" in most["text"]
    assert np.float32(most["value"]) == column.max()


def test_units_classes_and_tokens_are_called_what_they_are() -> None:
    trace = trace_of(nn.Sequential(nn.Linear(4, 40), nn.Linear(40, 3)), 4)
    scene = Scene(trace, class_names=("ant", "bee", "cat"))
    assert "unit 39 of 40" in read(scene, "0", 0, 0, 39, (39,))["text"]
    assert "class bee" in read(scene, "1", 0, 0, 1, (1,))["text"]
    tokens = trace_of(nn.Sequential(nn.Linear(4, 5)), 7, 4)
    assert "token 6, feature 2" in read(Scene(tokens), "0", 0, 6, 2, (6, 2))["text"]


def test_every_value_is_read_back_as_it_was() -> None:
    generator = np.random.default_rng(0)
    for value in generator.normal(0, 10.0 ** generator.integers(-30, 30, 200)).astype(np.float32):
        assert np.float32(texts.exact(float(value))) == value
        assert len(texts.exact(float(value)).lstrip("-").replace(".", "").split("e")[0].lstrip("0")) <= 9
    for value in generator.normal(size=50):
        assert float(texts.exact(value)) == value
    said = [texts.exact(v) for v in (0.0, 3.0, -0.5, 1e20, 1e300, float("inf"), float("nan"), None)]
    assert said == ["0", "3", "-0.5", "1e+20", "1e+300", "inf", "nan", "not captured"]


def test_the_card_counts_what_torch_counts() -> None:
    module = nn.Sequential(nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2), nn.ReLU())
    trace = trace_of(module, 2, 9, 9)
    card = texts.card(trace["0"])
    rows = {row["name"]: row["value"] for row in card["rows"]}
    assert rows["output"] == "6 × 5 × 5"
    assert (rows["kernel size"], rows["stride"], rows["groups"]) == ("3 × 3", "2 × 2", "2")
    assert rows["parameters"] == str(sum(p.numel() for p in module[0].parameters())) == "60"
    assert card["module"] == repr(module[0])
    values = trace["1"].values
    rows = {row["name"]: row["value"] for row in texts.card(trace["1"])["rows"]}
    zeros = int((values == 0).sum())
    assert rows["zeros"] == f"{zeros} of 150 ({100 * zeros / 150:.1f} %)"
    assert float(rows["maximum"]) == pytest.approx(values.max(), rel=1e-6)


def guesses(*shares: float) -> list[Prediction]:
    return [Prediction(i, str(i), share) for i, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("truth", "said", "verdict", "right"),
    [
        (None, "You wrote a 2 (70.0 %)", "", False),
        (2, "This is a 2 (70.0 %)", "right: it is a 2", True),
        (1, "This is a 2 (70.0 %)", "wrong: it is a 1", False),
    ],
)
def test_a_prediction_says_digit_percent_and_truth(truth: int | None, said: str, verdict: str, right: bool) -> None:
    every = guesses(0.1, 0.2, 0.7)
    best = sorted(every, key=lambda p: -p.share)
    found = texts.prediction(best, every, truth, ("0", "1", "2"))
    assert (found["text"], found["truth"], found["right"]) == (said, verdict, right)
    assert [bar["winner"] for bar in found["bars"]] == [False, False, True]
    assert [bar["text"] for bar in found["bars"]] == ["10.0 %", "20.0 %", "70.0 %"]


def test_other_classes_and_nothing_at_all() -> None:
    best = [Prediction(3, "golden retriever", 0.5)]
    found = texts.prediction(best, best, None, ("a", "b", "c", "golden retriever"))
    assert found["text"] == "This is golden retriever (50.0 %)"
    digit = [Prediction(7, "7", 0.5)]
    assert texts.prediction(digit, digit, None, ("7",))["text"] == "You wrote a 7 (50.0 %)"
    assert texts.prediction(digit, digit, None, ("7",), drawn=False)["text"] == "This is a 7 (50.0 %)"
    asked = texts.prediction(best, best, None, ("0",), asks="Draw a digit.")
    assert (asked["text"], asked["truth"], len(asked["bars"])) == ("Draw a digit.", "", len(best))
    assert texts.prediction([], [], None, ()) == {"text": "", "bars": [], "truth": "", "right": False}
    assert [texts.article(name, True) for name in ("7", "8", "1")] == ["a 7", "an 8", "a 1"]


@pytest.mark.parametrize("shape", [(28, 28), (40, 30, 3), (224, 224, 3)])
def test_a_preview_is_the_picture_itself(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    address = texts.data_url(picture)
    assert address.startswith("data:image/png;base64,")
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))))
    np.testing.assert_array_equal(shown, picture)
    assert texts.data_url(None) == ""


def test_the_colour_bar_says_how_values_are_scaled() -> None:
    trace = trace_of(nn.Sequential(nn.Conv2d(1, 3, 3)), 1, 6, 6)
    fixed = texts.colour_bar(Scene(trace, scaling="fixed", value_range=(-2.0, 3.0)))
    assert (fixed["low"], fixed["high"]) == ("-2", "3")
    assert "each layer" in texts.colour_bar(Scene(trace))["note"]
    assert "map" in texts.colour_bar(Scene(trace, scaling="map"))["note"]
    assert texts.colour_bar(Scene(trace, encoding="signed"))["low"] == "−max"
    values = trace.layers[0].values
    of_one = texts.colour_bar(Scene(trace, open="*"), trace.layers[0].name)
    assert of_one["low"] == f"{values.min():.3g}".replace("-", "−")
    assert of_one["high"] == f"{values.max():.3g}".replace("-", "−")
    assert of_one["note"] == f"of {trace.layers[0].name}"
    assert texts.css_colour((240, 190, 40)) == "#f0be28"
