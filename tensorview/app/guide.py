"""The walk-through beside the training lab's controls, for somebody who sees a network learn for the first time."""

from __future__ import annotations

from trame.widgets import html

# Page of the panel -> (heading, paragraphs).
GUIDE = {
    "data": (
        "1 · Look at the data",
        (
            "A network learns from examples: pictures whose class is known. Most are for training. The others are "
            "held out: the network never learns from them, so they tell how it does on what it has not seen.",
            "Click an example, or draw one, and follow it through the network in 3D. This is the probe: it is looked "
            "at again and again while the network learns.",
        ),
    ),
    "train": (
        "2 · Train",
        (
            "At first all weights are random, and the answers are guesses. Press Start: the network sees a batch of "
            "examples, the loss says how wrong its answers are, and every weight takes a small step that makes the "
            "loss smaller. Once through all examples is an epoch.",
            "The learning rate is the length of the step: too small and nothing moves, too large and the loss jumps. "
            "What you change counts from the next batch on.",
        ),
    ),
    "test": (
        "3 · Test",
        (
            "What counts are held-out examples. Where their accuracy stays behind that in training, the network has "
            "learnt its examples by heart: it overfits.",
            "Then try the multilayer perceptron on the same data. It has no convolutions, and must learn a stroke anew "
            "for every place where it can be.",
        ),
    ),
    "layers": (
        "4 · Look inside",
        (
            "Every slab is a feature map. Watch the first convolution turn from noise into edges and strokes, and the "
            "output from ten equal cubes into one. Click a box to open it, and point at a cell to read it.",
            "The switch below the network shows the weights instead, or the gradients: which way, and how far, each "
            "would move. The slider takes you back to any recorded step.",
        ),
    ),
}


def build_guide(page: str) -> None:
    """The part of the walk-through that belongs to a page of the panel; it can be folded away."""
    heading, paragraphs = GUIDE[page]
    with html.Details(classes="tv-guide", raw_attrs=["open", f'data-testid="guide-{page}"']):
        html.Summary(heading)
        for paragraph in paragraphs:
            html.P(paragraph)
