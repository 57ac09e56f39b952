"""The files of a run, and how they are written so that nobody ever reads half of one.

run.json                          what is recorded: the model, its inputs, how often
metrics.jsonl                     a line for every step that said anything: {"step": 50, "time": 1.2, "metrics": {...}}
step-00000050.safetensors         the trace of a recorded step, as `Trace.save` writes it
evaluation-00000050.safetensors   how a classifier did on held-out data, where the training says so
writer.lock                       who is writing, while somebody is
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import OpenError

FORMAT = 1
ABOUT, METRICS, LOCK = "run.json", "metrics.jsonl", "writer.lock"
_STEP = re.compile(r"step-(\d{8,18})\.safetensors")
_EVALUATION = re.compile(r"evaluation-(\d{8,18})\.safetensors")
_LEFT = re.compile(r"((step|evaluation)-\d+\.safetensors|run\.json)\.\d+\.tmp")


def step_name(step: int) -> str:
    """What the trace of a step is called."""
    return f"step-{step:08d}.safetensors"


def evaluation_name(step: int) -> str:
    """What the evaluation of a step is called."""
    return f"evaluation-{step:08d}.safetensors"


def step_path(folder: Path, step: int) -> Path:
    """Where the trace of a step is kept."""
    return folder / step_name(step)


def evaluation_path(folder: Path, step: int) -> Path:
    """Where the evaluation of a step is kept."""
    return folder / evaluation_name(step)


def steps_among(names: Iterable[str]) -> tuple[list[int], list[int]]:
    """The steps that have a trace and those that have an evaluation, in order, by the names of files."""
    names = list(names)
    return _numbers(names, _STEP), _numbers(names, _EVALUATION)


def recorded_steps(folder: Path) -> list[int]:
    """The steps that have a trace, in order; no file is opened. Raises OSError."""
    return steps_among(os.listdir(folder))[0]


def evaluation_steps(folder: Path) -> list[int]:
    """The steps that have an evaluation, in order; no file is opened. Raises OSError."""
    return steps_among(os.listdir(folder))[1]


def _numbers(names: Iterable[str], pattern: re.Pattern[str]) -> list[int]:
    return sorted(int(found[1]) for name in names if (found := pattern.fullmatch(name)))


def leftovers(folder: Path) -> Iterator[Path]:
    """What a writer that was killed had not finished."""
    return (path for path in folder.iterdir() if _LEFT.fullmatch(path.name))


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write `run.json`, whole and on the disk before it has its name. Raises OSError."""
    unfinished = folder / f"{ABOUT}.{os.getpid()}.tmp"
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(about, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, folder / ABOUT)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def read_about(folder: Path, shown: object = None) -> dict[str, Any]:
    """What `run.json` says.

    Args:
        shown: what messages call the folder, where it is a copy.

    Raises:
        OpenError: there is no run, its `run.json` is broken, or another version's format.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "has no run in it: run.json is missing" if folder.is_dir() else "is not a folder that exists"
        raise OpenError(f"{shown or folder} {what}.") from None
    except (OSError, ValueError) as error:
        raise OpenError(f"{shown or folder}/{ABOUT} cannot be read ({error}).") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        by = about.get("tensorview", "another version") if isinstance(about, dict) else "another program"
        raise OpenError(
            f"{shown or folder} is a run of format {found!r}, written by tensorview {by}; this version reads format "
            f"{FORMAT}: open it with the version that wrote it."
        )
    return about
