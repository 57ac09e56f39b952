"""Drawing a digit: pad, prediction, samples, and nothing that goes wrong when there is nothing to see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from .visit import Visit

pytestmark = pytest.mark.browser

SEVEN = ((0.25, 0.25), (0.75, 0.25), (0.45, 0.85))
ONE = ((0.5, 0.15), (0.5, 0.85))
TEXT = "document.querySelector('[data-testid=prediction-text]').textContent"


def draw(visit: Visit, *points: tuple[float, float], steps: int = 8) -> None:
    """One stroke, through points given as fractions of the pad."""
    box = visit.find("digit-pad").bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    visit.page.mouse.move(*at[0])
    visit.page.mouse.down()
    for x, y in at[1:]:
        visit.page.mouse.move(x, y, steps=steps)
    visit.page.mouse.up()


def on_pad(visit: Visit) -> np.ndarray:
    """`(28, 28)` uint8: what the pad holds, as it would send it."""
    return np.array(visit.page.evaluate("Array.from(pad.ink.raster(pad.fit))"), dtype=np.uint8).reshape(28, 28)


def shares(visit: Visit) -> np.ndarray:
    """`(10,)` float64: the bars, from prob-0 to prob-9."""
    bars = [visit.find(f"prob-{i}").get_attribute("data-share") for i in range(10)]
    return np.array([float(bar) for bar in bars])


def check_prediction(visit: Visit, image: np.ndarray, prepare: bool = True) -> None:
    """The sentence, the bars and the cubes say what the model itself makes of `image` `(28, 28)` uint8."""
    subject = visit.viewer.session.subject
    with torch.no_grad():
        logits = subject.module(subject.preprocess(image, prepare))[0]
    expected = torch.softmax(logits.double(), 0).numpy()
    shown = shares(visit)
    np.testing.assert_allclose(shown, expected, atol=1e-6)
    assert shown.sum() == pytest.approx(1, abs=1e-6)
    best = int(expected.argmax())
    winners = [i for i in range(10) if visit.find(f"prob-{i}").get_attribute("data-winner") == "true"]
    assert winners == [best]
    said = visit.find("prediction-text").inner_text()
    assert f"{best} ({100 * expected[best]:.1f} %)" in said


def test_the_prediction_follows_the_pen(digits: Visit) -> None:
    digits.press("pad-clear")
    assert digits.find("prediction-text").inner_text().startswith("Draw a digit")
    draw(digits, *SEVEN)
    digits.settle()
    assert digits.find("prediction-text").inner_text().startswith("You wrote a 7 (")
    image = on_pad(digits)
    check_prediction(digits, image)
    np.testing.assert_array_equal(digits.preview(), np.rint(digits.scene.trace["input"].values[0] * 255))
    assert digits.preview().max() > 200
    latencies = digits.page.evaluate("tensorviewTimes.latencies")
    assert latencies
    assert 0 < min(latencies) < max(latencies) < 15_000, "from the pointer to the frame, in milliseconds"


def test_the_last_stroke_is_never_lost(digits: Visit) -> None:
    digits.press("pad-clear")
    generator = np.random.default_rng(2)
    for _ in range(12):  # faster than the network answers
        draw(digits, *generator.uniform(0.15, 0.85, (3, 2)).tolist(), steps=2)
    digits.settle()
    check_prediction(digits, on_pad(digits))
    shown = digits.scene.trace["input"].values[0]
    expected = digits.viewer.session.subject.preprocess(on_pad(digits), True)[0, 0].numpy()
    np.testing.assert_array_equal(shown, expected)


def test_without_live_the_button_predicts(digits: Visit) -> None:
    digits.press("pad-clear")
    digits.find("live").locator("input").uncheck()
    digits.settle()
    draw(digits, *ONE)
    digits.settle()
    assert digits.find("prediction-text").inner_text().startswith("Draw a digit"), "not yet"
    digits.press("predict")
    check_prediction(digits, on_pad(digits))
    assert digits.find("prediction-text").inner_text().startswith("You wrote a 1 (")


def test_a_small_digit_in_a_corner_is_the_same_when_it_is_centred(digits: Visit) -> None:
    texts = set()
    for dx, dy in ((0, 0), (-0.3, -0.3), (0.3, 0.3)):
        digits.press("pad-clear")
        draw(digits, *[(0.5 + (x - 0.5) * 0.35 + dx, 0.5 + (y - 0.5) * 0.35 + dy) for x, y in SEVEN], steps=4)
        digits.settle()
        texts.add(digits.find("prediction-text").inner_text().split(" (")[0])
    assert texts == {"You wrote a 7"}
    digits.find("prepare").locator("input").uncheck()
    digits.settle()
    image = on_pad(digits)
    assert image[:14].max() == 0, "as it was drawn: below, on the right"
    assert image[:, :14].max() == 0
    check_prediction(digits, image, prepare=False)


def test_samples_and_random_digits_say_their_truth(digits: Visit) -> None:
    subject = digits.viewer.session.subject
    for label in range(10):
        digits.press(f"sample-{label}")
        sample = next(s for s in subject.samples if s.label == label)
        check_prediction(digits, sample.image)
        guess = int(shares(digits).argmax())
        verdict = digits.find("truth").inner_text()
        assert verdict.startswith("right" if guess == label else "wrong")
        assert verdict.endswith(str(label))
        with torch.no_grad():
            x = subject.preprocess(sample.image)[0, 0].numpy()
        np.testing.assert_array_equal(digits.preview(), np.rint(x * 255))
        np.testing.assert_array_equal(on_pad(digits), digits.preview())  # the pad shows it, too
    seen = set()
    for _ in range(4):
        digits.press("random")
        seen.add(digits.preview().tobytes())
        assert digits.find("truth").inner_text().startswith(("right: it is a", "wrong: it is a"))
    assert len(seen) > 1
    draw(digits, *ONE)
    digits.settle()
    assert digits.find("truth").count() == 0, "nobody knows what a drawing is meant to be"


def test_nothing_to_see_and_clicks_too_early_do_no_harm(digits: Visit) -> None:
    for button in ("predict", "pad-clear", "predict"):
        digits.press("pad-clear")
        digits.press(button)
        said = digits.find("prediction-text").inner_text()
        assert said == "Draw a digit to see what the network makes of it."
    for button in ("sample-1", "random", "pad-clear", "sample-2", "predict", "reset", "sample-4"):
        digits.find(button).click()  # none waits for another
    digits.settle()
    assert digits.find("truth").inner_text().endswith("4")
    check_prediction(digits, next(s for s in digits.viewer.session.subject.samples if s.label == 4).image)


def test_keys_of_the_pad_are_not_those_of_the_page(digits: Visit) -> None:
    digits.press("pad-clear")
    draw(digits, *ONE)
    draw(digits, *SEVEN)
    digits.settle()
    both = on_pad(digits)
    digits.page.keyboard.press("Control+z")
    digits.settle()
    assert on_pad(digits).sum() < both.sum()
    check_prediction(digits, on_pad(digits))
    digits.page.keyboard.press("Delete")
    digits.settle()
    assert digits.find("prediction-text").inner_text().startswith("Draw a digit")


def test_a_finger_draws(phone: Visit) -> None:
    phone.press("pad-clear")
    session = phone.context.new_cdp_session(phone.page)
    box = phone.find("digit-pad").bounding_box()
    for kind, points in [("touchStart", ONE[:1]), *[("touchMove", [(0.5, y)]) for y in np.linspace(0.15, 0.85, 10)]]:
        at = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    phone.settle()
    check_prediction(phone, on_pad(phone))
    assert phone.find("prediction-text").inner_text().startswith("You wrote a 1 (")
