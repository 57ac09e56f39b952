"""Classes, their shares, and the texts beside the output cubes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tensorview.classes import probabilities, ranked
from tensorview.scene import Scene
from tensorview.scene.text import text_mask

NAMES = tuple("0123456789")


def test_probabilities_are_the_softmax():
    logits = np.array([-1000.0, 2.5, 3.0, -4.0])
    expected = torch.softmax(torch.tensor(logits), 0).numpy()
    np.testing.assert_allclose(probabilities(logits), expected, atol=1e-12)


def test_probabilities_that_are_there_already_are_kept():
    np.testing.assert_allclose(probabilities(np.array([0.2, 0.5, 0.3])), [0.2, 0.5, 0.3])


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([np.nan, 1, 2, 3], [np.nan] * 4),
        ([-np.inf] * 2, [np.nan] * 2),
        ([np.inf, 0, np.inf, -np.inf], [np.nan] * 4),
        ([-np.inf, 0, 0], [0, 0.5, 0.5]),
        ([3e38, -3e38], [1, 0]),
    ],
    ids=str,
)
def test_probabilities_of_what_is_no_number(logits, expected):
    np.testing.assert_allclose(probabilities(np.array(logits, dtype=np.float32)), expected)


def test_ranked_is_right_for_all_negative_outputs():
    logits = np.array([-9.0, -2.0, -5.0, -3.0])
    best = ranked(logits, ("a", "b", "c"), most=3)
    assert [(p.index, p.name) for p in best] == [(1, "b"), (3, "class 3"), (2, "c")]
    assert best[0].share == pytest.approx(1 / (1 + np.exp(-1) + np.exp(-3) + np.exp(-7)))


def cube_texts(scene: Scene) -> list[np.ndarray]:
    """The pixels of every text beside the cubes, found through the texture coordinates of their front faces."""
    page = scene.page("shares").pixels
    surface = scene.shares
    found = []
    for quad in surface.quads[::2]:
        uv = surface.tcoords[quad] * [page.shape[1], page.shape[0]]
        (u0, v0), (u1, v1) = np.rint(uv.min(axis=0)).astype(int), np.rint(uv.max(axis=0)).astype(int)
        found.append(page[v0:v1, u0:u1])
    return found


def assert_says(pixels: np.ndarray, text: str, bold: bool) -> None:
    mask = text_mask(text, 26, bold)
    np.testing.assert_array_equal(pixels[: mask.shape[0], : mask.shape[1]], mask)
    assert not pixels[:, mask.shape[1] :].any()


def test_cubes_say_class_and_probability_and_the_winner_is_bold(chain):
    logits = np.array([-8, -9, -3, -7, -1, -6, -9, -9, -9, -9], dtype=np.float32)
    scene = Scene(chain(np.zeros((1, 8, 8)), ("linear", logits)), class_names=NAMES)
    share = np.exp(logits) / np.exp(logits).sum()
    for unit, pixels in enumerate(cube_texts(scene)):
        assert_says(pixels, f"{unit}  {share[unit] * 100:.1f} %", bold=unit == 4)


def test_cubes_of_outputs_without_names_say_their_values(chain):
    scene = Scene(chain(np.zeros((1, 8, 8)), ("linear", np.array([-1.5, np.nan, 12345.678, np.inf], dtype="f4"))))
    for pixels, (text, bold) in zip(
        cube_texts(scene),
        [("0  -1.5", False), ("1  nan", False), ("2  1.235e+04", False), ("3  inf", True)],
        strict=True,
    ):
        assert_says(pixels, text, bold)


def test_outputs_of_nothing_but_nan_have_no_winner(chain):
    scene = Scene(chain(np.zeros((1, 8, 8)), ("linear", np.full(3, np.nan, dtype="f4"))), class_names=("a", "b", "c"))
    for name, pixels in zip("abc", cube_texts(scene), strict=True):
        assert_says(pixels, f"{name}  nan", bold=False)


def test_outputs_of_integers_and_truth_values_are_shown(chain):
    for values, last in [(np.array([3, 250], dtype=np.uint8), "1  250"), (np.array([False, True]), "1  1")]:
        scene = Scene(chain(np.zeros((1, 8, 8)), ("linear", values)))
        assert_says(cube_texts(scene)[1], last, bold=True)


def test_of_a_thousand_classes_the_five_likeliest_are_shown_in_order(chain):
    logits = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    names = [f"class {i}" for i in range(1000)]
    scene = Scene(chain(np.zeros((3, 8, 8)), ("linear", logits)), class_names=names)
    share = torch.softmax(torch.from_numpy(logits).double(), 0)
    top = torch.topk(share, 5)
    texts = cube_texts(scene)
    assert len(texts) == 5
    for place, pixels in enumerate(texts):
        unit = int(top.indices[place])
        assert_says(pixels, f"class {unit}  {float(top.values[place]) * 100:.1f} %", bold=place == 0)


def test_a_vector_that_is_no_output_or_has_another_length_is_no_row_of_classes(chain):
    scene = Scene(chain(np.zeros((1, 8, 8)), ("linear", np.zeros(10)), ("linear", np.zeros(12))), class_names=NAMES)
    assert [p.look for p in scene.placements] == ["slab", "strip", "strip"]


def test_cubes_stand_in_a_column_and_the_text_beside_them(chain):
    scene = Scene(chain(np.zeros((1, 28, 28)), ("linear", np.arange(10.0))), class_names=NAMES)
    cubes = scene.slabs[scene.slabs["layer"] == 1]
    assert (np.diff(cubes["centre"][:, 1]) < -cubes["size"][0, 1]).all()
    np.testing.assert_allclose(cubes["size"], cubes["size"][0, 0])
    fronts = scene.shares.points[scene.shares.quads[::2]]
    assert (fronts[:, :, 0].min(axis=1) > cubes["centre"][:, 0] + cubes["size"][:, 0] / 2).all()
    assert (np.abs(fronts[:, :, 1].mean(axis=1) - cubes["centre"][:, 1]) < cubes["size"][:, 1] / 2).all()


def test_many_outputs_stay_within_the_page(chain):
    from tensorview.capture import Trace

    trace = chain(np.zeros((1, 8, 8)), *(("linear", np.arange(20.0)) for _ in range(60)))
    every = Trace(trace.inputs, trace.layers, tuple(layer.name for layer in trace.layers))
    scene = Scene(every, class_names=[f"a long name of class {i}" for i in range(20)])
    assert scene.page("shares").pixels.size <= 1_300_000
    assert len(cube_texts(scene)) == 20 * 8
