"""Run a model once and see everything it did."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from threading import RLock
from typing import Any

import torch
from torch import nn

from ..errors import CaptureError
from .failure import Failure, explain, unbatched_warning
from .inputs import arrange, batch_size, name_inputs
from .ledger import Ledger
from .plan import Output, Plan, settle
from .recorder import Recorder
from .replay import Replay
from .state import Unchanged
from .trace import Trace

# Hooks and random generators belong to the whole process: captures in several threads take turns.
_one_at_a_time = RLock()

Selection = str | Iterable[str] | Callable[[str, "nn.Module | None"], bool] | None


class Tracer:
    """Traces forward passes of one model.

    The first call finds the structure; later calls with inputs of the same shapes copy the values and check on
    the way that the model did the same, else the structure is found anew. Calls run under `torch.no_grad`, in
    the mode (`train` or `eval`) that the model is in, and leave nothing behind: hooks are removed, buffers and
    torch's random generators are put back, inputs are copied before the model sees them.

    The values of a later call lie in one array, which is freed when no layer of that trace is held any longer; copy
    the `values` of a layer that is to outlive the others.

    Args:
        model: any `nn.Module`; a compiled one is run uncompiled.
        layers: which layers keep their values: a glob (`"features.*"`), several, or a predicate on
            `(name, module)`, where `module` is None for a function. The graph is whole all the same, and inputs
            are always kept. Default: every layer.
        sample: which sample of the batch is kept.

    Raises:
        CaptureError: for what is no `nn.Module`, and for a scripted one.
    """

    def __init__(self, model: nn.Module, layers: Selection = None, sample: int = 0) -> None:
        if not isinstance(model, nn.Module):
            raise CaptureError(f"capture needs a torch.nn.Module, not {type(model).__name__}: pass the model itself")
        model = getattr(model, "_orig_mod", model)
        if isinstance(model, torch.jit.ScriptModule):
            raise CaptureError(
                "a scripted model runs outside Python, where hooks see nothing: pass the nn.Module it was made from"
            )
        self._model = model
        self._layers = (layers,) if isinstance(layers, str) else layers
        self._sample = sample
        self._compiled = any(map(_is_compiled, model.modules()))
        if self._compiled and not hasattr(torch.compiler, "set_stance"):
            raise CaptureError(
                "a model with compiled parts needs torch 2.6 or later: pass it as it was before torch.compile"
            )
        self._plan: Plan | None = None
        self._signature: tuple[Any, ...] = ()
        self._unchanged = Unchanged(model)

    def __call__(self, x: Any) -> Trace:
        """Run the model on `x` and return what happened.

        Args:
            x: a tensor whose first dimension is the batch; a tuple or list for `forward(*x)`, a dict for
                `forward(**x)`.

        Raises:
            CaptureError: when the forward pass raises, with what did run in `.trace`; for an empty batch.
        """
        with _one_at_a_time:
            return self._trace(x)

    def _trace(self, x: Any) -> Trace:
        args, kwargs, tensors = arrange(self._model, x)
        signature = tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in tensors)
        if self._unchanged.outdated:
            self._plan, self._unchanged = None, Unchanged(self._model)
        if self._plan is not None and signature == self._signature:
            # What goes wrong here goes wrong again in the full pass, which can say where.
            with contextlib.suppress(Exception), torch.no_grad(), self._unchanged, self._in_python():
                trace = Replay(self._plan, self._sample).run(self._model, tensors, args, kwargs)
                if trace is not None:
                    return trace
            args, kwargs, _ = arrange(self._model, x)
        self._plan = None
        trace = self._record(args, kwargs)
        self._signature = signature
        return trace

    def _record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        """The full pass."""
        named = name_inputs(self._model, args, kwargs)
        ledger = Ledger(batch_size(args, [tensor for _, tensor in named], self._sample), self._sample, self._wanted)
        inputs = tuple(ledger.add_input(name, tensor) for name, tensor in named)
        recorder = Recorder(self._model, ledger)
        self._unchanged = Unchanged(self._model)
        try:
            with torch.no_grad(), self._unchanged, self._in_python():
                returned = recorder.run(args, kwargs)
        except Exception as error:
            raise self._failed(error, ledger, inputs, recorder.unbatched) from error
        if recorder.unbatched is not None:
            ledger.warn(unbatched_warning(recorder.unbatched))
        if self._layers is not None and not any(node.copied is not None for node in ledger.nodes[len(inputs) :]):
            ledger.warn(f"no layer is among layers={self._layers!r}, so that no values are kept")
        self._plan = self._settle(ledger, inputs, returned)
        return self._plan.filled(ledger.copied)

    def _settle(self, ledger: Ledger, inputs: tuple[Output, ...], returned: tuple[Output, ...]) -> Plan:
        model_name, warnings = type(self._model).__name__, tuple(ledger.warnings)
        return settle(ledger.nodes, ledger.steps, inputs, returned, model_name, warnings, ledger.calls, ledger.batch)

    def _failed(
        self, error: Exception, ledger: Ledger, inputs: tuple[Output, ...], unbatched: Failure | None
    ) -> CaptureError:
        """The error to raise, with what did run."""
        shapes = tuple(tuple(output.shape) for output in inputs)
        failure = ledger.failure
        if failure is None or failure.error is not error:
            failure = Failure(error, "", self._model, shapes)
        calls = ledger.calls_of(failure.base)
        name = f"{failure.base}#{calls + 1}" if calls else failure.base
        message = explain(failure, name, shapes, unbatched)
        partial = self._settle(ledger, inputs, ()).filled(ledger.copied)
        return CaptureError(message, name or None, replace(partial, error=message))

    def _wanted(self, name: str, module: nn.Module | None) -> bool:
        """Whether a layer keeps its values."""
        if self._layers is None:
            return True
        if callable(self._layers):
            return bool(self._layers(name, module))
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._layers)

    @contextlib.contextmanager
    def _in_python(self) -> Iterator[None]:
        """A context in which compiled modules and torch's fused transformers run as plain Python, which hooks see."""
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.compiler.set_stance("force_eager") if self._compiled else contextlib.nullcontext():
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def capture(model: nn.Module, x: Any, *, layers: Selection = None, sample: int = 0) -> Trace:
    """Run `model` on `x` once and return everything it did.

    Arguments and errors are those of `Tracer`, which is the faster way for many inputs.

    Example:
        >>> trace = capture(nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU()), torch.rand(1, 1, 28, 28))
        >>> trace["0"].values.shape
        (6, 24, 24)
        >>> trace.graph.edges
        (('0', '1'),)
    """
    return Tracer(model, layers, sample)(x)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
