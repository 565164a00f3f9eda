"""Memory of training data, by hand and on copies."""

import torch

from condgen.metrics.memory import memory
from condgen.rng import keyed_generator


def test_on_a_line_by_hand():
    train = torch.tensor([[0.0], [1.0], [5.0]])  # nearest other ones: at 1, 1, 4
    found = memory(train, torch.tensor([[0.4], [-1.5], [8.0], [9.5]]), k=2)
    assert found.indices[:, 0].tolist() == [0, 0, 2, 2]
    assert torch.allclose(found.distances, torch.tensor([[0.4, 0.6], [1.5, 2.5], [3.0, 7.0], [4.5, 8.5]]).double())
    assert found.elsewhere.tolist() == [1, 1, 4, 4]
    assert found.authentic.tolist() == [0, 1, 0, 1]
    assert found.closest(2).tolist() == [0, 2]  # 0.4 and 0.75 of what lies between training samples


def test_new_draws_are_authentic_as_often_as_not_and_copies_never():
    train, fresh = (torch.randn(3000, 4, generator=keyed_generator(i)) for i in range(2))
    # The nearest training sample of a new draw and of a training sample are a distance of one law away.
    assert 0.4 < float(memory(train, fresh).authentic.mean()) < 0.6
    assert memory(train, train[:50]).authentic.sum() == 0
    assert memory(train, train[:50] + 1e-5).authentic.sum() == 0


def test_copies_within_the_training_set():
    train = torch.tensor([[0.0], [0.0], [3.0]])
    found = memory(train, torch.tensor([[0.0], [0.1], [3.0]]))
    assert found.elsewhere.tolist() == [0, 0, 3]
    assert found.authentic.tolist() == [0, 1, 0]
    assert found.closest(3).tolist() == [0, 2, 1]  # what lies beside a pair of copies is no copy
