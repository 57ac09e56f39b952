import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tensorview.errors import OpenError
from tensorview.opening import open_array, open_image, open_input

RGB = np.zeros((4, 6, 3), np.uint8)
RGB[0, 0] = 255, 0, 0


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (body, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("GIF", {})])
def test_lossless_formats_give_the_pixels(tmp_path, kind, options):
    path = tmp_path / "picture"
    path.write_bytes(encoded(Image.fromarray(RGB), kind, **options))
    for source in (path, str(path), path.read_bytes()):
        assert np.array_equal(np.asarray(open_image(source).convert("RGB")), RGB)


def test_jpeg_is_near():
    image = open_image(encoded(Image.new("RGB", (30, 20), (10, 200, 90)), "JPEG"))
    assert image.size == (30, 20)
    assert np.abs(np.asarray(image).astype(int) - (10, 200, 90)).max() < 6


def test_exif_orientation_is_respected():
    image = Image.new("L", (40, 20))
    image.paste(255, (0, 0, 10, 20))  # bright at the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes top
    upright = np.asarray(open_image(encoded(image, "JPEG", exif=exif)))
    assert upright.shape == (40, 20)
    assert upright[:8].min() > 200
    assert upright[12:].max() < 50


def test_first_frame_of_an_animation():
    frames = [Image.new("L", (5, 5), level) for level in (50, 200)]
    image = open_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert np.asarray(image.convert("L")).max() == 50


@pytest.mark.parametrize(
    ("mode", "opened"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("I;16", "L")],
)
def test_modes_become_plain(mode, opened):
    assert open_image(encoded(Image.new(mode, (3, 3)), "PNG")).mode == opened


def test_sixteen_bits_keep_their_range():
    values = np.array([[0, 65535, 32768]], np.uint16)
    assert np.asarray(open_image(encoded(Image.fromarray(values), "PNG"))).tolist() == [[0, 255, 128]]


@pytest.mark.parametrize("side", [10_000, 20_000, 1_000_000])
def test_decompression_bombs_are_refused_by_their_header(side):
    with pytest.raises(OpenError, match=f"{side:,} x {side:,} pixels; at most 64 megapixels"):
        open_image(png_header(side, side))


def test_too_many_bytes(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(33 * 2**20)
    with pytest.raises(OpenError, match=r"33.0 MiB; at most 32 MiB"):
        open_image(path)
    with pytest.raises(OpenError, match="at most 32 MiB"):
        open_image(bytes(33 * 2**20))


def test_what_is_no_image(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    postscript = tmp_path / "figure.png"
    postscript.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    for path in (text, postscript):
        with pytest.raises(OpenError, match=f"{path.name} is not an image that opens here"):
            open_image(path)
    with pytest.raises(OpenError, match="The image is not an image"):
        open_image(b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["pipe.png", "pipe.npy"])
def test_devices_and_pipes_are_not_read(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for path in (tmp_path / name, "/dev/zero", "/dev/null"):
        with pytest.raises(OpenError, match="is a device or a pipe, not a file"):
            open_input(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(OpenError, match=r"There is no file .*missing\.png"):
        open_image(tmp_path / "missing.png")
    with pytest.raises(OpenError, match="is a folder"):
        open_image(tmp_path)
    with pytest.raises(OpenError, match="cannot be read"):
        open_image("null\0byte.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_files_cut_short_are_named_broken(kind):
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    for share in (0.1, 0.5):
        with pytest.raises(OpenError, match=r"broken or cut short|is not an image"):
            open_image(whole[: int(len(whole) * share)])


def test_npy_arrays(tmp_path):
    path = tmp_path / "x.npy"
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.save(path, values)
    assert np.array_equal(open_array(path), values)
    assert np.array_equal(open_input(path), values)


@pytest.mark.parametrize("dtype", [">f4", ">i2", ">u8", np.longdouble, np.float16, bool])
def test_npy_numbers_of_any_type_are_ones_that_torch_takes(tmp_path, dtype):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    opened = open_array(tmp_path / "x.npy")
    assert np.array_equal(torch.from_numpy(opened).to(torch.float64), values)
    assert opened.dtype.kind == values.dtype.kind


@pytest.mark.parametrize("header", [b"(" * 5000, b"-" * 9000, b"{'descr': 'f4', 'shape': (1,", b"\0", b"{[]: 1}"])
def test_npy_with_a_broken_header_is_refused(tmp_path, header):
    path = tmp_path / "x.npy"
    path.write_bytes(np.lib.format.magic(1, 0) + struct.pack("<H", len(header) + 1) + header + b"\n")
    with pytest.raises(OpenError, match=r"not a whole \.npy file of numbers"):
        open_array(path)


def test_npy_that_lies_or_carries_code_is_refused(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(OpenError, match=r"not a whole \.npy file of numbers"):
        open_array(path)
    path.write_bytes(
        np.lib.format.magic(1, 0)
        + struct.pack("<H", 118)
        + (b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }".ljust(117) + b"\n")
    )
    with pytest.raises(OpenError, match=r"not a whole \.npy file of numbers"):
        open_array(path)
    np.save(path, np.array(["text"]))
    with pytest.raises(OpenError, match="not numbers"):
        open_array(path)
