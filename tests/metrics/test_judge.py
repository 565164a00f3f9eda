"""The judge knows the classes of real samples, and is the same every time."""

import pytest
import torch
from sklearn.svm import SVC

from condgen.data.sets import Digits, Moons, load
from condgen.metrics.judge import Judge
from condgen.rng import keyed_generator


@pytest.fixture(scope="module")
def digits():
    train, test = load(Digits(), "train"), load(Digits(), "test")
    return train.floats().flatten(1), train.y, test.floats().flatten(1), test.y


def test_the_judge_of_digits_is_the_stated_machine(digits):
    vectors, y, held_out, held_out_y = digits
    judge = Judge(vectors, y)
    machine = SVC(kernel="rbf", C=10, gamma="scale").fit(vectors.double().numpy(), y.numpy())
    expected = torch.from_numpy(machine.predict(held_out.double().numpy()))
    assert torch.equal(judge.predict(held_out), expected)
    assert judge.accuracy(held_out, held_out_y) == pytest.approx((expected == held_out_y).double().mean().item())
    assert judge.accuracy(held_out, held_out_y) > 0.98


def test_a_large_set_is_drawn_from(monkeypatch):
    monkeypatch.setattr(Judge, "most", 60)
    train, test = load(Moons(n=500, noise=0.05), "train"), load(Moons(n=500, noise=0.05), "test")
    first, second = (Judge(train.x, train.y) for _ in range(2))
    assert first.machine.shape_fit_ == (60, 2)
    assert first.accuracy(test.x, test.y) > 0.9
    assert torch.equal(first.predict(test.x), second.predict(test.x))


def test_many_classes_are_told_as_well_as_they_can_be():
    """Of Gaussians around known centres the nearest centre is the best judge, and the discriminant comes near it."""
    generator = keyed_generator(4)
    centres = torch.rand(60, 16, generator=generator)
    y = torch.arange(3000) % 60
    learnt, asked = (centres[y] + 0.25 * torch.randn(3000, 16, generator=generator) for _ in range(2))
    best = (torch.cdist(asked, centres).argmin(1) == y).double().mean()
    judge = Judge(learnt, y)
    assert judge.name == "discriminant"
    assert judge.accuracy(asked, y) > best - 0.06
    assert torch.equal(judge.predict(asked), Judge(learnt, y).predict(asked))


def test_as_many_classes_as_samples_are_learnt():
    x = torch.eye(25)
    assert Judge(x, torch.arange(25)).accuracy(x, torch.arange(25)) == 1
