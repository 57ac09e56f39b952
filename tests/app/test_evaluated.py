"""An evaluation in the page's words: numbers, colours, which examples are right, and their pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from tensorview.app.evaluated import COLUMNS, evaluated, sheet
from tensorview.runs import Evaluation

NAMES = ("ant", "bee", "cat")


def made(count: int = 60, classes: int = 3, shown: int = 8) -> tuple[Evaluation, np.ndarray, np.ndarray]:
    """An evaluation, and the truths and answers that it is of."""
    random = np.random.default_rng(3)
    truth, guess = random.integers(0, classes, count), random.integers(0, classes, count)
    probabilities = np.sort(random.dirichlet(np.ones(classes), shown), axis=1)[:, ::-1]
    top = np.stack([random.permutation(classes) for _ in range(shown)])
    found = Evaluation(
        confusion_matrix(truth, guess, labels=range(classes)),
        recall_score(truth, guess, labels=range(classes), average=None),
        random.integers(0, 256, (shown, 5, 4), dtype=np.uint8),
        truth[:shown],
        top[:, :3],
        probabilities[:, :3],
        ("relu1: dead",),
    )
    return found, truth, guess


def test_numbers_are_those_of_scikit_learn() -> None:
    found, truth, guess = made()
    said = evaluated(found, NAMES, 70)
    assert said["accuracy"] == f"{100 * accuracy_score(truth, guess):.1f} %"
    assert said["text"] == f"{int((truth == guess).sum())} of 60 held-out examples are recognised."
    assert [[cell["count"] for cell in row["cells"]] for row in said["rows"]] == confusion_matrix(truth, guess).tolist()
    assert [row["name"] for row in said["rows"]] == list(NAMES)
    np.testing.assert_allclose(
        [each["share"] for each in said["classes"]], recall_score(truth, guess, average=None), rtol=1e-12
    )
    cell = said["rows"][1]["cells"][2]
    assert cell["title"] == f"{cell['count']} of class bee taken for cat"
    assert cell["share"] == round(((truth == 1) & (guess == 2)).sum() / (truth == 1).sum(), 3)


def test_examples_say_what_they_are_and_what_the_network_takes_them_for() -> None:
    found, truth, _ = made()
    for k, each in enumerate(evaluated(found, NAMES, 0)["shown"]):
        assert each["truth"] == NAMES[truth[k]]
        assert each["right"] == (found.top[k, 0] == truth[k])
        assert [bar["name"] for bar in each["bars"]] == [NAMES[c] for c in found.top[k]]
        assert [bar["true"] for bar in each["bars"]] == [c == truth[k] for c in found.top[k]]


def test_the_sheet_has_each_picture_in_its_place() -> None:
    found, _, _ = made()
    said = evaluated(found, NAMES, 0)
    content = base64.b64decode(said["sheet"]["picture"].partition("base64,")[2])
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    assert pixels.shape == (said["sheet"]["rows"] * 5, COLUMNS * 4)
    for each, image in zip(said["shown"], found.images, strict=True):
        row, column = each["row"] * 5, each["column"] * 4
        np.testing.assert_array_equal(pixels[row : row + 5, column : column + 4], image)
    assert sheet(np.zeros((0, 5, 4), np.uint8)) is None
    assert sheet(np.ones((7, 5, 4, 3), np.uint8)).shape == (10, COLUMNS * 4, 3)


def test_many_classes_are_a_picture_without_numbers() -> None:
    found, truth, guess = made(900, 30)
    said = evaluated(found, (), 0)
    assert said["rows"] == []
    content = base64.b64decode(said["matrix"].partition("base64,")[2])
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    shares = confusion_matrix(truth, guess, normalize="true")
    np.testing.assert_allclose(pixels, 255 * np.sqrt(shares), atol=0.51)
    assert said["classes"][29]["name"] == "class 29"


def test_a_network_that_gives_nan_is_right_about_nothing() -> None:
    found, _, _ = made()
    broken = Evaluation(
        np.zeros((3, 3), int),
        np.full(3, np.nan),
        found.images,
        found.top[:, 0],
        found.top,
        np.full((8, 3), np.nan),
    )
    said = evaluated(broken, NAMES, 0)
    assert said["accuracy"] == "–"
    assert not any(each["right"] for each in said["shown"])
    assert {bar["text"] for each in said["shown"] for bar in each["bars"]} == {"–"}
