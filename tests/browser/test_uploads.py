"""Pictures of one's own: every way in, every format, and files that are none."""

from __future__ import annotations

import base64
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tensorview.app.rules import MOST_UPLOAD_BYTES

from .visit import Visit

pytestmark = pytest.mark.browser

FIRE = """([type, kind, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], "held.png", { type: "image/png" }));
    const options = { clipboardData: files, dataTransfer: files, bubbles: true, cancelable: true };
    document.body.dispatchEvent(new window[type](kind, options));
}"""


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 48, height: int = 32, seed: int = 1) -> Image.Image:
    """A smooth picture in colour, different in every corner."""
    colours = np.random.default_rng(seed).integers(0, 200, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def upload(visit: Visit, content: bytes, name: str = "picture.png") -> str:
    """Upload and wait until all is done; returns the sentence that the page says, empty for none."""
    visit.choose(message="")
    visit.upload(content, name)
    visit.wait_until(
        "!document.querySelector('.tv-drop--busy') && document.querySelector('[data-testid=upload]').value === ''"
    )
    visit.settle()
    return visit.page.evaluate("trame.state.get('message')")


def check_input(visit: Visit, image: Image.Image) -> None:
    """The network has received this picture, and the page shows just that and the five likeliest classes."""
    subject = visit.viewer.session.subject
    x = subject.preprocess(image)
    np.testing.assert_array_equal(visit.scene.trace["input"].values, x[0].numpy())
    pixels = np.rint(x[0].numpy().transpose(1, 2, 0) * 255)
    np.testing.assert_array_equal(visit.preview(), pixels)
    with torch.no_grad():
        shares = torch.softmax(subject.module(x)[0].double(), 0)
    top = shares.topk(5)
    rows = visit.page.locator("[data-testid^=prob-]")
    assert rows.count() == 5
    for row, share, index in zip(rows.all(), top.values.tolist(), top.indices.tolist(), strict=True):
        assert row.get_attribute("data-testid") == f"prob-{index}"
        assert float(row.get_attribute("data-share")) == pytest.approx(share, abs=1e-6)
        assert subject.class_names[index] in row.inner_text()
    best = subject.class_names[int(top.indices[0])]
    assert visit.find("prediction-text").inner_text() == f"This is {best} ({100 * float(top.values[0]):.1f} %)"


def test_every_format_and_shape_arrives_as_the_model_receives_it(animals: Visit) -> None:
    assert animals.find("digit-pad").count() == 0, "nobody draws in colour"
    for number, (kind, name, size) in enumerate(
        [
            ("PNG", "a.png", (48, 32)),
            ("JPEG", "b.jpg", (40, 90)),
            ("WEBP", "c.webp", (17, 16)),
            ("PNG", "d.png", (1, 1)),
        ]
    ):
        content = encoded(photo(*size, seed=number), kind)
        assert upload(animals, content, name) == ""
        check_input(animals, Image.open(BytesIO(content)).convert("RGB"))


def test_a_photo_of_many_megapixels_arrives(animals: Visit) -> None:
    content = encoded(photo(4000, 3000), "JPEG", quality=60)
    assert upload(animals, content, "huge.jpg") == ""
    check_input(animals, Image.open(BytesIO(content)))


def test_paste_and_drop_do_as_the_button_does(animals: Visit) -> None:
    for number, (event, kinds) in enumerate([("ClipboardEvent", ["paste"]), ("DragEvent", ["dragover", "drop"])]):
        image = photo(seed=20 + number)
        for kind in kinds:
            animals.page.evaluate(FIRE, [event, kind, base64.b64encode(encoded(image, "PNG")).decode()])
        animals.wait_until("!document.querySelector('.tv-drop--busy')")
        animals.settle()
        check_input(animals, image)


def bomb() -> bytes:
    """A PNG of a few kilobytes that says, truly, that it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(2**20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"this is no picture", "notes.png", "not an image that opens here"),
        (b"", "empty.png", "not an image that opens here"),
        (encoded(photo(300, 300), "PNG")[:900], "half.png", "broken or cut short"),
        (bomb(), "bomb.png", "60,000 x 60,000 pixels; at most 64 megapixels open"),
        (b"GIF89a" + bytes(40), "moving.gif", "is image/gif, and only PNG, JPEG or WEBP can be read"),
    ],
)
def test_a_file_that_is_no_picture_gets_one_sentence(animals: Visit, content: bytes, name: str, said: str) -> None:
    before = animals.scene.trace["input"].values
    message = upload(animals, content, name)
    assert said in message
    assert message.endswith(".")
    assert "\n" not in message
    assert "Traceback" not in message
    shown = animals.page.locator(".v-snackbar__content")
    shown.wait_for()
    assert shown.inner_text() == message
    np.testing.assert_array_equal(animals.scene.trace["input"].values, before)
    assert upload(animals, encoded(photo(), "PNG")) == "", "the next one is welcome"
    check_input(animals, photo())


def test_a_forward_that_raises_says_where_and_shows_what_ran(animals: Visit) -> None:
    message = upload(animals, encoded(Image.new("RGB", (20, 20), "white"), "PNG"))
    assert "this is too white" in message
    names = [layer.name for layer in animals.scene.layers]
    assert names == ["input", "same", "stem"], "what ran is drawn"
    animals.settle()
    np.testing.assert_allclose(animals.points(), animals.scene.cells.points, rtol=1e-6)
    assert animals.page.locator("[data-testid^=prob-]").count() == 0
    assert upload(animals, encoded(photo(), "PNG")) == ""
    check_input(animals, photo())
    assert len(animals.scene.layers) > 8


def test_a_photo_of_a_digit_is_read_too(digits: Visit) -> None:
    """Dark ink on paper, photographed: found, inverted and centred."""
    sample = next(s for s in digits.viewer.session.subject.samples if s.label == 5)
    paper = Image.new("L", (400, 300), 235)
    ink = Image.fromarray(255 - sample.image).resize((140, 140)).point(lambda v: min(v, 235))
    paper.paste(ink, (200, 80))
    content = encoded(paper, "JPEG", quality=92)
    assert upload(digits, content, "photo.jpg") == ""
    assert digits.find("prediction-text").inner_text().startswith("You wrote a 5 (")
    expected = digits.viewer.session.subject.preprocess(Image.open(BytesIO(content)))[0, 0].numpy()
    np.testing.assert_array_equal(digits.preview(), np.rint(expected * 255))
    held = digits.page.evaluate("Array.from(pad.ink.raster(pad.fit))")
    np.testing.assert_array_equal(np.reshape(held, (28, 28)), digits.preview())


def test_the_largest_file_that_is_sent_arrives_and_a_larger_one_is_refused_in_words(
    digits: Visit, tmp_path: Path
) -> None:
    for size, expected in (
        (MOST_UPLOAD_BYTES, "not an image that opens here"),
        (MOST_UPLOAD_BYTES + 1, "large.png has 33.5 MB, and at most 33.4 MB can be sent."),
    ):
        (tmp_path / "large.png").write_bytes(bytes(size))
        digits.choose(message="")
        digits.find("upload").set_input_files(tmp_path / "large.png")
        digits.wait_until("(said) => trame.state.get('message').includes(said)", expected)
    assert upload(digits, encoded(photo(), "PNG")) == "", "the connection has lasted"
