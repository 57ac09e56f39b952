"""What the page and the trainer say to each other over two pipes: lines of JSON, some with bytes behind them.

    {"say": "set", "values": {...}}                 a line
    {"say": "load", "bytes": 12345}                 a line, then 12,345 bytes

A pipe that ends is how either notices that the other is gone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from .hyperparameters import Hyperparameters

STATES = ("starting", "loading", "ready", "running", "paused", "ended", "failed")


@dataclass(frozen=True)
class Status:
    """What a trainer last said.

    Attributes:
        state: one of `STATES`. "ready" has fresh weights and no step yet; "failed" cannot start until it is reset.
        message: a sentence for a person: what failed, what was left out, what is being downloaded; empty if nothing.
        step: batches learned from.
        examples: examples learned from.
        epoch: how often every training example has been seen, 2.5 in the middle of the third time.
        architecture: its name; a person's own model is called "net.py:Net".
        data: name of the data.
        hyper: the hyperparameters in use.
        progress: how far loading is, in [0, 1]; `None` where that is not known or nothing is loaded.
        warnings: what is wrong with the network, each naming its layer.
        train_examples, held_out_examples: how many there are; 0 before they are loaded.
        class_names: one for each class; empty before they are loaded.
        probe_index: which held-out example is looked at; `None` for a drawing.
        probe_label: the true class of the probe; `None` where it is not known.
    """

    state: str = "starting"
    message: str = ""
    step: int = 0
    examples: int = 0
    epoch: float = 0.0
    architecture: str = "lenet5"
    data: str = "digits"
    hyper: Hyperparameters = field(default_factory=Hyperparameters)
    progress: float | None = None
    warnings: tuple[str, ...] = ()
    train_examples: int = 0
    held_out_examples: int = 0
    class_names: tuple[str, ...] = ()
    probe_index: int | None = 0
    probe_label: int | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Status:
        """The inverse of `as_json`."""
        values: dict[str, Any] = {**said, "hyper": Hyperparameters(**said["hyper"])}
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


def write_message(pipe: IO[bytes], message: dict[str, Any], content: bytes | None = None) -> None:
    """Say something. Raises OSError, ValueError: the other is gone, or the pipe is closed."""
    head = message if content is None else {**message, "bytes": len(content)}
    pipe.write(json.dumps(head).encode() + b"\n" + (content or b""))
    pipe.flush()


def read_message(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message and the bytes behind it; `None` when the other is gone, also in the middle of a message."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    size = message.get("bytes", 0)
    content = pipe.read(size) if size else b""
    return (message, content) if len(content) == size else None
