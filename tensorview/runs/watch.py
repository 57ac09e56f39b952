"""`watch`: the one line that begins a run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from torch import nn

from ..capture.gradients import Loss
from .options import BUDGET
from .recorder import Recorder
from .viewer import open_viewer


def watch(
    model: nn.Module,
    probe: Any,
    path: str | os.PathLike[str],
    *,
    every: int = 50,
    content: str | Iterable[str] = ("activations",),
    keep: int | None = None,
    budget: int = BUDGET,
    class_names: Iterable[str] = (),
    in_eval: bool = True,
    resume: bool = False,
    first: int = 0,
    probe_loss: Loss | None = None,
    open: bool = False,
) -> Recorder:
    """Record a training loop, to be seen with `tensorview watch` while it runs and afterwards.

        with tv.watch(model, probe, "runs/first", every=50) as run:
            for batch in loader:
                ...
                run.step(loss=loss.item())

    The model before the first step is recorded as step 0 (or `first`), then every `every`-th step, and the last.

    Args:
        model: the model that is trained.
        probe: an input with its batch dimension, as `capture` takes it, whose first sample is followed.
        path: the run directory, or the fsspec URL of one. A run that is there already moves to "first.1" beside it.
        every: how many steps of training come to a recorded one.
        content: what is recorded of each: "activations", "weights", "gradients" (of the parameters, where a backward
            pass has left some), "activation_gradients" (of `probe_loss`, with respect to what every layer returned for
            the probe), or several of them.
        keep: how many recorded steps to keep; the first and the last stay, and others spread evenly between them.
            `None` keeps all.
        budget: most bytes of the activations in a recorded step, and as many of the weights and of the gradients.
            Larger layers are reduced to what a closed box shows of them, which the trace's warnings say.
        class_names: one for each output of a classifier.
        in_eval: run the probe in eval mode, whatever mode the model is in. False: in the mode that it is in.
        resume: go on with the run that is in the directory.
        first: the number of the step that the model is at, where training goes on from a checkpoint.
        probe_loss: makes a tensor of one number of what the model returns for the probe, for activation gradients.
        open: show the page at once, as long as this process runs.

    Returns:
        The recorder: `step(...)` after every step, and `close()` at the end, or used as a context. In other processes
        than the first of `torch.distributed` it does nothing.

    Raises:
        CaptureError: the model cannot run the probe.
        OpenError: another process is recording to the directory; an argument is not possible.
    """
    recorder = Recorder(
        model,
        probe,
        path,
        every=every,
        content=content,
        keep=keep,
        budget=budget,
        class_names=class_names,
        in_eval=in_eval,
        resume=resume,
        first=first,
        probe_loss=probe_loss,
    )
    if open and recorder.is_recording:
        open_viewer(recorder.path)
    return recorder
