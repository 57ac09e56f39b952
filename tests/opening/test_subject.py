import numpy as np
import pytest
import torch
from torch import nn

from tensorview.classes import probabilities
from tensorview.opening import InputSpec, Sample, Subject


def subject(**more):
    return Subject("net", nn.Linear(3, 3), InputSpec((3,)), **more)


def test_logits_become_a_softmax():
    logits = torch.tensor([[1.5, -2.0, 0.25, 9.0]])
    assert np.allclose(probabilities(logits), torch.softmax(logits, 1)[0].numpy(), atol=1e-7)
    assert np.allclose(probabilities(logits.numpy()[0]), torch.softmax(logits, 1)[0].numpy(), atol=1e-7)


def test_all_negative_and_huge_logits():
    assert probabilities(np.array([-5.0, -1.0, -3.0])).argmax() == 1
    assert probabilities(np.array([-1e9, 1e9])).tolist() == [0, 1]


def test_log_probabilities_and_probabilities_are_told():
    shares = np.array([0.2, 0.7, 0.1])
    assert np.allclose(probabilities(shares), shares)
    assert np.allclose(probabilities(np.log(shares)), shares)
    assert not np.allclose(probabilities(np.array([0.2, 0.7, 0.9])), [0.2, 0.7, 0.9])


def test_what_is_not_finite_has_no_probability():
    assert np.isnan(probabilities(np.array([1.0, np.nan]))).all()
    assert np.isnan(probabilities(np.array([1.0, np.inf]))).all()


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 4), (), (0,)])
def test_only_one_vector_is_a_prediction(shape):
    with pytest.raises(ValueError, match="not one vector"):
        probabilities(np.zeros(shape))


def test_top_names_the_classes():
    best = subject(class_names=("cat", "dog", "fox")).top(np.array([0.0, 2.0, 1.0]), k=2)
    assert [guess.name for guess in best] == ["dog", "fox"]
    assert [guess.index for guess in best] == [1, 2]
    assert best[0].share == pytest.approx(np.exp(2) / (1 + np.e + np.exp(2)))
    assert subject().top(np.array([3.0, 0.0]))[0].name == "class 0"
    assert len(subject().top(np.zeros(3), k=5)) == 3


def test_random_samples_come_from_the_pool():
    samples = tuple(Sample(label, np.zeros((2, 2), np.uint8)) for label in range(3))
    assert subject().random_sample() is None
    drawn = {subject(samples=samples).random_sample(np.random.default_rng(seed)).label for seed in range(30)}
    assert drawn == {0, 1, 2}
    pool = (Sample(7, np.zeros((2, 2), np.uint8)),)
    assert subject(samples=samples, load_pool=lambda: pool).random_sample().label == 7


def test_the_pool_is_loaded_once():
    calls = []

    def load():
        calls.append(1)
        return (Sample(1, np.zeros((2, 2), np.uint8)),)

    one = subject(load_pool=load)
    assert not calls
    for _ in range(3):
        one.random_sample()
    assert len(calls) == 1


def test_repr_says_what_it_is():
    assert repr(subject(class_names=("a", "b"))) == "<Subject net: Linear, input 3, 2 classes>"
