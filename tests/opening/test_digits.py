import numpy as np
import pytest

from tensorview.opening import prepare_digit


def blob(side, top, left, height, width, value=1.0):
    array = np.zeros((side, side), np.float32)
    array[top : top + height, left : left + width] = value
    return array


def centre(values):
    index = np.arange(28)
    return (values.sum(1) @ index) / values.sum(), (values.sum(0) @ index) / values.sum()


def extent(values, axis):
    where = np.flatnonzero((values > 0.3).any(axis=axis))
    return where[-1] - where[0] + 1


@pytest.mark.parametrize("side", [28, 64, 280, 1000])
def test_longest_side_becomes_20_and_proportions_stay(side):
    height, width = side // 2, side // 4
    values = prepare_digit(blob(side, 1, side // 3, height, width))
    assert values.shape == (28, 28)
    assert values.dtype == np.float32
    assert extent(values, 1) == pytest.approx(20, abs=1)
    assert extent(values, 0) == pytest.approx(20 * width / height, abs=1)


@pytest.mark.parametrize("corner", [(0, 0), (0, 170), (140, 0), (140, 170), (70, 85)])
def test_centre_of_mass_lies_in_the_centre_wherever_it_was_drawn(corner):
    array = np.zeros((280, 280), np.float32)
    top, left = corner
    array[top : top + 140, left : left + 30] = 1
    array[top + 110 : top + 140, left : left + 110] = 1  # an L, so the box's centre is another one
    row, column = centre(prepare_digit(array))
    assert row == pytest.approx(14, abs=0.5)
    assert column == pytest.approx(14, abs=0.5)


def test_nothing_is_cut_off_when_the_mass_is_far_out():
    array = blob(200, 10, 10, 180, 4)
    array[150:190, 10:190] = 1
    values = prepare_digit(array)
    kept = values.sum() / (array.sum() / (180 / 20) ** 2)
    assert kept == pytest.approx(1, abs=0.08)


def test_edges_are_anti_aliased():
    rows, columns = np.mgrid[0:280, 0:280]
    ring = np.abs(np.hypot(rows - 140, columns - 140) - 90) < 12
    values = prepare_digit(ring.astype(np.float32))
    between = (values > 0.1) & (values < 0.9)
    assert between.sum() > 20
    assert values.max() == pytest.approx(1.0)


def test_preparing_twice_changes_nothing():
    once = prepare_digit(blob(100, 5, 40, 70, 33))
    assert np.array_equal(prepare_digit(once), once)


def test_never_mirrored_nor_turned():
    array = blob(100, 10, 10, 80, 10)  # an L: its foot is right below
    array[80:90, 10:60] = 1
    values = prepare_digit(array)
    assert values[14:, 14:].sum() > 3 * values[:14, 14:].sum()


@pytest.mark.parametrize(
    "empty",
    [np.zeros((28, 28)), np.zeros((5, 9), np.uint8), np.zeros((0, 0)), np.full((28, 28), np.nan)],
    ids=["float", "uint8", "no pixels", "nan"],
)
def test_an_image_without_ink_gives_zeros(empty):
    assert not prepare_digit(empty).any()


def test_one_pixel_is_no_exception():
    array = np.zeros((28, 28), np.uint8)
    array[3, 4] = 255
    values = prepare_digit(array)
    assert np.isfinite(values).all()
    assert values.max() == pytest.approx(1.0)


def test_bytes_and_floats_give_the_same():
    array = (blob(60, 4, 9, 40, 12) * 255).astype(np.uint8)
    assert np.allclose(prepare_digit(array), prepare_digit(array / 255.0), atol=1e-6)


def test_faint_ink_gets_full_contrast():
    assert prepare_digit(blob(60, 4, 9, 40, 12, value=0.2)).max() == pytest.approx(1.0)


def test_colours_are_the_callers_mistake():
    with pytest.raises(ValueError, match=r"\(3, 28, 28\)"):
        prepare_digit(np.zeros((3, 28, 28)))
