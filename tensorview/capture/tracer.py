"""Run a model once and see everything it did."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CaptureError
from .choosing import choosing
from .failure import Failure, explain, unbatched_warning
from .gradients import Loss, gradients_along
from .inputs import arrange, batch_size, name_inputs, taken_whole
from .keeping import Chooser, Selection, Wanted
from .ledger import Ledger
from .plan import Output, Plan, settle
from .products import Products, Uncounted
from .recorder import Counting, Recorder
from .replay import Replay
from .room import Rooms
from .standing import StandIns
from .state import Unchanged, put_back
from .structure import copy_of, is_uninitialised, is_without_data, shapes_only, stand_in, unconnected
from .trace import Trace

_NEVER_THE_SAME = "no values are kept: under a budget that takes two passes, and the model did not do the same twice"
_TRANSFORMERS = (nn.TransformerEncoder, nn.TransformerEncoderLayer)
WHOLE = 16 * 2**20  # bytes that a first pass copies before it is known what is wanted
# Hooks and random generators belong to the whole process: captures in several threads take turns.
_one_at_a_time = RLock()


class Tracer:
    """Traces forward passes of one model.

    The first call finds the structure; later calls with inputs of the same shapes copy the values and check on
    the way that the model did the same, else the structure is found anew. Calls run under `torch.no_grad`, in
    the mode (`train` or `eval`) that the model is in, and leave nothing behind: hooks are removed, buffers and
    torch's random generators are put back, inputs are copied before the model sees them.

    The values of a later call lie in one array, which a call after that uses again when no layer of that trace is held
    any longer; copy the `values` of a layer that is to outlive the others.

    Args:
        model: any `nn.Module`; a compiled one is run uncompiled, and of one with lazy modules a copy is run until
            the model itself is initialised.
        layers: which layers keep their values: a glob (`"features.*"`), several, or a predicate on
            `(name, module)`, where `module` is None for a function. The graph is whole all the same, and inputs
            are always kept. Default: every layer.
        sample: which sample of the batch is kept.
        budget: how many bytes the values of a trace take at most. The values of large layers are reduced to the mean
            and the maximum of their maps before they leave the device (`Layer.reduced`), or left out; a warning
            says which. Default: no bound.
        choose: in place of `layers`: given the structure, a trace without values, it says by name which layers keep
            their values and how: `"exact"`, or `"mean"`, `"max"` or `"reduced"` for one of these of the maps or both.
            It is asked when a structure was found.

    Attributes:
        layers, choose: as above; set one to keep other layers from the next call on, without finding the structure
            anew.

    Raises:
        CaptureError: for what is no `nn.Module`, and for a scripted one.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Selection = None,
        sample: int = 0,
        budget: int | None = None,
        choose: Chooser | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise CaptureError(f"capture needs a torch.nn.Module, not {type(model).__name__}: pass the model itself")
        model = getattr(model, "_orig_mod", model)
        if isinstance(model, torch.jit.ScriptModule):
            raise CaptureError(
                "a scripted model runs outside Python, where hooks see nothing: pass the nn.Module it was made from"
            )
        self._given = model
        self._model = copy_of(model) if is_uninitialised(model) else model
        self._wanted = Wanted(layers)
        self._sample = sample
        self._budget = budget
        self._choose = choose
        self._rooms = Rooms()
        self._stand_ins = StandIns(())
        self._transformers = any(isinstance(each, _TRANSFORMERS) for each in model.modules())
        self._compiled = any(map(_is_compiled, model.modules()))
        if self._compiled and not hasattr(torch.compiler, "set_stance"):
            raise CaptureError(
                "a model with compiled parts needs torch 2.6 or later: pass it as it was before torch.compile"
            )
        self._found: Plan | None = None
        self._plan: Plan | None = None
        self._signature: tuple[Any, ...] = ()
        self._unchanged = Unchanged(self._model)

    @property
    def layers(self) -> Selection:
        return self._wanted.layers

    @layers.setter
    def layers(self, layers: Selection) -> None:
        with _one_at_a_time:
            self._wanted = Wanted(layers)
            self._plan = None

    @property
    def choose(self) -> Chooser | None:
        return self._choose

    @choose.setter
    def choose(self, choose: Chooser | None) -> None:
        with _one_at_a_time:
            self._choose = choose
            self._plan = None

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

    def with_gradients(self, x: Any, loss: Loss) -> tuple[Trace, Trace]:
        """Run the model on `x` as a call does, and once more with gradients, back from a loss.

        The gradients of parameters (`.grad`) stay as they are; whether they require any makes no difference.

        Args:
            loss: makes a tensor of one number of what the model returned for the whole batch.

        Returns:
            What happened; and the same with the gradient of the loss with respect to every layer's output, and every
            input, in place of its values. A layer that the loss does not depend on has none, which a warning says.

        Raises:
            CaptureError: as for a call; when the loss is none, or has no gradient; when the backward pass raises.
        """
        with _one_at_a_time:
            trace = self._trace(x)
            assert self._found is not None
            plan = self._plan or choosing(self._found, self._wanted, self._choose, self._budget)[0]
            with torch.inference_mode(False), torch.enable_grad(), self._unchanged, self._in_python():
                gradients = gradients_along(plan, self._sample, loss, self._model, arrange(self._model, x))
            return trace, gradients

    def structure(self, x: Any = None, dtype: str | None = None) -> Trace:
        """What a pass on such an input would be: layers, shapes and edges, without values.

        Nothing is computed: the pass runs on tensors that have a shape only, so that a model of any size, also one
        on torch's meta device, is traced in the time that Python takes. A model that needs values to go on (where
        it decides by them or selects with a mask, or has lazy modules) is run on `x` instead.

        Args:
            x: an input as for a call; or the shape of one sample, as `(3, 224, 224)`, of which the values are zeros.
                Default: not known; then layers have no shapes and no edges.
            dtype: of an input that is given by its shape; default: that of the weights.

        Raises:
            CaptureError: as for a call.
        """
        with _one_at_a_time:
            self._refresh()
            if x is None:
                return unconnected(self._given)
            try:
                return self._shapes(x, dtype)
            finally:
                self._found = self._plan = None

    def _shapes(self, x: Any, dtype: str | None) -> Trace:
        without_data = is_without_data(self._model)
        if is_uninitialised(self._model):
            return self._of_stand_in(x, dtype)
        with contextlib.nullcontext() if without_data else contextlib.suppress(Exception), put_back(self._model):
            fake = shapes_only()
            with fake:
                args, kwargs, _ = arrange(self._model, stand_in(self._model, x, dtype))
            self._record(args, kwargs, 0, fake, counter=Products)
            return self._template
        with put_back(self._model):
            return self._of_stand_in(x, dtype)

    def _of_stand_in(self, x: Any, dtype: str | None) -> Trace:
        given = stand_in(self._model, x, dtype, True)
        try:
            self._record(*arrange(self._model, given)[:2], 0, counter=Products)
        except CaptureError:
            if "torch._dynamo" in sys.modules:
                torch.compiler.reset()  # it does not try again what failed under a counter
            self._record(*arrange(self._model, given)[:2], 0, counter=Uncounted)
        return self._template

    @property
    def _template(self) -> Trace:
        assert self._found is not None
        return self._found.template

    def _trace(self, x: Any) -> Trace:
        self._refresh()
        args, kwargs, tensors = arrange(self._model, x)
        signature = tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in tensors)
        if self._found is not None and signature == self._signature:
            trace = self._replay(self._found, args, kwargs, tensors)
            if trace is not None:
                return trace
            args, kwargs, _ = arrange(self._model, x)
        try:
            return self._first(x, args, kwargs, signature)
        except CaptureError:
            if self._choose is None:
                raise
            # It is not known what will be looked at of the layers that did run.
            self._record(*arrange(self._model, x)[:2], self._most)
            raise

    def _first(self, x: Any, args: tuple[Any, ...], kwargs: dict[str, Any], signature: tuple[Any, ...]) -> Trace:
        """A pass that finds the structure; where it has not kept what now is to be kept, a second one that does."""
        whole = self._choose is None
        ledger = self._record(args, kwargs, self._most if whole else min(self._most, WHOLE), means=not whole)
        self._signature = signature
        found = self._found
        assert found is not None
        self._plan, keeps = choosing(found, self._wanted, self._choose, self._budget)
        if ledger.has_kept(keeps):
            return self._plan.filled([each if n in keeps else None for n, each in enumerate(ledger.copied)])
        template = self._plan.template
        bounded = self._replay(found, *arrange(self._model, x))
        return bounded or replace(template, warnings=(*template.warnings, _NEVER_THE_SAME))

    @property
    def _most(self) -> float:
        return math.inf if self._budget is None else self._budget

    def _refresh(self) -> None:
        """Forget what was found of a model that has changed since."""
        if self._model is not self._given and not is_uninitialised(self._given):
            self._model, self._found = self._given, None
            self._unchanged = Unchanged(self._model)
        if self._unchanged.outdated:
            self._found, self._unchanged = None, Unchanged(self._model)

    def _replay(
        self, found: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]
    ) -> Trace | None:
        """A pass along the plan; None where the model left it."""
        self._plan = self._plan or choosing(found, self._wanted, self._choose, self._budget)[0]
        # What goes wrong here goes wrong again in the full pass, which can say where.
        heard = any(step.listens for step in self._plan.steps)
        with contextlib.suppress(Exception), torch.no_grad(), self._unchanged, self._in_python(heard):
            if self._stand_ins.modules is not found.modules:
                self._stand_ins = StandIns(found.modules)
            replay = Replay(self._plan, self._sample, self._rooms, self._stand_ins)
            return replay.run(self._model, tensors, args, kwargs)
        return None

    def _record(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        room: float,
        within: AbstractContextManager[Any] | None = None,
        means: bool = False,
        counter: Counting | None = None,
    ) -> Ledger:
        """The full pass, in the context `within`; `room` and `means` as in `Ledger`, `counter` as in `Recorder`."""
        named = name_inputs(self._model, args, kwargs)
        batch = batch_size(args, [tensor for _, tensor in named], self._sample)
        ledger = Ledger(batch, self._sample, self._wanted, room, means)
        inputs = tuple(ledger.add_input(name, tensor) for name, tensor in named)
        recorder = Recorder(self._model, ledger, counter)
        self._found = self._plan = None
        self._unchanged = Unchanged(self._model)
        try:
            with torch.no_grad(), self._unchanged, self._in_python(), within or contextlib.nullcontext():
                returned = recorder.run(args, kwargs)
        except Exception as error:
            raise self._failed(error, ledger, inputs, recorder.unbatched, taken_whole(self._model, args)) from error
        if recorder.unbatched is not None:
            ledger.warn(unbatched_warning(recorder.unbatched))
        if (
            not ledger.full
            and not self._wanted.anything
            and not any(n.copied is not None for n in ledger.nodes[len(inputs) :])
        ):
            ledger.warn(f"no layer is among layers={self.layers!r}, so that no values are kept")
        self._found = self._settle(ledger, inputs, returned)
        return ledger

    def _settle(self, ledger: Ledger, inputs: tuple[Output, ...], returned: tuple[Output, ...]) -> Plan:
        model_name, warnings = type(self._model).__name__, tuple(ledger.warnings)
        found = (ledger.nodes, ledger.steps, inputs, returned, model_name, warnings, ledger.calls, ledger.links)
        return settle(*found, ledger.batch)

    def _failed(
        self, error: Exception, ledger: Ledger, inputs: tuple[Output, ...], unbatched: Failure | None, more: str
    ) -> CaptureError:
        """The error to raise, with what did run; `more` is the end of its sentence."""
        shapes = tuple(tuple(output.shape) for output in inputs)
        failure = ledger.failure
        if failure is None or failure.error is not error:
            failure = Failure(error, "", self._model, shapes)
        calls = ledger.calls_of(failure.base)
        name = f"{failure.base}#{calls + 1}" if calls else failure.base
        message = explain(failure, name, shapes, unbatched) + more
        partial = self._settle(ledger, inputs, ()).filled(ledger.copied)
        return CaptureError(message, name or None, replace(partial, error=message))

    @contextlib.contextmanager
    def _in_python(self, heard: bool = True) -> Iterator[None]:
        """A context in which compiled modules and torch's fused transformers run as plain Python, which hooks see.

        Where no attention is `heard` and there is no transformer whose layers hooks would miss, attention stays fused.
        """
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(fused and not heard and not self._transformers)
        try:
            with torch.compiler.set_stance("force_eager") if self._compiled else contextlib.nullcontext():
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def capture(model: nn.Module, x: Any, *, layers: Selection = None, sample: int = 0, budget: int | None = None) -> Trace:
    """Run `model` on `x` once and return everything it did.

    Arguments and errors are those of `Tracer`, which is the faster way for many inputs.

    Example:
        >>> trace = capture(nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU()), torch.rand(1, 1, 28, 28))
        >>> trace["0"].values.shape
        (6, 24, 24)
        >>> trace.graph.edges
        (('0', '1'),)
    """
    return Tracer(model, layers, sample, budget)(x)


def structure(model: nn.Module, x: Any = None, dtype: str | None = None) -> Trace:
    """What a pass of `model` would be: layers, shapes and edges, without values. See `Tracer.structure`.

    Example:
        >>> structure(nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU()), (1, 28, 28))["1"].shape
        (6, 24, 24)
    """
    return Tracer(model).structure(x, dtype)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
