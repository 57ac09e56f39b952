import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tensorview.errors import OpenError
from tensorview.opening import InputSpec, Preparation, Subject, prepare_digit


def subject(shape=(3, 8, 8), kind="image", transform=None, **spec):
    return Subject("test", nn.Identity(), InputSpec(shape, **spec), preparation=Preparation(kind, transform))


def halves(size=(40, 20)):
    """Red left, blue right."""
    image = Image.new("RGB", size, (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    return image


def test_shorter_side_is_resized_and_the_centre_kept():
    x = subject().preprocess(halves())
    assert x.shape == (1, 3, 8, 8)
    assert x.dtype == torch.float32
    wide = np.asarray(halves().resize((16, 8), Image.Resampling.BILINEAR), np.float32) / 255
    assert np.abs(x[0].numpy() - wide[:, 4:12].transpose(2, 0, 1)).max() < 0.02


def test_values_span_the_input_range():
    x = subject(low=-1.0, high=3.0).preprocess(halves((8, 8)))
    assert x[0, :, 0, 0].tolist() == [3.0, -1.0, -1.0]
    assert x[0, :, 0, -1].tolist() == [-1.0, -1.0, 3.0]


def test_normalisation_and_its_preview():
    normal = subject(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    x = normal.preprocess(halves((8, 8)))
    assert x[0, :, 0, 0].tolist() == [1.0, -1.0, 0.0]
    assert np.array_equal(normal.preview(x), np.asarray(halves((8, 8))))


def test_channels_become_what_the_model_takes():
    assert subject((1, 8, 8)).preprocess(halves((8, 8)))[0, 0, 0, 0] == pytest.approx(76 / 255, abs=1e-3)
    grey = subject((3, 8, 8)).preprocess(Image.new("L", (8, 8), 51))
    assert torch.allclose(grey, torch.full((1, 3, 8, 8), 0.2))
    assert subject((4, 8, 8)).preprocess(halves((8, 8)))[0, 3].min() == 1
    clear = subject((3, 8, 8)).preprocess(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    assert clear.min() == 1  # transparent is paper


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_arrays_in_either_layout(layout):
    array = np.asarray(halves((8, 8)))
    given = array if layout == "hwc" else array.transpose(2, 0, 1)
    expected = array.transpose(2, 0, 1) / np.float32(255)
    assert np.allclose(subject().preprocess(given)[0], expected)
    assert np.allclose(subject().preprocess(expected if layout == "chw" else expected.transpose(1, 2, 0))[0], expected)


def test_floats_of_the_right_shape_are_left_as_they_are():
    values = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    assert np.array_equal(subject().preprocess(values)[0], values)
    vector = np.arange(5.0)
    assert subject((5,)).preprocess(vector).tolist() == [[0, 1, 2, 3, 4]]


def test_integers_are_grey_levels():
    values = np.arange(64).reshape(8, 8) * 4
    assert np.allclose(subject((1, 8, 8)).preprocess(values)[0, 0], values / 255)
    digits = subject((1, 28, 28), "digit")
    array = np.zeros((28, 28), int)
    array[4:20, 9:12] = 200
    array[4:7, 12:20] = 100
    assert torch.equal(digits.preprocess(array), digits.preprocess(array.astype(np.uint8)))


def test_a_two_dimensional_array_fits_one_channel():
    values = np.random.default_rng(0).random((28, 28)).astype(np.float32)
    assert np.array_equal(subject((1, 28, 28)).preprocess(values)[0, 0], values)
    assert subject((1, 14, 14)).preprocess(values).shape == (1, 1, 14, 14)


def saved(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize("kind", ["image", "digit"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint16, np.uint64, bool])
def test_numbers_in_a_file_are_taken_as_they_are(tmp_path, kind, dtype):
    values = np.arange(256).reshape(1, 16, 16).astype(dtype)
    values[0, 5, 5] = 300
    for array in (values, values[0]):
        x = subject((1, 16, 16), kind).read(saved(tmp_path / "x.npy", array))
        assert x.dtype == torch.float32
        assert np.array_equal(x[0].numpy(), values.astype(np.float32))
    own = subject((1, 16, 16), transform=lambda image: 1 / 0)
    assert np.array_equal(own.read(saved(tmp_path / "x.npy", values))[0].numpy(), values.astype(np.float32))


def test_numbers_in_a_file_may_have_channels_last(tmp_path):
    values = np.random.default_rng(0).normal(size=(8, 8, 3)).astype(np.float32)
    x = subject().read(saved(tmp_path / "x.npy", values))
    assert np.array_equal(x[0].numpy(), values.transpose(2, 0, 1))


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.parametrize("shape", [(1, 15, 16), (3, 16, 16), (1, 0, 16), (16, 15), (1, 1, 16, 16), (256,), ()])
def test_numbers_in_a_file_of_another_shape_are_refused(tmp_path, shape, dtype):
    path = saved(tmp_path / "x.npy", np.zeros(shape, dtype))
    with pytest.raises(OpenError) as caught:
        subject((1, 16, 16)).read(path)
    assert str(path) in str(caught.value)
    assert f"shape {shape}, but the input is (1, 16, 16)" in str(caught.value)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (3, 20, 30), (1, 20, 30)])
def test_bytes_in_a_file_are_a_picture_of_any_size(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for each in (subject(), subject((1, 8, 8)), subject((1, 28, 28), "digit")):
        assert torch.equal(each.read(saved(tmp_path / "x.npy", array)), each.preprocess(array))
    for wrong in ((1, 0, 8), (2, 3, 8, 8), (7,)):
        with pytest.raises(OpenError, match="shape"):
            subject().read(saved(tmp_path / "x.npy", np.zeros(wrong, np.uint8)))


def test_tokens_in_a_file_are_whole_numbers(tmp_path):
    tokens = subject((5,), dtype="int64")
    for dtype in (np.uint8, np.int32, np.float32, np.uint64):
        x = tokens.read(saved(tmp_path / "x.npy", np.array([1, 2, 3, 4, 5], dtype)))
        assert x.dtype == torch.int64
        assert x.tolist() == [[1, 2, 3, 4, 5]]
    for odd in (1.5, np.nan, np.inf):
        with pytest.raises(OpenError, match="not all of it is whole: the input is int64"):
            tokens.read(saved(tmp_path / "x.npy", np.array([odd, 2, 3, 4, 5])))


def test_digit_is_prepared_or_left():
    digits = subject((1, 28, 28), "digit")
    array = np.zeros((28, 28), np.float32)
    array[2:12, 3:6] = 1
    assert np.array_equal(digits.preprocess(array)[0, 0], prepare_digit(array))
    assert np.array_equal(digits.preprocess(array, prepare=False)[0, 0], array)
    as_bytes = digits.preprocess((array * 255).astype(np.uint8), prepare=False)
    assert np.array_equal(as_bytes[0, 0], array)


def test_dark_ink_on_paper_is_inverted():
    array = np.zeros((56, 56), np.uint8)
    array[10:40, 20:26] = 255
    digits = subject((1, 28, 28), "digit")
    paper = digits.preprocess(Image.fromarray(255 - array))
    assert torch.allclose(paper, digits.preprocess(array), atol=0.02)
    assert torch.allclose(paper, digits.preprocess(Image.fromarray(255 - array).convert("RGB")), atol=0.02)


def test_digit_for_a_model_of_another_size():
    assert subject((1, 32, 32), "digit").preprocess(np.eye(28)).shape == (1, 1, 32, 32)


def test_empty_digit_gives_zeros():
    digits = subject((1, 28, 28), "digit")
    assert not digits.preprocess(np.zeros((28, 28), np.uint8)).any()
    assert not digits.preprocess(Image.new("RGB", (300, 200), "white")).any()


def test_the_models_own_preprocess_comes_first():
    seen = []

    def own(image):
        seen.append(image)
        return torch.full((3, 8, 8), 0.5)

    x = subject(transform=own).preprocess(np.zeros((5, 5), np.uint8))
    assert torch.equal(x, torch.full((1, 3, 8, 8), 0.5))
    assert seen[0].size == (5, 5)


def test_a_faulty_preprocess_is_named():
    with pytest.raises(OpenError, match=r"gave \(3, 9, 9\), but its input is \(3, 8, 8\)"):
        subject(transform=lambda image: torch.zeros(3, 9, 9)).preprocess(halves())
    with pytest.raises(OpenError, match="raised ZeroDivisionError"):
        subject(transform=lambda image: 1 / 0).preprocess(halves())


@pytest.mark.parametrize("array", [np.zeros((2, 3, 4, 5)), np.zeros(7), np.zeros((8, 8, 2)), np.array(["a"])])
def test_arrays_that_are_no_image(array):
    with pytest.raises(OpenError, match=r"no image|no input"):
        subject().preprocess(array)


def test_a_model_that_takes_no_image_says_so():
    with pytest.raises(OpenError, match=r"takes \(5,\), which is no image"):
        subject((5,)).preprocess(halves())


def test_preview_of_one_channel():
    digits = subject((1, 28, 28), "digit")
    array = np.zeros((28, 28), np.uint8)
    array[4:9, 4:6] = 255
    assert np.array_equal(digits.preview(digits.preprocess(array, prepare=False)), array)
    with pytest.raises(OpenError, match="has no picture"):
        subject((5,)).preview(torch.zeros(1, 5))
