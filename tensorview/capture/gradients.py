"""The gradient of a loss with respect to every layer's output, by a pass along a plan with gradients on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..errors import CaptureError
from .inputs import Arguments
from .keeping import Reduced
from .plan import Copied, Output, Plan
from .replay import Replay
from .room import Rooms
from .standing import StandIns
from .trace import Trace
from .values import cloned, copy_sample, tensors_in

Loss = Callable[[Any], Tensor]


def gradients_along(plan: Plan, sample: int, loss: Loss, model: nn.Module, given: Arguments) -> Trace:
    """The trace of a plan with gradients in place of values; see `Tracer.with_gradients`.

    Args:
        given: the input as `arrange` lays it out.

    Raises:
        CaptureError: the model cannot do this with gradients.
    """
    # cuDNN has no backward pass of a recurrent layer in eval mode.
    recurrent = any(isinstance(module, nn.RNNBase) for module in plan.modules)
    args, kwargs, tensors = given
    try:
        with torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext():
            gradients = GradientPass(plan, sample, loss).run(model, tensors, args, kwargs)
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(f"there are no activation gradients: {_said(error)}") from error
    if gradients is None:
        raise CaptureError(
            "there are no activation gradients: with gradients the model did something else than without"
        )
    return gradients


class GradientPass(Replay):
    """A forward pass that follows a plan, and a backward pass from a loss of what the model returned.

    What is kept of each layer is its edge in autograd's graph, not the tensor: a later write in place gives the tensor
    another edge, while the gradient that arrives at the old one is that of the value which the layer returned.
    Nothing is accumulated in `.grad`.

    Args:
        plan: of the same pass without gradients; what it keeps of a layer's values is kept of their gradient.
        sample: which sample of the batch is kept.
        loss: makes one number of what the model returned.
    """

    __slots__ = ("_edges", "_loss", "_taken")

    def __init__(self, plan: Plan, sample: int, loss: Loss) -> None:
        steps = tuple(step._replace(listens=False) for step in plan.steps)
        plan = plan._replace(steps=steps, plains=(None,) * len(steps), places=())
        super().__init__(plan, sample, Rooms(), StandIns(plan.modules))
        self._loss = loss
        self._edges: dict[int, tuple[GradientEdge, Output]] = {}
        self._taken: set[GradientEdge] = set()

    def run(
        self, model: nn.Module, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Trace | None:
        """Call the model and go back from the loss; see `Replay.run`. The trace holds gradients in place of values.

        Raises CaptureError for what is no loss.
        """
        args, kwargs = cloned(args, _followed), cloned(kwargs, _followed)
        return super().run(model, list(tensors_in((args, kwargs))), args, kwargs)

    def leave(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        out = self._handed_on(out)
        super().leave(module, args, out)
        return out

    def _handed_on(self, out: Any) -> Any:
        """A layer's result, copied where its gradient could otherwise not be told from that of what made it."""
        paused, self._paused = self._paused, True  # copying is no call of the model's
        try:
            return cloned(out, self._apart) if isinstance(out, Tensor) or type(out) in (tuple, list, dict) else out
        finally:
            self._paused = paused

    def _apart(self, tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return _followed(tensor)
        return tensor.clone() if get_gradient_edge(tensor) in self._taken else tensor

    def _take(self, output: Output, tensor: Tensor) -> None:
        if tensor.shape != output.shape or tensor.dtype is not output.dtype:
            self._broken = True
            return
        self._ids[output.node] = id(tensor)
        if tensor.requires_grad:
            edge = get_gradient_edge(tensor)
            self._taken.add(edge)
            if output.kept:
                self._edges[output.node] = edge, output

    def _finish(self, result: Any) -> Trace | None:
        if super()._finish(result) is None:
            return None
        loss = self._loss_of(result)
        found = torch.autograd.grad(loss, [edge for edge, _ in self._edges.values()], allow_unused=True)
        for (_, output), gradient in zip(self._edges.values(), found, strict=True):
            if gradient is not None:
                self._copied[output.node] = self._kept(gradient, output)
        trace = self._plan.filled(self._copied)
        return replace(trace, warnings=trace.warnings + self._missing())

    def _loss_of(self, result: Any) -> Tensor:
        try:
            loss = self._loss(result)
        except Exception as error:
            raise CaptureError(f"the loss of the model's output raised {_said(error)}") from error
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
            what = f"{loss.dtype} of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise CaptureError(f"the loss is a {what}; it must be a tensor of one number, as cross_entropy gives it")
        if not loss.requires_grad:
            why = "the model runs under torch.no_grad, or the loss was detached"
            raise CaptureError(f"the loss has no gradient: {why}")
        return loss.reshape(())

    def _kept(self, gradient: Tensor, output: Output) -> Copied:
        keep = output.kept or "exact"
        if keep != "exact":
            return Reduced.of(gradient, output.pick, self._sample, keep)
        return copy_sample(gradient, output.pick, self._sample)

    def _missing(self) -> tuple[str, ...]:
        """Sentences about the layers whose gradient was to be kept and is not there."""
        outputs = [output for step in self._plan.steps for output in step.outputs] + list(self._plan.returned)
        wanted = {output.node for output in outputs if output.kept}
        names = [repr(n.name) for k, n in self._plan.layers.items() if k in wanted and self._copied[k] is None]
        said = []
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            why = "the loss does not depend on them in a differentiable way"
            said.append(f"of layers {shown} there is no gradient: {why}")
        if any(step.maps >= 0 for step in self._plan.steps):
            said.append("of attention maps there is no gradient: attention computes them inside, or never holds them")
        return tuple(said)


def _followed(tensor: Tensor) -> Tensor:
    """A copy that autograd follows and that may be written to; the tensor itself where it holds no real numbers."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.detach().requires_grad_().clone()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
