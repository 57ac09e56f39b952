"""The groups of options that commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, get_args

from .scene import THEMES
from .scene.arrange import Arrangement
from .scene.camera import PITCH, YAW
from .scene.colouring import AGGREGATES, SCALINGS
from .scene.palette import ENCODINGS
from .scene_toml import MAX_TITLE

ARRANGEMENTS = get_args(Arrangement)
HYPERPARAMETERS = (
    ("optimizer", str, "sgd, adam, adamw or rmsprop (default: sgd)"),
    ("learning-rate", float, "length of a step (default: the optimiser's usual one)"),
    ("momentum", float, "from 0 to below 1 (default: 0.9)"),
    ("weight-decay", float, "how much weights are pulled towards zero (default: 0.0001)"),
    ("batch-size", int, "examples in a batch (default: 32)"),
    ("label-smoothing", float, "how much of the truth is spread over all classes, from 0 to below 1 (default: 0)"),
    ("cycle", float, "epochs in which the learning rate rises and falls; 0 leaves it (default: 0)"),
    ("every", int, "how many batches come to a recorded step (default: 10)"),
)


# argparse takes "-1e-3" and "-inf" for options, up to Python 3.13.
_NEGATIVE = re.compile(r"^-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|^-inf$", re.IGNORECASE)


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. Its arguments may stand before, between and behind its options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = _NEGATIVE
        self._is_inside = False

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse, which would fill an argument that may be left out before it sees a later one."""
        if self._is_inside:
            return super().parse_known_args(args, namespace)
        self._is_inside = True  # argparse parses intermixed arguments by calling this method twice
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_inside = False


def model_options() -> argparse.ArgumentParser:
    """Options that name a model and an input."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("model")
    group.add_argument(
        "model",
        metavar="MODEL",
        help="a model: lenet5, net.py:Net, torchvision:resnet18, net.onnx; or a scene: a .toml file, "
        "or one that ships, as lenet5-open",
    )
    group.add_argument(
        "input",
        metavar="INPUT",
        nargs="?",
        help="an image, a .npy file of numbers, or sample:7 for one of the model's own (default: sample:7, or zeros)",
    )
    group.add_argument(
        "--input", metavar="NAME=FILE", dest="inputs", action="append", type=_named, default=[],
        help="one of several inputs by its name, an image or a .npy file; those not given are zeros; may be repeated",
    )  # fmt: skip
    group.add_argument("--weights", metavar="FILE", help="weights to load: .safetensors, or what torch.save wrote")
    group.add_argument("--random-weights", action="store_true", help="leave the weights as they are drawn at first")
    group.add_argument(
        "--trust",
        action="store_true",
        help="run code that a file of weights or of a model carries, or Python that a scene file names",
    )
    group.add_argument(
        "--input-shape", metavar="C,H,W", type=_shape, help="shape of one input, as 1,28,28, where the model says none"
    )
    return parser


def checkpoint_options() -> argparse.ArgumentParser:
    """Options of a run, or of a folder of checkpoints."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("run_path", metavar="RUN", help="the directory of a run or its URL, or a folder of checkpoints")
    group = parser.add_argument_group("checkpoints")
    group.add_argument("--model", metavar="MODEL", help="the model that the checkpoints are of: net.py:Net")
    group.add_argument("--probe", metavar="INPUT", help="the input to look at, as INPUT of explore")
    group.add_argument("--trust", action="store_true", help="run code that checkpoints in a pickle carry")
    group.add_argument("--input-shape", metavar="C,H,W", type=_shape, help="shape of one input, as 1,28,28")
    return parser


def training_options() -> argparse.ArgumentParser:
    """Options of the training lab."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--data",
        default="digits",
        help="digits, mnist, fashion-mnist, cifar10, or a folder with a folder of images a class (default: digits)",
    )
    group.add_argument("--architecture", default="lenet5", help="lenet5, mlp, convnetjs or resnet (default: lenet5)")
    group.add_argument("--model", metavar="MODEL", help="a network of your own instead: net.py:Net")
    group.add_argument("--weights", metavar="FILE", help="weights to begin with, instead of fresh ones")
    group.add_argument("--checkpoint", metavar="FILE", help="go on from a checkpoint that the page has saved")
    group.add_argument("--trust", action="store_true", help="run code that a file of weights or of a model carries")
    group.add_argument("--input-shape", metavar="C,H,W", type=_shape, help="shape of one input, as 1,28,28")
    group.add_argument(
        "--run", dest="run_path", metavar="DIR", default="runs/lab", help="where it is recorded (default: runs/lab)"
    )
    group.add_argument("--start", action="store_true", help="begin to train at once")
    for name, kind, what in HYPERPARAMETERS:
        group.add_argument(f"--{name}", metavar=kind.__name__.upper(), type=kind, help=what)
    return parser


def look_options() -> argparse.ArgumentParser:
    """Options of how the scene looks."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("look")
    group.add_argument(
        "--open", metavar="LAYERS", type=_names, help="layers that show every map: conv1,conv2, or * for all"
    )
    group.add_argument("--theme", choices=THEMES, help="dark, or light for print (default: dark)")
    group.add_argument("--encoding", choices=ENCODINGS, help="what colours say (default: kind, the hue of the layer)")
    group.add_argument("--scaling", choices=SCALINGS, help="one scale a layer, a map, or for all (default: layer)")
    group.add_argument(
        "--value-range", metavar=("LOW", "HIGH"), nargs=2, type=float, help="the ends of the one scale for all"
    )
    group.add_argument("--aggregate", choices=AGGREGATES, help="what a closed layer shows of its maps (default: mean)")
    group.add_argument("--arrangement", choices=ARRANGEMENTS, help="how the maps of a layer stand (default: grid)")
    return parser


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Options of a page."""
    group = parser.add_argument_group("page")
    group.add_argument("--host", default="127.0.0.1", help="address to bind (default: this machine's own, 127.0.0.1)")
    group.add_argument("--port", type=int, help="port (default: 8765, or the next free one)")
    group.add_argument("--token", help="secret in the address, 16 characters or more; needed with --host")
    group.add_argument("--no-browser", action="store_true", help="print the address and open no browser")


def add_memory(parser: argparse.ArgumentParser) -> None:
    """The option of a page that runs the model itself."""
    group = parser.add_argument_group("memory")
    group.add_argument(
        "--memory", metavar="MIB", type=int, default=512, help="most that a pass's values take, in MiB (default: 512)"
    )


def add_picture(parser: argparse.ArgumentParser) -> None:
    """Options of a picture."""
    group = parser.add_argument_group("picture")
    group.add_argument("-o", "--output", metavar="OUT", required=True, help="the .png file to write")
    group.add_argument("--size", metavar="WxH", type=_size, default=(1920, 1080), help="pixels (default: 1920x1080)")
    group.add_argument("--transparent", action="store_true", help="leave the background out")
    group.add_argument("--title", type=_title, help="a line at the top left")
    group.add_argument("--legend", action="store_true", help="say which hue is which kind of layer")
    group.add_argument("--colour-bar", "--color-bar", action="store_true", help="say which colour is which value")
    group.add_argument(
        "--camera", metavar=("YAW", "PITCH"), nargs=2, type=float,
        help=f"where to look from, in degrees to the right and above (default: {YAW:g} {PITCH:g})",
    )  # fmt: skip
    group.add_argument("--zoom", type=float, help="1 has everything in frame (default: 1)")


def _named(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} names no input; write its name and a file, as mask=mask.npy")
    return name, path


def _title(text: str) -> str:
    if len(text) > MAX_TITLE:
        raise argparse.ArgumentTypeError(f"a title has at most {MAX_TITLE} characters, not {len(text):,}")
    return text


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().replace("×", "x").partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write width x height in pixels, as 3840x2160")
    return int(width), int(height)


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write whole numbers, as 1,28,28")
    return tuple(map(int, sizes))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
