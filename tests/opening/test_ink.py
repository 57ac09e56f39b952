import numpy as np
import pytest
from PIL import Image, ImageDraw

from tensorview.opening.ink import find_ink


def bar(mode, paper, pen, size=(80, 60)):
    image = Image.new(mode, size, paper)
    ImageDraw.Draw(image).rectangle((20, 10, 29, 49), fill=pen)
    return image


TRUTH = np.zeros((60, 80), bool)
TRUTH[10:50, 20:30] = True


@pytest.mark.parametrize(
    "image",
    [
        bar("L", 255, 0),
        bar("L", 0, 255),
        bar("L", 150, 40),
        bar("RGB", "white", "darkblue"),
        bar("RGB", "darkgreen", "white"),
        bar("RGBA", (0, 0, 0, 0), "black"),
        bar("RGBA", (255, 255, 255, 0), "white"),
        bar("LA", (0, 0), (0, 255)),
        bar("P", 0, 1),
        bar("1", 1, 0),
        bar("CMYK", (0, 0, 0, 0), (0, 0, 0, 255)),
        Image.fromarray(np.where(TRUTH, 1000, 60000).astype(np.uint16)),
        Image.fromarray(np.where(TRUTH, 1000, 60000).astype(np.int32)),
        Image.fromarray(np.where(TRUTH, 1.0, 0.0).astype(np.float32)),
    ],
    ids=lambda image: f"{image.mode} {image.getpixel((0, 0))}",
)
def test_ink_is_found_on_any_paper(image):
    if image.mode == "P":
        image.putpalette([255, 255, 255, 200, 0, 0])
    ink = find_ink(image)
    assert ink.dtype == np.float32
    assert np.array_equal(ink > 0.5, TRUTH)
    assert ink[~TRUTH].max() < 0.05


def test_blank_pictures_have_no_ink():
    for level in (0, 90, 255):
        assert not find_ink(Image.new("L", (40, 40), level)).any()
    assert not find_ink(Image.new("RGBA", (40, 40), (0, 0, 0, 0))).any()


def test_paper_under_uneven_light():
    light = np.linspace(255, 150, 80)[None, :] * np.linspace(1, 0.85, 60)[:, None]
    noise = np.random.default_rng(0).normal(0, 3, TRUTH.shape)
    photo = np.where(TRUTH, 40, light) + noise
    ink = find_ink(Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8)))
    assert np.array_equal(ink > 0.5, TRUTH)
    assert ink[~TRUTH].max() < 0.2


def test_large_pictures_are_reduced():
    ink = find_ink(bar("L", 255, 0).resize((4000, 3000), Image.Resampling.NEAREST))
    assert ink.shape == (384, 512)
    assert ink.mean() == pytest.approx(TRUTH.mean(), abs=0.005)
