"""What a recorder is told, and what of it is not possible."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ..capture.gradients import Loss
from ..errors import OpenError
from .contents import CONTENTS

BUDGET = 4_000_000


def checked(
    content: str | Iterable[str], every: int, keep: int | None, budget: int, loss: Loss | None
) -> tuple[str, ...]:
    """The contents in their order, where everything is possible together. Raises OpenError."""
    wanted: Collection[str] = (content,) if isinstance(content, str) else tuple(content)
    odd = [name for name in wanted if name not in CONTENTS]
    if odd or not wanted:
        raise OpenError(f"content is {odd[0] if odd else 'empty'!r}; choose of {', '.join(CONTENTS)}.")
    if "activation_gradients" in wanted and loss is None:
        raise OpenError(
            "activation_gradients are those of a loss of the probe: give one, as "
            "probe_loss=lambda output: torch.nn.functional.cross_entropy(output, label)."
        )
    check_every(every)
    if keep is not None and keep < 2:
        raise OpenError(f"keep is {keep}; it is 2 or more, for the first and the last step.")
    if budget < 1:
        raise OpenError(f"budget is {budget}; it is a number of bytes, 1 or more.")
    return tuple(name for name in CONTENTS if name in wanted)


def check_every(every: int) -> None:
    """Raises OpenError for what is no number of steps."""
    if every < 1:
        raise OpenError(f"every is {every}; it is a number of steps, 1 or more.")


def check_sharded(content: tuple[str, ...], resume: bool) -> None:
    """Raises OpenError for what is not possible where parameters lie in pieces on several processes."""
    if content != ("activations",):
        raise OpenError(f"of a sharded model activations are recorded, not {content[-1]}: leave that out of content.")
    if resume:
        raise OpenError("a run of a sharded model cannot be resumed: record to another directory.")


def number(value: Any) -> float | None:
    """A number, or a tensor of one, as a float; `None` for what is neither."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
