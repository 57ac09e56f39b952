import gzip
import logging

import numpy as np
import pytest

from tensorview.errors import OpenError
from tensorview.opening import open_model
from tensorview.opening.mnist import load_mnist, mnist_root
from tensorview.opening.samples import read_samples

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture(params=["plain", "gz"])
def root(request, tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, array in (("t10k-images-idx3-ubyte", IMAGES), ("t10k-labels-idx1-ubyte", LABELS)):
        if request.param == "gz":
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return tmp_path


def test_mnist_is_read(root):
    images, labels = load_mnist(root, train=False)
    assert np.array_equal(images, IMAGES)
    assert np.array_equal(labels, LABELS)
    with pytest.raises(OpenError, match="train-images-idx3-ubyte is missing"):
        load_mnist(root, train=True)


def test_random_digits_come_from_mnist_where_it_is(root, monkeypatch):
    monkeypatch.setenv("TENSORVIEW_MNIST", str(root))
    assert mnist_root() == root
    subject = open_model("lenet5")
    assert len(subject.pool) == 5
    sample = subject.random_sample(np.random.default_rng(0))
    assert np.array_equal(sample.image, IMAGES[list(LABELS).index(sample.label)]) or sample.label == 1
    assert len(subject.samples) == 10


def test_broken_mnist_falls_back_and_says_so(root, monkeypatch, caplog):
    for path in (root / "MNIST" / "raw").glob("t10k-images*"):
        path.write_bytes(path.read_bytes()[:30])
    monkeypatch.setenv("TENSORVIEW_MNIST", str(root))
    with caplog.at_level(logging.WARNING):
        pool = open_model("lenet5").pool
    assert len(pool) == 200
    assert "is not a whole MNIST file" in caplog.text


def test_without_mnist_the_shipped_pool_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORVIEW_MNIST", str(tmp_path))
    assert mnist_root() is None
    assert len(open_model("lenet5").pool) == 200


def test_samples_without_a_pool_are_their_own(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, images=IMAGES, labels=LABELS)
    samples, pool = read_samples(path)
    assert [sample.label for sample in samples] == LABELS.tolist()
    assert [sample.label for sample in pool()] == LABELS.tolist()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": IMAGES}, "needs the arrays images and labels"),
        ({"images": IMAGES, "labels": LABELS[:3]}, r"images \(5, 28, 28\) uint8 and labels \(3,\)"),
        ({"images": IMAGES / 255, "labels": LABELS}, "float64"),
        ({"images": np.array([object()]), "labels": LABELS}, "not a whole .npz file"),
    ],
)
def test_samples_that_are_wrong(tmp_path, arrays, words):
    path = tmp_path / "s.npz"
    np.savez(path, **arrays)
    with pytest.raises(OpenError, match=words):
        read_samples(path)


def test_a_file_that_is_no_archive(tmp_path):
    path = tmp_path / "s.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(OpenError, match=r"not a whole \.npz file"):
        read_samples(path)
