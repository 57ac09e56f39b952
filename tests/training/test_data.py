"""Data sets: digits, a folder of images, and those that torchvision fetches."""

from __future__ import annotations

import gzip
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tensorview.errors import OpenError
from tensorview.opening import InputSpec, prepare_digit
from tensorview.training.augmentation import Augmentation
from tensorview.training.data import Data, open_data, resized


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data("digits")


def test_digits_are_divided_once_and_for_all(digits: Data) -> None:
    again = open_data("digits")
    assert torch.equal(again.held_out.pixels, digits.held_out.pixels)
    assert (len(digits.train), len(digits.held_out)) == (1437, 360)
    assert digits.train.pixels.shape[1:] == (1, 28, 28)
    shares = [np.bincount(part.labels, minlength=10) / len(part) for part in (digits.train, digits.held_out)]
    np.testing.assert_allclose(*shares, atol=0.003)
    both = torch.cat([digits.train.pixels, digits.held_out.pixels]).flatten(1)
    held_out = {row.numpy().tobytes() for row in digits.held_out.pixels.flatten(1)}
    assert len(both) == 1797
    assert not held_out & {row.numpy().tobytes() for row in digits.train.pixels.flatten(1)}


def test_digits_lie_where_a_drawn_digit_is_put(digits: Data) -> None:
    ink = digits.train.pixels[:, 0].float()
    places = torch.arange(28.0)
    rows = (ink.sum(2) * places).sum(1) / ink.sum((1, 2))
    assert abs(rows.mean().item() - 14) < 0.5
    image = digits.held_out.pictures([3])[0]
    np.testing.assert_allclose(digits.prepared(image)[0, 0], prepare_digit(image))


def test_resizing_keeps_means_and_changes_channels() -> None:
    pixels = torch.randint(0, 255, (3, 1, 40, 40), dtype=torch.uint8)
    small = resized(pixels, (3, 20, 20))
    assert small.shape == (3, 3, 20, 20)
    assert torch.equal(small[:, 0], small[:, 2])
    torch.testing.assert_close(small.float().mean((1, 2, 3)), pixels.float().mean((1, 2, 3)), atol=1.5, rtol=0)
    assert resized(pixels, (1, 40, 40)) is pixels


def test_values_follow_the_networks_normalisation(digits: Data) -> None:
    spec = InputSpec((3, 32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    fitted = digits.fitted(spec)
    x = fitted.inputs(fitted.train.pixels[:2])
    wanted = (fitted.train.pixels[:2, 1].double() / 255 - 0.5) / 0.2
    torch.testing.assert_close(x[:, 1].double(), wanted, atol=1e-6, rtol=1e-5)
    with pytest.raises(OpenError, match=r"takes \(784,\); to train it here"):
        digits.fitted(InputSpec((784,)))


# Augmentation ------------------------------------------------------------------------------------------------------


def test_nothing_is_moved_without_being_asked() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert Augmentation()(images, torch.Generator()) is images


def test_images_are_mirrored_whole() -> None:
    images = torch.rand(40, 3, 8, 8)
    moved = Augmentation(flip=True)(images, torch.Generator().manual_seed(1))
    same = [bool(torch.equal(a, b)) for a, b in zip(images, moved, strict=True)]
    mirrored = [bool(torch.equal(a.flip(2), b)) for a, b in zip(images, moved, strict=True)]
    assert [a or b for a, b in zip(same, mirrored, strict=True)] == [True] * 40
    assert 8 < sum(mirrored) < 32


def test_images_are_moved_as_torchs_affine_grid_moves_them() -> None:
    """All at once, against one by one: the sampled places of a picture of its own coordinates."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, 20) * 19 / 20, torch.linspace(-1, 1, 30) * 29 / 30, indexing="ij"
    )
    places = torch.stack([columns, rows]).expand(50, 2, 20, 30)
    moved = Augmentation(rotation=20, scale=0.2, shift=1)(places, torch.Generator().manual_seed(0))
    inner = (slice(6, 14), slice(9, 21))  # whose sources are all inside
    for each in moved:
        found = each[:, inner[0], inner[1]].flatten(1)
        known = torch.cat([places[0][:, inner[0], inner[1]].flatten(1), torch.ones(1, found.shape[1])])
        matrix = torch.linalg.lstsq(known.T, found.T).solution.T
        grid = torch.nn.functional.affine_grid(matrix[None], [1, 2, 20, 30], align_corners=False)
        expected = torch.nn.functional.grid_sample(places[:1], grid, align_corners=False)[0]
        torch.testing.assert_close(each, expected, atol=2e-4, rtol=0)
    turned = moved[:, 0, 10, 15] - moved[:, 0, 10, 14]
    assert turned.std() > 0.001, "each by another"


@pytest.mark.parametrize("kind", [Augmentation(shift=2), Augmentation(rotation=10), Augmentation(scale=0.1)])
def test_images_move_no_further_than_they_may(kind: Augmentation) -> None:
    dot = torch.zeros(200, 1, 33, 21)
    dot[:, :, 16 - 8, 10] = 1.0  # eight pixels above the middle
    moved = kind(dot, torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(21.0), indexing="ij")
    mass = moved.sum((1, 2, 3))
    y, x = (moved[:, 0] * rows).sum((1, 2)) / mass - 8, (moved[:, 0] * columns).sum((1, 2)) / mass - 10
    far = max(y.abs().max().item(), x.abs().max().item())
    most = {"shift": 2.0, "rotation": 8 * np.sin(np.radians(10)), "scale": 0.1 * 8 / 0.9}
    (allowed,) = (most[name] for name in most if getattr(kind, name))
    assert 0.5 * allowed < far < allowed + 0.1


# A folder ----------------------------------------------------------------------------------------------------------


def draw(path: Path, colour: Any, size: tuple[int, int] = (40, 32), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_a_folder_has_a_folder_for_each_class(tmp_path: Path) -> None:
    for k in range(10):
        draw(tmp_path / "warm" / f"{k}.png", (200 + k, 20, 20))
        draw(tmp_path / "cold" / "deeper" / f"{k}.jpg", (20, 20, 200 + k), (50, 90))
    (tmp_path / "warm" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    (tmp_path / "warm" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    seen: list[float | None] = []
    data = open_data(tmp_path, lambda share, what: seen.append(share))
    assert data.class_names == ("cold", "warm")
    assert (len(data.train), len(data.held_out)) == (16, 4)
    assert sorted(data.held_out.labels.tolist()) == [0, 0, 1, 1]
    assert data.input_spec.shape[0] == 3
    assert data.notes == ("Left out, since they cannot be read: warm/broken.png.",)
    assert seen[0] == 0
    for part in (data.train, data.held_out):
        red = part.pixels[:, 0].float().mean((1, 2)) > part.pixels[:, 2].float().mean((1, 2))
        assert torch.equal(red.long(), part.labels)


def test_grey_images_stay_grey_and_large_ones_are_reduced(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for k in range(3):
            draw(tmp_path / name / f"{k}.png", 90, (300, 200), "L")
    data = open_data(tmp_path)
    assert data.input_spec.shape == (1, 64, 64)
    assert data.train.pixels.unique().tolist() == [90]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has images in 0 folders; it needs two or more"),
        (["a/1.png", "a/2.png"], "has images in 1 folders"),
        (["a/1.png", "a/2.png", "b/1.png"], "The class 'b' has 1 readable images; it needs 2"),
    ],
)
def test_a_folder_that_is_no_data_is_one_sentence(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        draw(tmp_path / name, (9, 9, 9))
    with pytest.raises(OpenError, match=message):
        open_data(tmp_path)


def test_names_that_are_not_there() -> None:
    with pytest.raises(OpenError, match="no data 'nowhere/at-all'"):
        open_data("nowhere/at-all")


# Downloads ---------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def put_mnist(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 20), ("t10k", 10)):
        images = np.full((count, 28, 28), 7, np.uint8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(count, dtype=np.uint8) % 10)))


class FakeTorchvision:
    """A torchvision whose MNIST does what it is told to when it is asked to download."""

    def __init__(self, download: Any) -> None:
        def make(root: str, download: bool) -> None:
            assert download
            self.calls.append(Path(root))
            self.how(Path(root))

        self.calls: list[Path] = []
        self.how = download
        self.datasets = SimpleNamespace(MNIST=make)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TENSORVIEW_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_mnist_that_is_on_the_disk_is_read_without_torchvision(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mnist(root)
    monkeypatch.setattr("tensorview.training.downloads.import_torchvision", lambda: pytest.fail("imported"))
    data = open_data("mnist")
    assert (len(data.train), len(data.held_out)) == (20, 10)
    assert data.held_out.labels.tolist() == list(range(10))
    assert data.preparation.kind == "digit"


def test_a_download_that_fails_half_way_leaves_nothing_and_the_next_one_works(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_way(folder: Path) -> None:
        (folder / "MNIST" / "raw").mkdir(parents=True)
        (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03 half")
        raise urllib.error.URLError("Connection reset by peer")

    fake = FakeTorchvision(half_way)
    monkeypatch.setattr("tensorview.training.downloads.import_torchvision", lambda: fake)
    said: list[tuple[float | None, str]] = []
    with pytest.raises(OpenError, match=r"MNIST could not be downloaded \(Connection reset by peer\): .*choose digits"):
        open_data("mnist", lambda share, what: said.append((share, what)))
    assert said[0] == (0.0, "Downloading MNIST (66 MB unpacked).")
    assert list(root.iterdir()) == []
    fake.how = put_mnist
    assert len(open_data("mnist").train) == 20
    assert [path.name for path in root.iterdir()] == ["MNIST"]
    assert len(fake.calls) == 2
    open_data("mnist")
    assert len(fake.calls) == 2


def test_broken_files_are_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mnist(root)
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"half")
    (root / ".unfinished-MNIST-killed").mkdir()
    fake = FakeTorchvision(put_mnist)
    monkeypatch.setattr("tensorview.training.downloads.import_torchvision", lambda: fake)
    assert len(open_data("mnist").train) == 20
    assert [path.name for path in root.iterdir()] == ["MNIST"]


def test_a_download_tells_how_far_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[float | None] = []

    def slowly(folder: Path) -> None:
        put_mnist(folder)
        with (folder / "MNIST" / "more").open("wb") as file:
            file.truncate(33_250_000)
        while len(said) < 3:
            pass

    fake = FakeTorchvision(slowly)
    monkeypatch.setattr("tensorview.training.downloads.import_torchvision", lambda: fake)
    open_data("mnist", lambda share, what: said.append(share))
    assert said[0] == 0.0
    assert said[-1] == pytest.approx(0.5, abs=0.01)


def test_colour_images_are_turned_the_way_torch_has_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)

    def cifar(root: Path, train: bool, download: bool) -> SimpleNamespace:
        return SimpleNamespace(data=pixels, targets=[0, 1, 0, 1, 0, 1], classes=["airplane", "automobile"])

    fake = SimpleNamespace(datasets=SimpleNamespace(CIFAR10=cifar))
    monkeypatch.setattr("tensorview.training.downloads.import_torchvision", lambda: fake)
    data = open_data("cifar10")
    assert data.class_names == ("airplane", "automobile")
    assert data.input_spec.shape == (3, 32, 32)
    np.testing.assert_array_equal(data.train.pictures([2, 4]), pixels[[2, 4]])
    np.testing.assert_array_equal(data.train.pixels[1, 2].numpy(), pixels[1, :, :, 2])
