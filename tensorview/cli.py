"""The command line: arguments become calls, nothing else. torch, VTK and trame are loaded by the calls."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .arguments import (
    HYPERPARAMETERS,
    CommandParser,
    add_memory,
    add_picture,
    add_serving,
    checkpoint_options,
    look_options,
    model_options,
    training_options,
)
from .errors import CaptureError, OpenError, TensorviewError
from .scene import Camera, Scene, fit_camera
from .scene.camera import PITCH, YAW
from .scene_file import SUFFIX, SceneFile, shipped_scenes

if TYPE_CHECKING:
    from .capture import Trace
    from .opening import Subject
    from .runs import CheckpointRun, Run

FAILED, INTERRUPTED = 2, 130
PLAYGROUND = "lenet5"
# How an argument is called in Python, where messages come from, and here.
_IN_PYTHON = ("give input_shape, as (3, 224, 224)", "give its shape, as --input-shape 3,224,224")
# Options that replace what a scene file says.
_OPTIONS = ("input", "weights", "input_shape", "open", "theme", "encoding", "scaling", "aggregate", "arrangement")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0, also for Ctrl-C while a page is served; 2 for a mistake, which one sentence on stderr
        explains; 130 for Ctrl-C at any other time.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words = ["explore", PLAYGROUND, *words]
    given = make_parser().parse_args(words)
    try:
        given.run(given)
    except TensorviewError as error:
        print(f"tensorview: {str(error).replace(*_IN_PYTHON)}", file=sys.stderr)
        return FAILED
    except SystemExit as end:  # of a model's own code, as nothing here ends a program
        print(f"tensorview: the model's code ended the program, by sys.exit({end.code!r}).", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


# Commands ----------------------------------------------------------------------------------------------------------


def explore(given: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    wanted = _wanted(given)
    import torch  # and trame with the next line, once the arguments are right

    from .app import explore as serve

    # The page, and often the browser beside it, need a core as well; sharing one makes a small model slower.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    subject = wanted.subject(given.trust)
    serve(
        subject,
        None if wanted.input is None and not given.inputs else _input(given, wanted, subject),
        open=wanted.open,
        look=wanted.look(subject.class_names),
        camera=wanted.camera,
        host=given.host,
        port=given.port,
        token=given.token,
        browser=not given.no_browser,
        block=True,
        memory=given.memory * 2**20,
    )


def train(given: argparse.Namespace) -> None:
    """Serve the training lab until Ctrl-C."""
    wanted = _with_options(SceneFile("lab"), given)
    from .app.explore import lab
    from .training import Trainer, usual

    names = [name.replace("-", "_") for name, _, _ in HYPERPARAMETERS]
    chosen = {name: value for name in names if (value := getattr(given, name)) is not None}
    with Trainer(
        given.run_path,
        given.data,
        given.architecture,
        usual(given.data).changed(**chosen),
        model_spec=given.model,
        weights=given.weights,
        trust=given.trust,
        input_shape=given.input_shape,
    ) as trainer:
        lab(
            trainer,
            checkpoint=given.checkpoint,
            start=given.start,
            open=wanted.open or None,
            look=wanted.look(()),
            host=given.host,
            port=given.port,
            token=given.token,
            browser=not given.no_browser,
            block=True,
        )


def watch(given: argparse.Namespace) -> None:
    """Serve the page of a run until Ctrl-C."""
    wanted = _with_options(SceneFile("run"), given)
    if given.probe is not None and given.model is None:
        raise OpenError("--probe is for a folder of checkpoints, which needs a --model as well.")
    recording = _recording(given)
    from .app import play

    play(
        recording,
        open=wanted.open or None,
        look=wanted.look(recording.class_names),
        host=given.host,
        port=given.port,
        token=given.token,
        browser=not given.no_browser,
        block=True,
    )


def _recording(given: argparse.Namespace) -> Run | CheckpointRun:
    from .runs import CheckpointRun, Run

    if given.model is None:
        return Run.open(given.run_path)
    from .opening.weights import load_weights

    wanted = SceneFile(given.model, input=given.probe, input_shape=given.input_shape, random_weights=True)
    subject = wanted.subject(given.trust)
    return CheckpointRun(
        given.run_path,
        subject.module,
        wanted.tensor(subject),
        lambda module, path: load_weights(module, path, given.trust),
        subject.class_names,
    )


def render(given: argparse.Namespace) -> None:
    """Write a picture. Of a forward pass that fails, the layers that did run are drawn before its error is raised."""
    from .stage.screenshot import writable_png
    from .stage.size import checked_size

    size, target, wanted = checked_size(given.size), writable_png(given.output), _wanted(given)
    from .capture import capture  # loads torch, once the arguments are right

    subject = wanted.subject(given.trust)
    failure: CaptureError | None = None
    try:
        trace = capture(subject.module, _input(given, wanted, subject))
    except CaptureError as error:
        if error.trace is None or not error.trace.layers:
            raise
        trace, failure = error.trace, error
    for warning in trace.warnings:
        print(f"tensorview: note: {warning}", file=sys.stderr)
    _draw(given, wanted, subject, trace, size)
    if failure is not None:
        raise CaptureError(f"{failure}; {target} shows the {len(trace)} layers that ran") from failure


def summary(given: argparse.Namespace) -> None:
    """Print the table of a model's layers."""
    wanted = _wanted(given)
    from .summary import summarize  # loads torch, once the arguments are right

    subject = wanted.subject(given.trust)
    if wanted.input is None and not subject.inputs and not given.inputs:
        table = summarize(subject.module, subject.input_spec.shape, subject.input_spec.dtype)
    else:
        table = summarize(subject.module, _input(given, wanted, subject))
    print(json.dumps(table.as_dict(), indent=1) if given.json else table)


def _input(given: argparse.Namespace, wanted: SceneFile, subject: Subject) -> Any:
    """All that the model takes: one tensor, or several by their names where it has several inputs or they are given."""
    named = {name: subject.read(path, name) for name, path in given.inputs}
    return subject.complete(wanted.tensor(subject), named)


def _draw(given: argparse.Namespace, wanted: SceneFile, subject: Subject, trace: Trace, size: tuple[int, int]) -> None:
    from .stage import screenshot

    scene = wanted.scene(trace, subject)
    screenshot(
        scene,
        given.output,
        size=size,
        transparent=given.transparent,
        title=wanted.title if given.title is None else given.title,
        legend=given.legend,
        colour_bar=given.colour_bar,
        camera=_camera(given, scene, size[0] / size[1]),
    )


def _wanted(given: argparse.Namespace) -> SceneFile:
    """What a scene file or a model with the options beside it says."""
    wanted = SceneFile.load(given.model) if _is_scene(given.model) else SceneFile(given.model)
    return _with_options(wanted, given)


def _with_options(wanted: SceneFile, given: argparse.Namespace) -> SceneFile:
    options = vars(given)
    changed = {name: options[name] for name in _OPTIONS if options.get(name) is not None}
    if options.get("value_range") is not None:
        changed.update(value_range=tuple(given.value_range), scaling=given.scaling or "fixed")
    if options.get("open") is not None:
        changed.update(camera=None)  # what is open decides the first view
    if options.get("random_weights"):
        changed.update(random_weights=True, weights=given.weights)
    return replace(wanted, **changed)


def _is_scene(spec: str) -> bool:
    """Whether a scene is named; a model of the same name comes first."""
    if spec.endswith(SUFFIX) or spec not in shipped_scenes():
        return spec.endswith(SUFFIX)
    from .opening import shipped_models

    return spec not in shipped_models()


def _camera(given: argparse.Namespace, scene: Scene, aspect: float) -> Camera | None:
    if given.camera is None and given.zoom is None:
        return None
    if given.zoom is not None and not 0 < given.zoom < math.inf:
        raise OpenError(f"--zoom is {given.zoom:g}; it is a number above 0, where 1 has everything in frame.")
    yaw, pitch = given.camera or (YAW, PITCH)
    if not abs(pitch) < 90:
        raise OpenError(f"--camera has a pitch of {pitch:g} degrees; it is above -90 and below 90.")
    if not math.isfinite(yaw):
        raise OpenError(f"--camera has a yaw of {yaw:g} degrees; it is a finite number.")
    return fit_camera(scene.corners(), aspect, yaw, pitch, fill=0.95 * (given.zoom or 1))


def formats(given: argparse.Namespace) -> None:
    """Print the files that hold a whole model, and what each needs."""
    from .opening.formats import FORMATS

    rows = [("format", "ends in", "extra", "trust", "installed")]
    for each in FORMATS:
        trust, installed = "--trust" if each.danger else "-", "yes" if each.is_installed else "no"
        rows.append((each.name, " ".join(each.suffixes), each.extra or "-", trust, installed))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


# Arguments ---------------------------------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(
        prog="tensorview",
        description="See a neural network in 3D.",
        epilog="Without a command: the playground, a trained LeNet-5 and a pad to draw a digit on. "
        "It takes the options of explore, as in: tensorview --port 9000 --no-browser",
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("tensorview"))
    commands: argparse._SubParsersAction[argparse.ArgumentParser] = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    shared = [model_options(), look_options()]
    page = commands.add_parser(
        "explore",
        parents=shared,
        help="look into a model on a page of its own",
        description="Serve a page that shows a model in 3D, and open it in the browser.",
    )
    add_serving(page)
    add_memory(page)
    page.set_defaults(run=explore)
    listed = commands.add_parser(
        "formats",
        help="list the files that hold a whole model",
        description="List the files that hold a whole model: what each needs, and what is installed.",
    )
    listed.set_defaults(run=formats)
    run = commands.add_parser(
        "watch",
        parents=[checkpoint_options(), shared[1]],
        help="watch a run while it is recorded, or play it afterwards",
        description="Serve a page that plays a run that tensorview.watch records, or a folder of checkpoints.",
    )
    add_serving(run)
    run.set_defaults(run=watch)
    training = commands.add_parser(
        "train",
        parents=[training_options(), shared[1]],
        help="train a network on a page, and watch it learn",
        description="Serve the training lab: a network that learns images while its layers are seen in 3D.",
    )
    add_serving(training)
    training.set_defaults(run=train)
    picture = commands.add_parser(
        "render",
        parents=shared,
        help="write a picture, without a browser or a display",
        description="Write a PNG of a model in 3D, without a browser or a display.",
    )
    add_picture(picture)
    picture.set_defaults(run=render)
    table = commands.add_parser(
        "summary",
        parents=shared[:1],
        help="print the table of layers",
        description="Print each layer's kind, output, parameters, multiply-adds and memory for one sample.",
    )
    table.add_argument_group("table").add_argument("--json", action="store_true", help="print one JSON object")
    table.set_defaults(run=summary)
    return parser
