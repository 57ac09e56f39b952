"""A capture leaves the model, its buffers, the random generators and the memory as it found them."""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Tracer, capture
from tensorview.errors import CaptureError


class Broken(nn.Module):
    def forward(self, x):
        raise ValueError("on purpose")


class Counting(nn.Module):
    """Changes its buffer in place and by assignment, in eval mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        self.last = x.flatten()[:1].clone()
        return x + self.calls


def model_with_state(*more: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), Counting(), *more)


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


def snapshot(model: nn.Module) -> dict[str, object]:
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "buffers": {name: id(buffer) for name, buffer in model.named_buffers()},
        "training": [module.training for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grad": [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()],
        "hooks": hooks_of(model),
        "forward": [sorted(vars(module)) for module in model.modules()],
        "random": torch.get_rng_state(),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: object, after: object) -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    elif isinstance(before, torch.Tensor):
        assert torch.equal(before, after)
    else:
        assert before == after


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(training, fails):
    model = model_with_state(*[Broken()] * fails).train(training)
    model[0].eval()
    model[0].weight.requires_grad_(False)
    model[0].bias.grad = torch.full((4,), 3.0)
    before = snapshot(model)
    tracer = Tracer(model)
    for _ in range(3):
        if fails:
            with pytest.raises(CaptureError, match="on purpose"):
                tracer(torch.randn(3, 4, generator=torch.Generator()))
        else:
            tracer(torch.randn(3, 4, generator=torch.Generator()))
        assert_same(before, snapshot(model))


def test_running_statistics_are_put_back_in_train_mode():
    model = nn.Sequential(nn.BatchNorm1d(4)).train()
    tracer, x = Tracer(model), torch.rand(8, 4) * 9
    before = snapshot(model)
    for _ in range(3):
        trace = tracer(x)
        assert_same(before, snapshot(model))
    torch.testing.assert_close(torch.from_numpy(trace["0"].values.copy()), model(x)[0].detach())
    assert model[0].num_batches_tracked == 1  # by the line above alone


def test_dropout_in_train_mode_draws_what_the_next_forward_draws():
    model, x = nn.Sequential(nn.Dropout(0.5)).train(), torch.ones(1, 100)
    tracer = Tracer(model)
    torch.manual_seed(3)
    traced = [tracer(x)["0"].values for _ in range(2)]
    drawn = model(x)[0].numpy()
    assert (traced[0] == drawn).all()
    assert (traced[1] == drawn).all()


class Drawing(nn.Module):
    """Draws from the generators of Python, numpy and torch."""

    def forward(self, x):
        return x + random.random() + np.random.random() + torch.rand(())  # noqa: NPY002


def seeded() -> None:
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)


def test_every_random_generator_is_put_back():
    model, x = nn.Sequential(Drawing()).eval(), torch.zeros(1, 3)
    tracer = Tracer(model)
    seeded()
    traced = [tracer(x)["0"].values for _ in range(3)]
    drawn = model(x)[0].numpy()
    assert all((values == drawn).all() for values in traced)
    assert (tracer(x)["0"].values != drawn).all()
    seeded()
    assert (model(x)[0].numpy() == drawn).all()


def test_a_batch_norm_swapped_between_calls_keeps_its_statistics():
    model, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train(), torch.rand(8, 4)
    tracer = Tracer(model)
    tracer(x)
    model[1] = nn.BatchNorm1d(4)
    before = snapshot(model)
    trace = tracer(x)
    assert_same(before, snapshot(model))
    assert [layer.name for layer in trace] == ["0", "1"]


def test_buffers_that_do_not_change_are_not_written_to():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.ones(4))

        def forward(self, x):
            return x * self.mask

    model = Masked()
    weight = torch.ones(1, 4, requires_grad=True)
    loss = model(weight).sum()  # autograd holds the mask until backward
    capture(model, torch.rand(1, 4))
    loss.backward()
    assert weight.grad is not None


def test_the_users_own_hooks_stay_and_their_result_is_what_is_seen():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    handle = model[0].register_forward_hook(lambda m, a, out: out * 0 + 7)
    tracer, x = Tracer(model), torch.rand(1, 4)
    for trace in (tracer(x), tracer(x)):
        assert (trace["0"].values == 7).all()
        assert hooks_of(model) == 1
    handle.remove()


def test_a_capture_inside_an_exception_handler_is_as_any_other():
    try:
        raise KeyError("unrelated")
    except KeyError:
        trace = capture(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.rand(1, 4))
    assert [layer.name for layer in trace] == ["0", "1"]


def test_a_hundred_captures_keep_memory_flat():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten())
    tracer, x = Tracer(model), torch.rand(1, 1, 28, 28)

    def round_of_captures() -> tuple[int, int]:
        for _ in range(50):
            tracer(x)
            capture(model, x)
        gc.collect()
        return tracemalloc.get_traced_memory()[0], sum(type(o) is torch.Tensor for o in gc.get_objects())

    tracemalloc.start()
    try:
        round_of_captures()
        before = round_of_captures()
        after = round_of_captures()
    finally:
        tracemalloc.stop()
    assert after[1] <= before[1]
    assert after[0] - before[0] < 20_000  # bytes; one trace of this model holds 43,000


def test_values_left_out_take_no_memory():
    model = nn.Sequential(*[nn.ReLU() for _ in range(40)])
    x = torch.rand(1, 256, 256)
    tracer = Tracer(model, layers="3*")
    tracer(x)
    tracemalloc.start()
    try:
        trace = tracer(x)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    kept = sum(layer.values is not None for layer in trace)
    assert kept == 11
    assert held < (kept + 2) * x.numpy().nbytes


def test_other_threads_do_not_get_into_a_trace():
    model, x = nn.Sequential(*[nn.Linear(16, 16) for _ in range(20)]), torch.rand(1, 16)
    expected = capture(model, x)["19"].values
    wrong: list[object] = []

    def work() -> None:
        tracer = Tracer(model)
        for _ in range(30):
            trace = tracer(x)
            if len(trace) != 20 or not (trace["19"].values == expected).all():
                wrong.append(trace)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert hooks_of(model) == 0
